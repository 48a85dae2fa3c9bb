"""How fast a function is: against PyTorch's own, torch.compile, the formula as typed, and the copy that bounds all.

Stage: target → cases → [bench] → report. In: target texts. Out: times with their spread, ratios with intervals, the
share of the machine's measured copy bandwidth, memory. `timing` is the one clock of the project: the scripts under
`benchmarks/` use it too. Judges no numbers: that is `verify`.
"""

from actium.bench.timing import Interval, Samples, interleaved

__all__ = ["Interval", "Samples", "interleaved"]
