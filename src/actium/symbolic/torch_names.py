"""What PyTorch calls things: which operations a formula cannot hold, and why.

Stage: consulted by `trace`. In: the name of an operation. Out: what is wrong with it and what to do instead.
Knows names only; torch itself is not imported.
"""

from __future__ import annotations

# The operators that reach a tensor under a dunder name.
OPERATORS = {
    "__and__": "and",
    "__rand__": "and",
    "bitwise_and": "and",
    "__or__": "or",
    "__ror__": "or",
    "bitwise_or": "or",
    "__invert__": "not",
    "bitwise_not": "not",
    "__rsub__": "rsub",
    "__rdiv__": "rdiv",
    "__rtruediv__": "rdiv",
    "true_divide": "div",
    "__rpow__": "rpow",
    "__pow__": "pow",
    "float_power": "pow",
    "__eq__": "eq",
    "__ne__": "ne",
    "_threshold": "threshold",
}

SAME_VALUE = frozenset(
    "clone contiguous cpu cuda alias positive pin_memory __pos__ conj resolve_conj resolve_neg".split()
)
DROPOUTS = frozenset("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout".split())
CASTS = frozenset("to float double half bfloat16 int long short bool type type_as".split())
FILLED = {
    "zeros_like": 0.0,
    "ones_like": 1.0,
    "new_zeros": 0.0,
    "new_ones": 1.0,
    "full_like": None,
    "new_full": None,
    "new_tensor": None,
}
# Operations that only rearrange: allowed on parameters, where they say which axis is the channel.
REARRANGING = frozenset(
    "view reshape flatten ravel unsqueeze squeeze expand broadcast_to permute transpose swapaxes swapdims movedim t "
    "repeat tile unbind chunk split select narrow __getitem__ size dim ndimension numel nelement "
    ".shape .ndim .T .mT .H .mH".split()
)
# Answers about a stand-in that hold for the tensors it stands for.
ANSWERS: dict[str, object] = {
    "is_floating_point": True,
    "is_complex": False,
    "is_contiguous": True,
    "is_inference": False,
    "is_conj": False,
    "is_neg": False,
    ".is_cpu": True,
    ".is_leaf": True,
    ".requires_grad": False,
    ".grad": None,
    ".grad_fn": None,
    ".names": None,
}

_CONTROL = frozenset(
    "__bool__ __float__ __int__ __index__ __complex__ __contains__ item tolist is_nonzero equal allclose nonzero "
    "argwhere isclose __len__ __iter__".split()
)
_NUMPY = frozenset("__array__ __array_wrap__ numpy".split())
_CUT = frozenset("detach .data detach_copy".split())
_MIXING = frozenset(
    "sum mean prod std var std_mean var_mean amax amin aminmax max min argmax argmin median mode norm vector_norm "
    "softmax log_softmax softmin gumbel_softmax logsumexp cumsum cumprod cummax cummin logcumsumexp any all "
    "count_nonzero sort argsort topk kthvalue quantile nanmean nansum nanmedian normalize layer_norm rms_norm "
    "batch_norm group_norm "
    "instance_norm local_response_norm __matmul__ __rmatmul__ matmul mm bmm mv dot inner outer einsum tensordot addmm "
    "linear bilinear embedding multi_head_attention_forward scaled_dot_product_attention glu conv1d conv2d conv3d "
    "max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d interpolate roll flip "
    "fliplr flipud cdist cosine_similarity".split()
)
_SHAPE = REARRANGING | frozenset(
    "view_as reshape_as expand_as stack cat concat concatenate hstack vstack dstack unfold unflatten index_select "
    "gather scatter take take_along_dim masked_select index_put masked_scatter repeat_interleave pad tril triu diag "
    "stride storage_offset element_size broadcast_tensors atleast_1d atleast_2d tensor_split "
    ".itemsize .nbytes meshgrid".split()
)
_RANDOM = frozenset("rand_like randn_like randint_like bernoulli normal poisson multinomial".split())
_NAN = frozenset("isnan isinf isfinite isposinf isneginf nan_to_num fmax fmin nanmax signbit copysign".split())
_ROUNDING = frozenset("round fix remainder fmod __mod__ __rmod__ floor_divide __floordiv__ __rfloordiv__".split())
_UNFILLED = frozenset("empty_like new_empty".split())


def reason(name: str) -> str:
    """Why an operation cannot be traced, and what to do."""
    shown = name.removeprefix(".")
    for names, text in _REASONS:
        if name in names:
            return text.format(name=shown)
    if name.endswith("_") and not name.endswith("__"):
        return f"in-place write: {shown} changes a tensor; use {shown.rstrip('_')}, which returns a new one"
    return f"{shown} is not an operation that a formula can hold; write it with supported functions"


_REASONS: tuple[tuple[frozenset[str], str], ...] = (
    (
        _CONTROL,
        "data-dependent: {name} asks for the value of a tensor while the formula is being read; "
        "use torch.where instead of `if`, and torch.exp instead of math.exp",
    ),
    (_NUMPY, "numpy: {name} leaves torch, so there is no gradient; use the torch function of the same name"),
    (_CUT, "{name} cuts the gradient, so the derivative would not be that of the formula"),
    (
        frozenset(("__setitem__",)),
        "in-place write: elements or attributes of a tensor are assigned to; use torch.where",
    ),
    (_MIXING, "shape operation: {name} mixes elements, and an elementwise activation cannot"),
    (_SHAPE, "shape operation: {name} depends on the shape of the input, and an elementwise activation cannot"),
    (_RANDOM, "random: {name} gives another value each time"),
    (_NAN, "{name} asks whether a number is NaN or infinite; a formula is a function of real numbers"),
    (_ROUNDING, "{name} is not supported: use torch.floor"),
    (_UNFILLED, "{name} has no defined values"),
)
