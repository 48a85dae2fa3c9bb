"""Foreign text made fit to print: names, messages and formulas come from other people's files.

In: any text. Out: text that cannot move the cursor, change colours, reverse its direction or break a line.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
# Control characters, and the invisible ones that reorder or hide what follows (Unicode's "Trojan source" set).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def clean(text: object) -> str:
    r"""The text on one line, without escape sequences and control characters.

    Example:
        >>> clean("a\x1b[31mred\x1b[0m\nb\x07")
        'ared b'
    """
    plain = _ESCAPE.sub("", str(text))
    return _CONTROL.sub("", re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]+", " ", plain))


def shortened(text: str, width: int) -> str:
    """The text, with its middle left out if it is too wide.

    Example:
        >>> shortened("0123456789", 7)
        '012…789'
    """
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
