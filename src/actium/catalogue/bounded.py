"""Activations with bounded values: sigmoid, tanh, and ways to clip.

In: nothing. Out: `ENTRIES`.
"""

from __future__ import annotations

from actium.catalogue import stable
from actium.catalogue.entry import Entry, Kink
from actium.symbolic.parameters import Parameter

_TORCH = "PyTorch, torch.nn.functional.{}"

ENTRIES = (
    Entry(
        name="sigmoid",
        class_name="Sigmoid",
        summary="1/(1 + e^−x).",
        formula="sigmoid(x)",
        range="(0, 1)",
        source=_TORCH.format("sigmoid"),
        monotone=True,
        torch_name="sigmoid",
        note=(
            "σ(1 − σ) from the rounded output is 0 from x = 8.32 on in float16, 6.25 in bfloat16 and 16.6 in float32; "
            "σ(x)·σ(−x) is not. The gradient still falls like e^−|x|: the saturation that is part of the function."
        ),
    ),
    Entry(
        name="tanh",
        class_name="Tanh",
        summary="The hyperbolic tangent.",
        formula="tanh(x)",
        range="(-1, 1)",
        source=_TORCH.format("tanh"),
        monotone=True,
        parity="odd",
        torch_name="tanh",
        note="1 − tanh² is 0 from |x| = 4.51 on in float16, 3.47 in bfloat16 and 9.01 in float32; sech² is not.",
    ),
    Entry(
        name="softsign",
        class_name="Softsign",
        summary="x/(1 + |x|).",
        formula="softsign(x)",
        range="(-1, 1)",
        source="Bergstra et al. 2009; PyTorch, torch.nn.functional.softsign",
        monotone=True,
        parity="odd",
        torch_name="softsign",
    ),
    Entry(
        name="tanhshrink",
        class_name="Tanhshrink",
        summary="x − tanh(x).",
        formula="tanhshrink(x)",
        range="(-inf, inf)",
        source=_TORCH.format("tanhshrink"),
        monotone=True,
        parity="odd",
        torch_name="tanhshrink",
        note="Not bounded itself. The plain difference is 0 for small x, where the exact value is x³/3.",
    ),
    Entry(
        name="isru",
        class_name="ISRU",
        summary="The inverse square root unit, x/√(1 + alpha·x²).",
        formula="x / sqrt(1 + alpha * x**2)",
        range="(-1 / sqrt(alpha), 1 / sqrt(alpha))",
        source="Carlile et al. 2017, arXiv:1710.09967",
        parameters=(Parameter("alpha", 1.0, positive=True),),
        monotone=True,
        parity="odd",
        stable=stable.isru,
    ),
    Entry(
        name="isrlu",
        class_name="ISRLU",
        summary="The input above 0, ISRU below.",
        formula="where(x < 0, x / sqrt(1 + alpha * x**2), x)",
        range="(-1 / sqrt(alpha), inf)",
        source="Carlile et al. 2017, arXiv:1710.09967",
        parameters=(Parameter("alpha", 1.0, positive=True),),
        monotone=True,
        stable=stable.isrlu,
    ),
    Entry(
        name="scaled_sigmoid",
        class_name="ScaledSigmoid",
        summary="σ(x/scale)·scale.",
        formula="scale * sigmoid(x / scale)",
        range="(0, scale)",
        source="requirement 000, example 2",
        parameters=(Parameter("scale", 10.0, positive=True),),
        monotone=True,
        note=(
            "The slope at 0 is ¼ for every scale: unlike what is often said, scale changes the range (0, scale), the "
            "value at 0 (scale/2) and the width, not the steepness."
        ),
    ),
    Entry(
        name="sigmoid_neg_abs",
        class_name="SigmoidNegAbs",
        summary="σ(−|x|), a bump of height ½.",
        formula="sigmoid(-abs(x))",
        range="(0, 0.5]",
        source="requirement 000, example 3",
        kinks=(Kink("0", "0", "the mean of both sides"),),
        parity="even",
        aliases=("my_custom_activation",),
        note=(
            "Published as e^−|x|/(1 + e^−|x|) in float32 for stability: it needs no cast, since e^−|x| never "
            "overflows, and the cast changed the output's dtype. The slope jumps from ¼ to −¼ at 0."
        ),
    ),
    Entry(
        name="soft_clip",
        class_name="SoftClip",
        summary="scale·tanh(x/scale), bounded by ±scale.",
        formula="scale * tanh(x / scale)",
        range="(-scale, scale)",
        source="requirement 003, SoftClip",
        parameters=(Parameter("scale", 1.0, positive=True),),
        monotone=True,
        parity="odd",
        note=(
            "Gradients do not flow everywhere: they fall like 4·e^(−2|x|/scale). Computed as 1 − tanh² they are "
            "exactly 0 from 4.5·scale on in float16; here only where the exact gradient rounds to 0."
        ),
    ),
    Entry(
        name="tanh_clip",
        class_name="TanhClip",
        summary="theta·tanh(x/theta) with a learnable threshold: the smooth clip to ±theta.",
        formula="theta * tanh(x / theta)",
        range="(-theta, theta)",
        source="requirement 004, LearnableClipping",
        parameters=(Parameter("theta", 1.0, learnable=True, positive=True),),
        monotone=True,
        parity="odd",
        aliases=("learnable_clipping",),
        note=(
            "A free threshold is NaN at 0 and means the same as its negative, so that training can swing between both "
            "signs; here it is kept positive. Same function as `soft_clip`, whose scale is fixed."
        ),
    ),
    Entry(
        name="hard_clip",
        class_name="HardClip",
        summary="The input clipped to ±theta, with a learnable threshold.",
        formula="clamp(x, -theta, theta)",
        range="[-theta, theta]",
        source="requirement 004; the threshold's gradient as in PACT, Choi et al. 2018, arXiv:1805.06085",
        parameters=(Parameter("theta", 1.0, learnable=True, positive=True),),
        kinks=(Kink("-theta", "1", "as torch.clamp"), Kink("theta", "1", "as torch.clamp")),
        monotone=True,
        parity="odd",
        note=(
            "A hard clip needs no smooth stand-in to be learned: the threshold's gradient is the sum of those of the "
            "clipped elements, with their sign."
        ),
    ),
    Entry(
        name="softplus_clip",
        class_name="SoftplusClip",
        summary="A clip to ±theta with soft corners, from two softplus; beta sets their sharpness.",
        formula="(softplus(beta * (x + theta)) - softplus(beta * (x - theta))) / beta - theta",
        range="(-theta, theta)",
        source="requirement 004, SoftplusClipping (its example, corrected)",
        parameters=(Parameter("theta", 1.0, learnable=True, positive=True), Parameter("beta", 4.0, positive=True)),
        monotone=True,
        parity="odd",
        aliases=("softplus_clipping",),
        note=(
            "The published form equals relu(x) for every threshold: it clips nothing, and its threshold learns from "
            "rounding noise. This one is odd, monotone and within ±theta, and tends to the hard clip as beta grows. "
            "The difference of two softplus cancels, so it is computed as one log1p."
        ),
        stable=stable.softplus_clip,
    ),
)
