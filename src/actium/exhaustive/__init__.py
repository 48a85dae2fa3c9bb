"""All 2^32 float32 inputs: `actium check TARGET --full`.

Stage: subject → [sweep over everything] → certificate.

The formula becomes some thousand polynomials in double, each with a proven bound on its distance from the formula
(`jet.py`, `pieces.py`: Taylor series in ball arithmetic); compiled code holds every result against them (`judge.c`,
`screen.py`, `sweep.py`); whatever is suspicious goes to balls and to the ordinary checks (`judged.py`, `certify.py`);
`record.py` keeps the outcome in a few lines. The float32 kernels share nothing with the reference but the formula and
the compiler.
"""

from actium.exhaustive.certify import check_full, trust
from actium.exhaustive.record import compact, differences
from actium.exhaustive.sweep import Progress

__all__ = ["Progress", "check_full", "compact", "differences", "trust"]
