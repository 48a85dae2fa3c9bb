"""Cold and warm starts: import, help, and formula text → first fused forward and backward.

The floor of a cold start is one run of the C compiler on a page of C (about 0.15 s here); torch.compile starts a C++
compiler on torch's headers. Each figure is the median of fresh processes. Run: `python benchmarks/startup.py`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import command_line, save

IMPORT = "import time, torch; t = time.perf_counter(); import actium; actium.formula; print(time.perf_counter() - t)"
FORMULA = """
import time, torch, actium
actium.formula
x = torch.randn(1000, requires_grad=True)
(x * 2).backward(torch.ones(1000))
t = time.perf_counter()
y = actium.formula("x * tanh(log(1 + exp(x)))")(x)
y.backward(torch.ones_like(y))
print(time.perf_counter() - t)
"""
COMPILE = """
import time, torch
x = torch.randn(1000, requires_grad=True)
(x * 2).backward(torch.ones(1000))
f = torch.compile(lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))))
t = time.perf_counter()
y = f(x)
y.backward(torch.ones_like(y))
print(time.perf_counter() - t)
"""


def python(code: str, **environment: str) -> float:
    """Seconds that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return float(done.stdout)


def cold(code: str, variable: str, repeats: int) -> float:
    """Median with an empty cache each time."""
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o700)
            times.append(python(code, **{variable: folder}))
    return statistics.median(times)


def main() -> None:
    command_line(__doc__).parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    results = {}
    results["import actium after torch"] = statistics.median(python(IMPORT) for _ in range(7))
    command = Path(sys.executable).with_name("actium")
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        subprocess.run([command, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    results["actium --help"] = statistics.median(times)
    results["formula to first forward and backward, empty cache"] = cold(FORMULA, "ACTIUM_CACHE_DIR", 5)
    python(FORMULA)
    results["formula to first forward and backward, cached"] = statistics.median(python(FORMULA) for _ in range(7))
    results["torch.compile to first forward and backward, empty cache"] = cold(COMPILE, "TORCHINDUCTOR_CACHE_DIR", 2)
    results = {k: round(v, 4) for k, v in results.items()}
    print(json.dumps(results, indent=1))
    save("startup", results)


if __name__ == "__main__":
    main()
