"""Smooth gates, x·g(x) with g between 0 and 1: SiLU, Mish, GELU and their relatives.

In: nothing. Out: `ENTRIES`. Minima are solutions of f′(x) = 0, rounded to a double.
"""

from __future__ import annotations

from actium.catalogue.entry import Entry, Kink
from actium.symbolic.parameters import Parameter

# −W(1/e), W being Lambert's function: the minimum of x·σ(x), at x = −(1 + W(1/e)).
_SILU_MINIMUM = "-0.2784645427610738"

ENTRIES = (
    Entry(
        name="silu",
        class_name="SiLU",
        summary="x·σ(x), the sigmoid linear unit.",
        formula="silu(x)",
        range=f"[{_SILU_MINIMUM}, inf)",
        source="Elfwing, Uchibe & Doya 2017, arXiv:1702.03118; PyTorch, torch.nn.functional.silu",
        torch_name="silu",
        aliases=("swish_1", "good_activation", "simple_custom"),
        note=(
            "x·sigmoid(x) in torch rounds twice in half precision (627 ULP in the gradient), is 0 below −88.7 where "
            "the exact value is a normal number, and is NaN at −inf. Here the product is ordered so that nothing "
            "underflows, and both limits are right."
        ),
    ),
    Entry(
        name="swish",
        class_name="Swish",
        summary="x·σ(beta·x), with a learnable beta.",
        formula="x * sigmoid(beta * x)",
        range=f"[{_SILU_MINIMUM} / beta, inf)",
        source="Ramachandran, Zoph & Le 2017, arXiv:1710.05941",
        parameters=(Parameter("beta", 1.0, learnable=True),),
        note="The range is for beta > 0.",
    ),
    Entry(
        name="bounded_silu",
        class_name="BoundedSiLU",
        summary="SiLU that stays at its value for `bound` beyond it.",
        formula="where(x > bound, silu(bound), silu(x))",
        range=f"[{_SILU_MINIMUM}, silu(bound)]",
        source="requirement 003, RobustActivation",
        parameters=(Parameter("bound", 50.0, positive=True),),
        kinks=(Kink("bound", "sigmoid(bound) * (1 + bound * sigmoid(-bound))", "as torch.clamp, which passes it"),),
        aliases=("robust",),
        note=(
            "Clamping the input to ±50 is often recommended for robustness. SiLU needs none (see `silu`): the clamp "
            "caps the output and stops every gradient outside. Take this function when a bound is wanted for itself; "
            "its left side, where SiLU is bounded anyway, is left alone, and bound=inf is SiLU."
        ),
    ),
    Entry(
        name="mish",
        class_name="Mish",
        summary="x·tanh(softplus(x)).",
        formula="mish(x)",
        range="[-0.30884341301725043, inf)",
        source="Misra 2019, arXiv:1908.08681; PyTorch, torch.nn.functional.mish",
        torch_name="mish",
        aliases=("well_documented",),
        note=(
            "Written x·tanh(log(1 + exp(x))), it overflows at x = 11.1 in float16 and 88.7 in float32. Sometimes "
            "published as a new function, with a minimum of −0.3: it is −0.3088."
        ),
    ),
    Entry(
        name="gelu",
        class_name="GELU",
        summary="x·Φ(x), Φ being the normal distribution function; approximate='tanh' gives its tanh form.",
        formula="gelu(x)",
        range="[-0.16997120747990366, inf)",
        source="Hendrycks & Gimpel 2016, arXiv:1606.08415; PyTorch, torch.nn.functional.gelu",
        torch_name="gelu",
        calling="gelu",
        note=(
            "½·x·(1 + erf(x/√2)) cancels for negative x: in float32 it has lost every bit at x = −5.6, where the exact "
            "value is −6e-8. Here Φ comes from its scaled tail."
        ),
    ),
    Entry(
        name="gelu_tanh",
        class_name="GELUTanh",
        summary="The tanh form of GELU, ½·x·(1 + tanh u) = x·σ(2u).",
        formula="gelu(x, 'tanh')",
        range="[-0.17004075057125406, inf)",
        source="Hendrycks & Gimpel 2016, arXiv:1606.08415; PyTorch, gelu(approximate='tanh')",
        torch_form="gelu(approximate='tanh')",
        aliases=("gelu_new", "gelu_pytorch_tanh"),
        note="1 + tanh(u) cancels for negative u; x·σ(2u) does not.",
    ),
    Entry(
        name="relu_sigmoid",
        class_name="ReLUSigmoid",
        summary="relu(x)·σ(x): SiLU above 0, 0 below.",
        formula="where(x <= 0, 0, x * sigmoid(x))",
        range="[0, inf)",
        source="requirement 001, composition of functions",
        kinks=(Kink("0", "0", "as relu"),),
        monotone=True,
        note="The sigmoid neither smooths the kink (the slope jumps from 0 to ½) nor revives negative units.",
    ),
    Entry(
        name="custom_smooth",
        class_name="CustomSmooth",
        summary="x·tanh(√(x² + 1)), within 0.115 of the identity.",
        formula="x * tanh(sqrt(x**2 + 1))",
        range="(-inf, inf)",
        source="requirement 003, method 1",
        monotone=True,
        parity="odd",
        note=(
            "Its slope is between 0.76 and 1.08: nearly linear, whatever a network of it learns. Written with x**2 its "
            "gradient is NaN from 32768 on in float16; √(1 + x²) is computed without squaring large numbers."
        ),
    ),
    Entry(
        name="tanh_exp",
        class_name="TanhExp",
        summary="x·tanh(e^x).",
        formula="x * tanh(exp(x))",
        range="[-0.35328577784821125, inf)",
        source="Liu & Di 2020, arXiv:2003.09855",
    ),
)
