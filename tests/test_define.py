"""`Activation` as a user meets it: calling conventions, in place, errors, what can be said about a function."""

from __future__ import annotations

import math

import pytest
import torch

from actium.authoring import activation, formula
from actium.define import Activation
from actium.errors import (
    ActiumError,
    ChannelError,
    DerivativeError,
    DeviceError,
    DtypeError,
    FormulaError,
    InplaceError,
    ParameterError,
    TraceError,
)
from actium.op import Op
from actium.symbolic.graph import Formula, variable
from actium.symbolic.parameters import learnable
from samples import GATED, SILU_TEXT, assert_same_bits, leaky, mish, relu, silu, soft_clip, swish, two

X = torch.tensor([-2.0, -0.5, 0.0, 1.5])


# --- making and calling --------------------------------------------------------------------------------


def test_decorator_with_and_without_arguments():
    @activation
    def cube(x, scale=2.0):
        """Scaled cube."""
        return scale * x * x * x

    @activation(name="other", source="arXiv:0000.00000")
    def named(x):
        return x * torch.sigmoid(x)

    assert (cube.name, cube.__doc__) == ("cube", "Scaled cube.")
    assert cube(X).tolist() == (2 * X**3).tolist()
    assert (named.name, named.source_note) == ("other", "arXiv:0000.00000")
    assert_same_bits(named(X), silu(X))


def test_function_and_text_make_the_same_formula():
    traced = activation(lambda x: x * torch.sigmoid(x))
    assert traced.formula == formula(SILU_TEXT).formula


def test_parameters_by_position_by_name_and_inplace_last():
    expected = two(X, a=1.0, b=2.0)
    assert_same_bits(two(X, 1.0, 2.0), expected)
    assert_same_bits(two(X, 1, b=2), expected)
    x = X.clone()
    assert two(x, 1.0, 2.0, True) is x
    assert_same_bits(x, expected)
    assert_same_bits(relu(X.clone(), True), relu(X))


@pytest.mark.parametrize(
    ("args", "given", "message"),
    [
        ((1.0, 2.0, True, 3.0), {}, r"takes 2 parameters \(a, b\), got 4"),
        ((), {"gamma": 1.0}, "no parameter 'gamma'; it has: a, b"),
        ((1.0,), {"a": 2.0}, "'a' was given twice"),
        ((), {"b": -1.0}, r"'b': -1.0 is outside \[0, 4\]"),
        ((), {"b": "2"}, "'b': expected a number, got str"),
        ((), {"a": math.nan}, "nan is outside"),
        ((), {"a": True}, "expected a number, got bool"),
    ],
)
def test_wrong_parameters(args, given, message):
    with pytest.raises(ParameterError, match=message):
        two(X, *args, **given)


def test_positive_parameter_refuses_zero():
    with pytest.raises(ParameterError, match=r"'theta': 0.0 is outside \(0, inf\)"):
        soft_clip(X, theta=0)


def test_number_of_parameters_of_an_op():
    with pytest.raises(ParameterError, match="got 1 parameters, expected 2: a, b"):
        two.op(X, (1.0,))


def test_description_and_formula_must_agree():
    with pytest.raises(ParameterError, match="described are"):
        Activation(swish.formula, ())


# --- tensors that are refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(3, dtype=torch.int64), r"got torch.int64, expected .*\.float\(\)"),
        (torch.ones(3, dtype=torch.uint8), "got torch.uint8"),
        (torch.ones(3, dtype=torch.bool), "got torch.bool"),
        (torch.ones(3, dtype=torch.complex64), r"complex64, .*\.real and \.imag"),
        (torch.ones(3, dtype=torch.float8_e4m3fn), "got torch.float8_e4m3fn"),
        (torch.eye(3).to_sparse(), r"torch.sparse_coo, expected a dense tensor; call \.to_dense"),
        ([1.0, 2.0], "expected a tensor, got list"),
        (1.0, "expected a tensor, got float"),
        (None, "expected a tensor, got NoneType"),
    ],
    ids=["int64", "uint8", "bool", "complex", "float8", "sparse", "list", "float", "None"],
)
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("parameters", [{}, {"beta": 2.0}], ids=["defaults", "given"])
def test_inputs_that_are_refused(x, message, inplace, parameters):
    with pytest.raises(DtypeError, match=f"swish: .*{message}"):
        swish(x, inplace=inplace, **parameters)


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning", "ignore::DeprecationWarning")
def test_quantised_tensor_is_refused():
    x = torch.quantize_per_tensor(X, 0.1, 0, torch.qint8)
    with pytest.raises(DtypeError, match="qint8"):
        silu(x)


