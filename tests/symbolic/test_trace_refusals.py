"""What cannot be a formula, and the line that says so."""

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from actium.errors import TraceError
from actium.symbolic.trace import trace


def refusal(target):
    with pytest.raises(TraceError) as caught:
        trace(target)
    return str(caught.value)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2  # line: doubled

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


def branches(x):
    if x.mul(2) > 0:  # line: branches
        return x
    return -x


def floats(x):
    return x * math.exp(x)  # line: floats


def nested(x):
    def inner(y):
        return y.view(-1)  # line: nested

    return torch.tanh(inner(x))


def raises(x):
    scale = {}
    return x * scale["gain"]  # line: raises


def custom(x):
    return Doubled.apply(x)


def ungraded(x):
    with torch.no_grad():
        return torch.exp(x)  # line: ungraded


def endless(x):
    while True:
        x = x + 1  # line: endless


def assigns(x):
    x[x < 0] = 0.0  # line: assigns
    return x


def swallows(x):
    y = x * torch.ones(3)  # line: swallows
    return y


def line_named(name):
    source = inspect.getsource(inspect.getmodule(line_named)).split("\n")
    return next(i for i, text in enumerate(source, 1) if text.endswith(f"# line: {name}"))


@pytest.mark.parametrize(
    ("target", "line", "says"),
    [
        (branches, "branches", "data-dependent: __bool__"),
        (floats, "floats", "data-dependent: __float__"),
        (nested, "nested", "shape operation: view"),
        (raises, "raises", "KeyError: 'gain'"),
        (custom, "doubled", "torch.autograd.Function"),
        (ungraded, "ungraded", "torch.no_grad"),
        (endless, "endless", "operations"),
        (assigns, "assigns", "in-place write"),
        (swallows, "swallows", "shape (3,)"),
    ],
)
def test_trace_error_names_the_line_that_did_it(target, line, says):
    message = refusal(target)
    where, _, rest = message.partition(": ")
    assert where == f"test_trace_refusals.py:{line_named(line)}"
    assert says in rest
    assert f"# line: {line}" in message


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (lambda x: int(x) * x, "data-dependent: __int__"),
        (lambda x: x.item() * x, "data-dependent: item"),
        (lambda x: len(x) * x, "data-dependent: __len__"),
        (lambda x: list(x), "data-dependent: __iter__"),
        (lambda x: x.relu_(), "in-place write: relu_"),
        (lambda x: torch.exp(x, out=x), "in-place write: out="),
        (lambda x: x.shape[0] * x, "shape operation: shape"),
        (lambda x: x.dim() * x, "shape operation: dim"),
        (lambda x: x.ndim * x, "shape operation: ndim"),
        (lambda x: x.size(0) * x, "shape operation: size"),
        (lambda x: x.reshape(-1), "shape operation: reshape"),
        (lambda x: x.T, "shape operation: T"),
        (lambda x: x[0], "shape operation: __getitem__"),
        (lambda x: torch.cat([x, -x]), "shape operation: cat"),
        (lambda x: x - x.mean(), "mean mixes elements"),
        (lambda x: x / x.sum(), "sum mixes elements"),
        (lambda x: x - x.max(), "max mixes elements"),
        (lambda x: torch.max(x, dim=0), "max mixes elements"),
        (lambda x: F.softmax(x, dim=-1), "softmax mixes elements"),
        (lambda x: x @ x, "matmul mixes elements"),
        (lambda x: F.layer_norm(x, (2,)), "layer_norm mixes elements"),
        (lambda x: np.tanh(x), "numpy"),
        (lambda x: x.numpy(), "numpy"),
        (lambda x: x.detach() * x, "cuts the gradient"),
        (lambda x: x.data * x, "cuts the gradient"),
        (lambda x: torch.tensor(x), "cuts the gradient"),
        (lambda x: x + torch.rand_like(x), "random"),
        (lambda x: F.dropout(x, 0.5), "random: dropout"),
        (lambda x: F.rrelu(x, training=True), "random: rrelu"),
        (lambda x: torch.nan_to_num(x), "NaN"),
        (lambda x: torch.round(x), "use torch.floor"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounding_mode"),
        (lambda x: x.long() * x, "rounds"),
        (lambda x: torch.asin(x), "asin is not an operation"),
        (lambda x: (x > 0) + (x > 1), "`or`"),
        (lambda x: x * float("nan"), "NaN"),
        (lambda x: x.unknown, "AttributeError"),
        (lambda x: x > 0, "a condition"),
        (lambda x: (x, x), "a tuple"),
        (lambda x: 3.0, "a float"),
        (lambda x: torch.ones(2), "not computed from its input"),
        (lambda x: torch.ones_like(x), "does not depend"),
        (lambda x, scale: x, "scale needs a default"),
        (lambda: 1, "does not take 1 input"),
        (nn.ReLU, "make an instance"),
        (3.0, "cannot be traced"),
        (nn.GLU(), "glu mixes elements"),
        (nn.Softmax(-1), "softmax mixes elements"),
        (nn.Linear(2, 2), "linear mixes elements"),
        (nn.BatchNorm1d(2), "shape operation: dim"),
    ],
)
def test_trace_refuses_by_name(target, says):
    assert says in refusal(target)
