"""Activations made of exponentials and logarithms: ELU and its family, softplus, soft exponential.

In: nothing. Out: `ENTRIES`.
"""

from __future__ import annotations

from actium.catalogue import stable
from actium.catalogue.entry import Entry, Kink
from actium.symbolic.compound import SELU_ALPHA, SELU_SCALE
from actium.symbolic.parameters import Parameter

_EDGE = repr(stable.SOFT_EXPONENTIAL_EDGE)

ENTRIES = (
    Entry(
        name="elu",
        class_name="ELU",
        summary="The input above 0, alpha·(e^x − 1) below.",
        formula="elu(x, alpha)",
        range="(-alpha, inf)",
        source="Clevert, Unterthiner & Hochreiter 2015, arXiv:1511.07289; PyTorch, torch.nn.functional.elu",
        parameters=(Parameter("alpha", 1.0),),
        kinks=(Kink("0", "alpha"),),
        monotone=True,
        torch_name="elu",
        note=(
            "torch.where(x > 0, x, exp(x) − 1) has a NaN gradient for x above 88.7 in float32, from the branch that is "
            "not taken, and is 0 for small negative x. For alpha = 1 there is no kink."
        ),
    ),
    Entry(
        name="celu",
        class_name="CELU",
        summary="The input above 0, alpha·(e^(x/alpha) − 1) below: slope 1 at 0 for every alpha.",
        formula="celu(x, alpha)",
        range="(-alpha, inf)",
        source="Barron 2017, arXiv:1704.07483; PyTorch, torch.nn.functional.celu",
        parameters=(Parameter("alpha", 1.0, positive=True),),
        monotone=True,
        torch_name="celu",
    ),
    Entry(
        name="selu",
        class_name="SELU",
        summary="ELU with the scale and alpha that keep mean 0 and variance 1.",
        formula="selu(x)",
        range=f"({-SELU_SCALE * SELU_ALPHA!r}, inf)",
        source="Klambauer et al. 2017, arXiv:1706.02515; PyTorch, torch.nn.functional.selu",
        kinks=(Kink("0", repr(SELU_SCALE * SELU_ALPHA)),),
        monotone=True,
        torch_name="selu",
    ),
    Entry(
        name="softplus",
        class_name="Softplus",
        summary="log(1 + e^(beta·x))/beta.",
        formula="softplus(x, beta, threshold)",
        range="(0, inf)",
        source="Dugas et al. 2001; PyTorch, torch.nn.functional.softplus",
        parameters=(Parameter("beta", 1.0, positive=True), Parameter("threshold", float("inf"))),
        kinks=(Kink("threshold / beta", "sigmoid(threshold)"),),
        monotone=True,
        torch_name="softplus",
        note=(
            "PyTorch returns x where beta·x exceeds a threshold of 20, which is off by 2e-9 there and loses every "
            "higher derivative. Here the threshold is inf by default, and a finite one gives PyTorch's function."
        ),
    ),
    Entry(
        name="logsigmoid",
        class_name="LogSigmoid",
        summary="log σ(x) = −softplus(−x).",
        formula="logsigmoid(x)",
        range="(-inf, 0)",
        source="PyTorch, torch.nn.functional.logsigmoid",
        monotone=True,
        torch_name="logsigmoid",
        aliases=("log_sigmoid",),
    ),
    Entry(
        name="soft_exponential",
        class_name="SoftExponential",
        summary="A family from the logarithm (alpha = −1) over the identity (0) to the exponential (1).",
        formula=(
            "where(alpha == 0, x, where(alpha > 0, (exp(alpha * x) - 1) / alpha + alpha, "
            f"where(1 - alpha * (x + alpha) < {_EDGE}, "
            f"-(log({_EDGE}) + (1 - alpha * (x + alpha)) / {_EDGE} - 1) / alpha, "
            "-log(1 - alpha * (x + alpha)) / alpha)))"
        ),
        range="(-inf, inf)",
        source="Godfrey & Gashler 2015, arXiv:1602.01321; requirement 002",
        parameters=(Parameter("alpha", 0.0, learnable=True),),
        monotone=True,
        stable=stable.soft_exponential,
        note=(
            "The usual code returns x for alpha = 0, so that alpha gets no gradient and never leaves 0; the limit of "
            "that gradient is 1 + x²/2, which this has. Near 0 the quotients of the usual code cancel (at alpha = 1e-6 "
            "its gradient is off by 6e4); here they are series. For alpha < 0 the logarithm ends at "
            f"1 − alpha·(x + alpha) = 0; from {_EDGE} on the function goes on as its tangent, so that it is "
            "finite, increasing and smooth to first order everywhere. Twice differentiable in alpha except at 0."
        ),
    ),
)
