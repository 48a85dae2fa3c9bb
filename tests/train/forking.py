"""Workers that are forked from one process, so that torch is loaded once: run by the tests of studies.

Usage: python forking.py JOB.json FOLDER COUNT. Each worker writes `FOLDER/<k>.jsonl`, a line for each event.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna  # noqa: F401 (loaded before the fork)
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo  # The first optimizer would load it: seconds in each worker.

from actium.train import cells  # noqa: F401
from actium.train.work import work


def run(job: Mapping[str, Any], folder: Path, k: int) -> None:
    """Be worker `k`; never returns."""
    with (folder / f"{k}.jsonl").open("w", encoding="utf-8") as file:

        def tell(event: Mapping[str, Any]) -> None:
            file.write(json.dumps(event) + "\n")
            file.flush()

        try:
            work(job, f"worker-{k}", tell)
        except BaseException as error:
            tell({"error": f"{type(error).__name__}: {error}"})
            os._exit(1)
    os._exit(0)


def main() -> None:
    torch.set_num_threads(1)
    job, folder = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    children = []
    for k in range(int(sys.argv[3])):
        child = os.fork()
        if child == 0:
            run(job, folder, k)
        children.append(child)
    sys.stdout.write(" ".join(map(str, children)) + "\n")
    sys.stdout.flush()
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
