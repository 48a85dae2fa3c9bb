"""Plan → the kernels that it needs, as descriptions that every printer of kernels understands.

Stage: plan → [descriptions] → C or Triton. Flat kernels for parameters that are numbers; rows for those with a value
per channel, and for their gradients.
"""

from __future__ import annotations

from actium.kernels.loops import Kernel
from actium.kernels.plan import Mode, Plan


def flat_kernels(plan: Plan, mode: Mode) -> tuple[Kernel, Kernel]:
    """`forward` and `backward`: the gradients of all inputs."""
    inputs, parameters = plan.formula.inputs, plan.formula.parameters
    gradient, slopes = plan.backward(inputs, mode)
    return (
        Kernel("forward", inputs, parameters, (plan.value(mode),), midrange=plan.midrange()),
        Kernel("backward", (*inputs, gradient), parameters, slopes, midrange=plan.midrange(inputs)),
    )


def rows_kernels(plan: Plan, mode: Mode) -> tuple[Kernel, Kernel]:
    """`forward` and `backward`: the gradients of all inputs, and the sums of those of all parameters."""
    inputs, parameters = plan.formula.inputs, plan.formula.parameters
    names, count = (*inputs, *parameters), len(inputs)
    gradient, slopes = plan.backward(names, mode)
    outputs, sums = slopes[:count], slopes[count:]
    return (
        Kernel("forward", inputs, parameters, (plan.value(mode),), (), "rows", plan.midrange()),
        Kernel("backward", (*inputs, gradient), parameters, outputs, sums, "rows", plan.midrange(names)),
    )
