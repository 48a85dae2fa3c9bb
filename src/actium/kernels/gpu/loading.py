"""Triton text → kernels.

Stage: printing → [kernels] → launching. In: text, and the names of its kernels. Out: the kernels, ready to be launched.
Triton reads a function's source again when it compiles it, so the text is registered with `linecache` under a name made
of its hash. What Triton compiles it keeps in a cache of its own.
"""

from __future__ import annotations

import hashlib
import linecache
from types import FunctionType
from typing import Any


def load(text: str, kernels: tuple[str, ...], interpreted: bool) -> dict[str, Any]:
    """The kernels of a module's text.

    Args:
        text: What `printing.source` made. Comes from the table of primitives alone, never from a user's text.
        kernels: The functions that are launched; all others are called by them.
        interpreted: Make them of Triton's interpreter, which runs on the CPU, one program after the other.
    """
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    name = f"<actium triton {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "actium.kernels.gpu.generated"}
    exec(compile(text, name, "exec"), namespace)
    # Said explicitly, because TRITON_INTERPRET decides what the decorator makes.
    for key, value in list(namespace.items()):
        function = getattr(value, "fn", None)
        if isinstance(function, FunctionType):
            if not interpreted:
                namespace[key] = JITFunction(function)
            else:
                namespace[key] = InterpretedFunction(function) if key in kernels else function
    return {key: namespace[key] for key in kernels}