def test_refusals_are_also_what_a_pytorch_user_expects():
    with pytest.raises(TypeError):
        silu([1.0])
    assert issubclass(ChannelError, ValueError)
    assert issubclass(InplaceError, RuntimeError)
    assert issubclass(DtypeError, ActiumError)


def test_channel_errors():
    x, p = torch.ones(2, 5), torch.ones(3)
    with pytest.raises(ChannelError, match=r"'beta' has 3 values; say which .* \(2, 5\) .*channel_dim="):
        swish(x, beta=p)
    with pytest.raises(ChannelError, match=r"'beta' has 3 values, but dimension 1 of the input \(2, 5\) has size 5"):
        swish(x, beta=p, channel_dim=1)
    for dim in (2, -3):
        with pytest.raises(ChannelError, match=f"channel_dim={dim} does not exist in an input of shape"):
            swish(x, beta=p, channel_dim=dim)
    with pytest.raises(ChannelError, match=r"shape \(3, 1\), expected \(1,\) or \(C,\)"):
        swish(x, beta=torch.ones(3, 1), channel_dim=0)
    with pytest.raises(ChannelError, match="does not exist"):
        swish(torch.ones(()), beta=p, channel_dim=0)


def test_parameter_tensors_that_are_refused():
    with pytest.raises(DtypeError, match=r"parameter 'beta' has dtype torch\.int64"):
        swish(X, beta=torch.ones(1, dtype=torch.int64))
    with pytest.raises(DeviceError, match="input is on cpu, parameter 'beta' on meta"):
        swish(X, beta=torch.ones(1, device="meta"))


def test_several_inputs_must_agree():
    op = Op(GATED, {"beta": 1.0}, "swiglu")
    with pytest.raises(DtypeError, match="inputs differ"):
        op.many((X, X.half()), (1.0,), None)
    with pytest.raises(DtypeError, match="inputs differ"):
        op.many((X, X[:2]), (1.0,), None)
    torch.testing.assert_close(op.many((torch.ones(4), X), (1.0,), None), silu(X), rtol=2e-7, atol=0.0)


# --- in place ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["contiguous", "permuted", "strided"])
def test_inplace_writes_into_the_same_memory(dtype, layout):
    base = torch.randn(6, 8).to(dtype)
    x = {"contiguous": base, "permuted": base.T, "strided": base[::2, 1:]}[layout]
    expected, untouched = silu(x), base.clone()
    version, address = x._version, x.data_ptr()
    y = silu(x, inplace=True)
    assert y is x
    assert y.data_ptr() == address
    assert x._version > version
    assert_same_bits(x, expected)
    if layout == "strided":
        assert torch.equal(base[1::2], untouched[1::2])
        assert torch.equal(base[:, 0], untouched[:, 0])


def test_inplace_training_where_the_output_suffices():
    w = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    hidden = w * 2.0
    y = relu(hidden, inplace=True)
    assert y.data_ptr() == hidden.data_ptr()
    y.sum().backward()
    assert w.grad.tolist() == [0.0, 2.0, 2.0]


def test_inplace_on_a_view_reaches_its_base():
    w = torch.tensor([[-1.0, 2.0], [3.0, -4.0]], requires_grad=True)
    base = w * 1.0
    relu(base[0], inplace=True)
    assert base[0].tolist() == [0.0, 2.0]
    (base * torch.tensor([[1.0, 10.0], [100.0, 1000.0]])).sum().backward()
    assert w.grad.tolist() == [[0.0, 10.0], [100.0, 1000.0]]


