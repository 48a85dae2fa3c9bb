"""Optional packages, loaded when something needs them.

Stage: name → [extras] → module. Loads nothing by itself.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from actium.errors import ExtraError


def need(module: str, what: str, extra: str = "train") -> ModuleType:
    """Import an optional package.

    Args:
        module: Its name in Python.
        what: What it is needed for.
        extra: The extra of this package that brings it.

    Returns:
        The module.

    Raises:
        ExtraError: If it is not installed.

    Example:
        >>> need("sklearn_of_the_future", "the task digits")
        Traceback (most recent call last):
        ...
        actium.errors.ExtraError: the task digits needs sklearn_of_the_future: pip install 'actium[train]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        raise ExtraError(f"{what} needs {top}: pip install 'actium[{extra}]'") from error
