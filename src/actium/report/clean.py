"""Foreign text made fit to print: names, messages and formulas come from other people's files.

In: any text. Out: text that cannot move the cursor, change colours, reverse its direction or break a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

T = TypeVar("T")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
# Control characters, the invisible ones that reorder or hide what follows (Unicode's "Trojan source" set), and halves
# of surrogate pairs, which no encoding can write.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: object) -> str:
    r"""The text on one line, without escape sequences and control characters.

    Example:
        >>> clean("a\x1b[31mred\x1b[0m\nb\x07")
        'ared b'
    """
    plain = _ESCAPE.sub("", str(text))
    return _CONTROL.sub("", re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]+", " ", plain))


def cleaned(value: T) -> T:
    r"""A record, mapping or sequence with every text in it clean, keys included.

    Example:
        >>> cleaned({"na\x1b[1mme": ["a\nb", 1.0]})
        {'name': ['a b', 1.0]}
    """
    return cast(T, _cleaned(value))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {_cleaned(k): _cleaned(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_cleaned, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _cleaned(getattr(value, f.name)) for f in fields(value)})
    return value


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
