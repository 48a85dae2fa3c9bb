"""How much memory a call takes.

Stage: call → [memory] → cells. In: a call without arguments. Out: the most bytes that were allocated at one time while
it ran, beyond those that there were before. What backward waits for is counted by `verify.run.kept_bytes`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object], device: str = "cpu") -> int:
    """The most memory that tensors held at one time during a call, beyond what they held before.

    Args:
        call: Is called once; what it allocates from torch's allocators is counted, working memory of C code is not.
        device: Whose memory.

    Example:
        >>> x = torch.zeros(1000)
        >>> peak_bytes(lambda: x.exp().exp())
        8000
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # The profiler would otherwise report on stderr that it has started.
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        most = max(most, held)
    return most
