"""DDP, FSDP2, DTensor and tensor parallelism in two processes train learnable activations as one process does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from jobs import JOBS, WORLD, run

LIMIT_SECONDS = 240.0


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes_equal_one(tmp_path):
    context = torch.multiprocessing.spawn(
        run, args=(str(tmp_path),), nprocs=WORLD, join=False
    )  # one start for all jobs
    end = time.monotonic() + LIMIT_SECONDS
    try:
        while not context.join(timeout=1.0):
            assert time.monotonic() < end, "the processes hang"
    finally:
        for process in context.processes:
            process.kill()
    verdicts = {name: [Path(tmp_path, f"{name}-{rank}").read_text() for rank in range(WORLD)] for name in JOBS}
    assert verdicts == {name: ["ok"] * WORLD for name in JOBS}
