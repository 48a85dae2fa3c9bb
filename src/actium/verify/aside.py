"""Truth computed in a process beside this one, while this one does something else.

Stage: reference → [aside] → table.
In: a reference and points. Out: a function that waits for the table. Ball arithmetic takes seconds of Python that no
second thread could share.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from actium.verify.oracle import Floats, Oracle, Table

_COLUMNS = 5


def table_aside(oracle: Oracle, x: Floats) -> Callable[[], Table]:
    """Start computing `oracle.table(x)`.

    Only for processes that may be forked: the child computes with Python and flint alone, but a lock that another
    thread holds at this moment stays locked in it. Where it fails for whatever reason, the table is computed here.

    Returns:
        A function that waits for it; to be called once.
    """
    if not hasattr(os, "fork"):
        return lambda: oracle.table(x)
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, about the threads named above
        child = os.fork()
    if child == 0:
        _compute(oracle, x, read, write)
    os.close(write)

    def wait() -> Table:
        with os.fdopen(read, "rb") as stream:
            columns = _received(stream, len(x))
        os.waitpid(child, 0)
        if columns is None:
            return oracle.table(x)
        value, slope, low, high, undecided = columns
        return Table(x, value, slope, low, high, undecided != 0)

    return wait


def _compute(oracle: Oracle, x: Floats, read: int, write: int) -> None:
    """The child: write the columns, and end without any of what the parent does at its end."""
    try:
        os.close(read)
        table = oracle.table(x)
        columns = (table.value, table.slope, table.slope_low, table.slope_high, table.undecided)
        with os.fdopen(write, "wb") as stream:
            stream.write(np.stack([c.astype(np.float64) for c in columns]).tobytes())
    finally:
        os._exit(0)


def _received(stream: BinaryIO, count: int) -> Floats | None:
    """The columns, or None if they did not come whole."""
    data = stream.read()
    if len(data) != _COLUMNS * count * 8:
        return None
    return np.frombuffer(data, dtype=np.float64).reshape(_COLUMNS, count).copy()
