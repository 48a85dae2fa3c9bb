"""Activations whose parameters are trained, one value or one per channel.

In: nothing. Out: `ENTRIES`.
"""

from __future__ import annotations

from actium.catalogue.entry import Entry, Kink
from actium.catalogue.polynomial import polynomial_entry
from actium.symbolic.parameters import Parameter

ENTRIES = (
    Entry(
        name="prelu",
        class_name="PReLU",
        summary="Leaky ReLU with a learned slope; one per channel (dimension 1), if weight has several values.",
        formula="prelu(x, weight)",
        range="(-inf, inf)",
        source="He et al. 2015, arXiv:1502.01852; PyTorch, torch.nn.functional.prelu",
        parameters=(Parameter("weight", 0.25, learnable=True),),
        kinks=(Kink("0", "weight"),),
        monotone=True,
        torch_name="prelu",
        calling="prelu",
    ),
    Entry(
        name="parametric_leaky",
        class_name="ParametricLeaky",
        summary="The input above 0, alpha times it below, with a learned alpha.",
        formula="where(x > 0, x, alpha * x)",
        range="(-inf, inf)",
        source="requirement 003, ParametricActivation",
        parameters=(Parameter("alpha", 0.25, learnable=True),),
        kinks=(Kink("0", "alpha", "as torch.nn.functional.prelu"),),
        monotone=True,
        aliases=("parametric_activation",),
        note=(
            "Without an explicit channel dimension the parameters meet the last one, which in NCHW is silently the "
            "width. Here channel_dim says which, and a mismatch is an error."
        ),
    ),
    Entry(
        name="learnable_leaky",
        class_name="LearnableLeaky",
        summary="scale·(max(x, 0) + alpha·min(x, 0)) + shift, with learned scale and alpha (and shift on request).",
        formula="scale * where(x <= 0, alpha * x, x) + shift",
        range="(-inf, inf)",
        source="requirement 003, LearnableActivation",
        parameters=(
            Parameter("alpha", 0.25, learnable=True),
            Parameter("scale", 1.0, learnable=True),
            Parameter("shift", 0.0),
        ),
        kinks=(Kink("0", "scale * alpha", "as torch.nn.functional.prelu"),),
        monotone=True,
        aliases=("learnable_activation",),
        note=(
            "The sum of two ReLUs has gradient 0 at x = 0 even for alpha = 1, where the function is a straight line. "
            "Here it is that of the left side. To train the shift: LearnableLeaky(learn=('shift',))."
        ),
    ),
    Entry(
        name="srelu",
        class_name="SReLU",
        summary="Three straight lines: the input between two learned thresholds, learned slopes outside.",
        formula=(
            "where(x >= t_right, t_right + a_right * (x - t_right), where(x <= t_left, t_left + a_left * (x - t_left), "
            "x))"
        ),
        range="(-inf, inf)",
        source="Jin et al. 2015, arXiv:1512.07030",
        parameters=(
            Parameter("t_left", -1.0, learnable=True, max=0.0),
            Parameter("a_left", 0.2, learnable=True),
            Parameter("t_right", 1.0, learnable=True, min=0.0),
            Parameter("a_right", 0.2, learnable=True),
        ),
        kinks=(
            Kink("t_left", "a_left", "the outer piece includes its threshold, as in the paper"),
            Kink("t_right", "a_right", "the outer piece includes its threshold, as in the paper"),
        ),
        monotone=True,
        parity="odd",
        note=(
            "Thresholds that cross make the function jump; here t_left ≤ 0 ≤ t_right. The initial values (an S of "
            "slopes 0.2, 1, 0.2) are ours: the paper starts as a leaky ReLU and sets t_right from data after some "
            "epochs."
        ),
    ),
    Entry(
        name="brelu",
        class_name="BReLU",
        summary="max(x, 0) in even channels, min(x, 0) in odd ones.",
        formula="where(sign * x <= 0, 0, x)",
        range="[0, inf)",
        source="Eidnes & Nøkland 2017, arXiv:1709.04054; requirement 002",
        parameters=(Parameter("sign", 1.0, min=-1.0, max=1.0),),
        kinks=(Kink("0", "0", "as relu"),),
        monotone=True,
        calling="brelu",
        note=(
            "The published code alternates over dimension 0, the batch: the output of a sample then depends on its "
            "place in the batch. Here it is the channel, dimension 1 unless said otherwise. The range is that of an "
            "even channel."
        ),
    ),
    polynomial_entry(3),
)
