"""Certificates over all inputs for every catalogue function at its defaults, into `certificates/`.

All float16 and bfloat16 numbers and all 2^32 float32 encodings; output and gradient. An interrupted run goes on where
it stopped; a function whose certificate belongs to this build is not run again.
Run: `python benchmarks/certificates.py [--only NAME] [--again]`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from common import command_line

from actium.catalogue import ENTRIES
from actium.checking import known_functions
from actium.exhaustive import check_full, compact, trust
from actium.kernels import cache
from actium.verify.subject import Subject

FOLDER = Path(__file__).resolve().parents[1] / "certificates"


def subject_of(name: str) -> Subject:
    """A catalogue function at its defaults."""
    entry = ENTRIES[name]
    return Subject(name, entry.activation(), entry.as_written(), entry.defaults)


def is_current(path: Path, subject: Subject) -> bool:
    """Whether a certificate is of this code on this machine."""
    if not path.exists():
        return False
    return json.loads(path.read_text(encoding="utf-8"))["trust"] == json.loads(json.dumps(trust(subject)))


def show(done: int, total: int) -> None:
    """How far one function is."""
    if sys.stderr.isatty():
        print(f"\r  {done} of {total} exponents", end="", file=sys.stderr, flush=True)


def main() -> None:
    options = command_line(__doc__)
    options.add_argument("--only", metavar="NAME", nargs="*", choices=list(ENTRIES), help="these functions only")
    options.add_argument("--again", action="store_true", help="also where a certificate is current")
    given = options.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name in given.only or ENTRIES:
        subject, path = subject_of(name), FOLDER / f"{name}.json"
        if not given.again and is_current(path, subject):
            print(f"{name:20} current")
            continue
        began = time.monotonic()
        kept = cache.directory() / "full"
        certificate = check_full(subject, known=known_functions(), out=kept, progress=show)
        path.write_text(json.dumps(compact(certificate, subject), indent=1) + "\n", encoding="utf-8")
        rows = certificate.accuracy["float32"]
        errors = ", ".join(f"{n} {a.max_ulp:.3f} at {a.at!r}" for n, a in rows.items())
        print(f"\r{name:20} {time.monotonic() - began:6.1f} s  {certificate.verdict}  float32: {errors}", flush=True)


if __name__ == "__main__":
    main()