def test_autograd_notices_that_a_needed_tensor_was_overwritten():
    w = torch.tensor([0.5, 2.0], requires_grad=True)
    hidden = w * 1.0
    squared = hidden * hidden
    relu(hidden, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squared.sum().backward()
    saved = silu(hidden := w * 1.0)
    with torch.no_grad():
        silu(hidden, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.sum().backward()


def test_double_backward_through_an_inplace_call():
    w = torch.tensor([-1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad((relu(w * w * w, inplace=True) ** 2).sum(), w, create_graph=True)
    (second,) = torch.autograd.grad(g.sum(), w)
    assert second.tolist() == [0.0, 30.0 * 2.0**4]


def test_inplace_is_refused_with_a_reason():
    w = torch.tensor([0.5, 2.0], requires_grad=True)
    with pytest.raises(InplaceError, match="relu: x is a leaf that requires grad"):
        relu(w, inplace=True)
    with pytest.raises(InplaceError, match="silu: the backward pass needs the input"):
        silu(w * 1.0, inplace=True)
    with pytest.raises(InplaceError, match="leaky: a parameter's gradient needs the input"):
        leaky(w.detach().clone(), slope=torch.ones(1, requires_grad=True), inplace=True)
    with torch.no_grad():
        assert silu(w.detach().clone(), inplace=True).shape == (2,)
        silu(w, inplace=True)
    assert w.tolist() == pytest.approx([0.5 / (1 + math.exp(-0.5)), 2 / (1 + math.exp(-2))])


def test_inplace_on_expanded_memory_is_refused():
    with pytest.raises(RuntimeError):
        silu(torch.ones(1).expand(4), inplace=True)


def test_inplace_under_a_transform():
    expected = relu(X)
    assert_same_bits(torch.func.vmap(lambda t: relu(t * 1.0, inplace=True))(X), expected)
    got = torch.func.grad(lambda t: relu(t * 1.0, inplace=True).sum())(X)
    assert got.tolist() == [0.0, 0.0, 0.0, 1.0]


# --- what can be said ----------------------------------------------------------------------------------


def test_derivatives_are_activations():
    first, second = silu.derivative(), silu.derivative(order=2)
    x = X.double().requires_grad_()
    (g,) = torch.autograd.grad(x.mul(torch.sigmoid(x)).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    torch.testing.assert_close(first(X).double(), g.detach(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(second(X).double(), h, rtol=1e-6, atol=1e-7)
    assert silu.derivative() is first
    assert swish.derivative("beta")(X, beta=2.0).tolist() == pytest.approx(
        [v * v / (4 * math.cosh(v) ** 2) for v in X.tolist()], rel=1e-5
    )
    with pytest.raises(DerivativeError, match="no input or parameter 'gamma'; it has: x, beta"):
        swish.derivative("gamma")


def test_sources():
    c, python = two.source("c", "bfloat16"), two.source("torch")
    assert "act_load_bf16" in c or "act_widen_bf16" in c
    assert "void backward" in c
    namespace = {"torch": torch, "math": math}
    exec(python, namespace)
    got = namespace["two"](X, torch.tensor(1.5), torch.tensor(0.5))
    torch.testing.assert_close(got, two(X), rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="choose 'c', 'torch' or 'triton'"):
        two.source("fortran")


def test_text_repr_and_latex():
    assert str(mish) == "x * tanh(log(1 + exp(x)))"
    assert repr(swish) == "<actium swish(x, beta=1) = x * sigmoid(beta * x)>"
    assert r"\tanh" in mish.latex()


def test_bad_definitions():
    with pytest.raises(FormulaError):
        formula("x +")
    with pytest.raises(TraceError, match=r"test_define\.py"):
        activation(lambda x: x.sum())
    with pytest.raises(ParameterError, match="is outside"):
        formula("a * x", a=learnable(-1.0, positive=True))


def test_a_name_that_is_no_identifier_is_made_one():
    odd = Activation(Formula(variable("x") * 2.0), name="2 × x; import os")
    assert odd.name.isidentifier()
    assert odd(X).tolist() == (2 * X).tolist()
