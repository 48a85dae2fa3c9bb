"""Cold starts: the first call in a fresh process, with empty caches.

Stage: case → [cold] → report. In: a target text and the names of its contenders. Out: seconds of the first forward and
backward of each; importing torch and actium, and finding the target, are not counted. Run as a module, this is the
child: it reads one JSON object from stdin and writes one to the file that is named there.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# torch.compile took 62 s for its first function on a busy machine.
_LIMIT_SECONDS = 300
_RUNS, _RUNS_COMPILED = 3, 1
ELEMENTS = 1000


@dataclass(frozen=True)
class Cold:
    """One contender's first call.

    Attributes:
        target: As typed.
        contender: Its name.
        dtype: Of the input, `ELEMENTS` numbers on the CPU.
        seconds: The median over fresh processes; None if it failed.
        runs: How many.
        reason: Why it failed.
    """

    target: str
    contender: str
    dtype: str
    seconds: float | None
    runs: int
    reason: str = ""


def cold_start(
    target: str,
    contender: str,
    parameters: Mapping[str, float] | None = None,
    against: Sequence[str] = (),
    dtype: str = "float32",
    compiled: bool = False,
) -> Cold:
    """Time the first forward and backward in fresh processes.

    Args:
        target: As for `case_of`.
        contender: The name of one of its contenders.
        parameters: As for `case_of`.
        against: As for `case_of`.
        dtype: Of the input.
        compiled: Whether it runs through torch.compile, which takes long: it is then measured once.

    Returns:
        The median, or why there is none.
    """
    job = {"target": target, "contender": contender, "dtype": dtype}
    job |= {"parameters": dict(parameters or {}), "against": list(against)}
    runs = _RUNS_COMPILED if compiled else _RUNS
    times = []
    for _ in range(runs):
        answer = _child(job)
        if "seconds" not in answer:
            return Cold(target, contender, dtype, None, len(times), answer["reason"])
        times.append(answer["seconds"])
    return Cold(target, contender, dtype, statistics.median(times), runs)


def _child(job: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="actium-cold-", ignore_cleanup_errors=True) as folder:
        caches = {name: str(Path(folder, name)) for name in ("ACTIUM_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")}
        for path in caches.values():
            os.mkdir(path, 0o700)
        answer = Path(folder, "answer.json")
        command = [sys.executable, "-m", "actium.bench.cold"]
        try:
            done = subprocess.run(
                command,
                input=json.dumps({**job, "answer": str(answer)}),
                env=os.environ | caches,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"reason": f"exceeded {_LIMIT_SECONDS} s"}
        if not answer.exists():
            last = (done.stderr.strip().splitlines() or [""])[-1]
            return {"reason": f"the process ended with status {done.returncode}: {last[:200]}"}
        return json.loads(answer.read_text(encoding="utf-8"))


def _first_call(job: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    from actium.bench.cases import case_of
    from actium.verify.subject import SubjectError, guarded

    case = case_of(job["target"], job["parameters"], job["against"])
    dtype = getattr(torch, job["dtype"])
    x = torch.randn(ELEMENTS).to(dtype).requires_grad_()
    grad = torch.ones_like(x)
    (x * 2).backward(grad)  # autograd's own first call
    try:
        with guarded():
            begin = time.perf_counter()
            call, _ = case[job["contender"]].call(dtype, "cpu")
            y = call(x)
            y.backward(grad.to(y.dtype))
            return {"seconds": time.perf_counter() - begin}
    except SubjectError as error:
        return {"reason": str(error)}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    Path(asked["answer"]).write_text(json.dumps(_first_call(asked)), encoding="utf-8")
