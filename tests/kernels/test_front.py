"""The compiled front door: same bits, same place in autograd's graph, and out of the way of every transform."""

from __future__ import annotations

import types

import pytest
import torch
from doors import NEEDED, assert_freed_when_nobody_holds_it, copy_of, warm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from actium.authoring import formula
from actium.errors import ActiumWarning, KernelError
from actium.kernels import cache, front
from actium.module import ActivationModule
from samples import ALL, HALVES, all_halves, bits

pytestmark = NEEDED
SHAPES = ((), (0,), (1,), (3, 5), (2, 3, 4, 5), (40_000,))


def run(activation, x, grad=None):
    x = x.clone().requires_grad_()
    y = activation(x)
    return y, torch.autograd.grad(y, x, torch.ones_like(y) if grad is None else grad)[0]


@pytest.mark.parametrize("activation", ALL, ids=lambda a: a.name)
def test_bits_are_those_of_the_python_path_on_every_half(door, activation):
    compiled = warm(copy_of(activation), *HALVES)
    for dtype in HALVES:
        x = all_halves(dtype)
        grad = x.flip(0)
        for one, other in zip(run(activation, x, grad), run(compiled, x, grad), strict=True):
            assert torch.equal(bits(one), bits(other))
        assert type(compiled(x.clone().requires_grad_()).grad_fn).__name__ == "CppFunction"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_strides_and_values_of_every_shape(door, shape):
    silu = formula("x * sigmoid(x)")
    compiled = warm(silu)
    x = torch.randn(shape)
    y, gradient = run(compiled, x)
    assert y.shape == x.shape
    assert y.stride() == x.stride()
    wide = x.double().requires_grad_()
    exact = torch.nn.functional.silu(wide)
    torch.testing.assert_close(y.double(), exact, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), torch.autograd.grad(exact.sum(), wide)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, in jvp
def test_it_steps_aside_for_everything_that_is_not_plain(door):
    silu = warm(formula("x * sigmoid(x)"))
    x = torch.randn(4, 6)
    strange = {
        "transposed": x.t(),
        "float64": x.double(),
        "negated view": torch.view_as_complex(torch.randn(3, 2)).conj().imag,
        "meta": x.to("meta"),
        "sparse": x.to_sparse(),
        "subclass": x.as_subclass(type("Sub", (torch.Tensor,), {})),
        "no tensor": 3.0,
    }
    for name, t in strange.items():
        assert silu._front(t) is None, name  # type: ignore[arg-type]
    seen = []
    torch.func.vmap(lambda t: seen.append(silu._front(t)) or t)(x)
    torch.func.grad(lambda t: (seen.append(silu._front(t)), t.sum())[1])(x)
    with torch.autograd.forward_ad.dual_level():
        seen.append(silu._front(torch.autograd.forward_ad.make_dual(x, x)))
    with TorchDispatchMode():
        seen.append(silu._front(x))
    with torch.overrides.TorchFunctionMode():
        seen.append(silu._front(x))
    assert seen == [None] * 5
    assert silu._front(x) is not None


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, in jvp
def test_transforms_are_those_of_the_python_path(door):
    silu, x = warm(formula("x * sigmoid(x)")), torch.randn(5)
    plain = torch.nn.functional.silu
    for transform in (
        lambda f: torch.func.vmap(f)(x.reshape(5, 1)),
        lambda f: torch.func.grad(lambda t: f(t).sum())(x),
        lambda f: torch.func.jvp(f, (x,), (torch.ones(5),))[1],
        lambda f: torch.func.hessian(lambda t: f(t).sum())(x),
        lambda f: torch.func.vmap(torch.func.grad(lambda t: f(t).sum()))(x.reshape(5, 1)),
    ):
        torch.testing.assert_close(transform(silu), transform(plain), rtol=1e-5, atol=1e-6)


def test_double_backward_and_batched_gradients(door):
    silu = warm(formula("x * sigmoid(x)"))
    x = torch.randn(6, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    second = []
    for t, f in ((x, silu), (wide, torch.nn.functional.silu)):
        (first,) = torch.autograd.grad(f(t).sum(), t, create_graph=True)
        second.append(torch.autograd.grad(first.sum(), t)[0].double())
    torch.testing.assert_close(*second, rtol=1e-5, atol=1e-6)
    y = silu(x)
    (rows,) = torch.autograd.grad(y, x, torch.eye(6), is_grads_batched=True)
    torch.testing.assert_close(rows.diagonal(), torch.autograd.grad(silu(x).sum(), x)[0])


def test_autograd_sees_an_ordinary_node(door):
    silu = warm(formula("x * sigmoid(x)"))
    x = torch.randn(7, requires_grad=True)
    y = silu(x)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    once = torch.autograd.grad(silu(x).sum(), x)[0]
    torch.testing.assert_close(x.grad, 2 * once)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()
    changed = torch.randn(3, requires_grad=True).clone()
    y = silu(changed)
    changed.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    with torch.no_grad():
        assert silu(x).grad_fn is None
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.shape) or t, lambda t: t):
        silu(x)
    assert packed == [x.shape]
    seen = []
    y = silu(x)
    y.register_hook(lambda g: seen.append(g.clone()))
    y.sum().backward()
    assert len(seen) == 1


def test_checkpoint_and_a_gradient_that_is_not_needed(door):
    silu = warm(formula("x * sigmoid(x)"))
    x, w = torch.randn(7, requires_grad=True), torch.randn(7, requires_grad=True)
    y = checkpoint(lambda t: silu(t * 2), x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x), torch.autograd.grad(silu(x * 2).sum(), x))
    (alone,) = torch.autograd.grad((silu(x) * w).sum(), w)
    torch.testing.assert_close(alone, silu(x).detach())


def test_an_error_in_the_general_gradient_reaches_the_caller(door):
    module = front.module()
    assert module is not None

    def fails(operands, grad, wanted):
        raise ValueError("from the general way")

    silu = warm(formula("x * sigmoid(x)"))
    library = silu.op.kernels.library(torch.float32).flat()
    made = front.make((), fails)
    front.add(made, torch.float32, library.forward, library.backward)
    x = torch.randn(3, requires_grad=True)
    with pytest.raises(ValueError, match="from the general way"):
        torch.autograd.grad(made(x).sum(), x, create_graph=True)


def test_compiled_models_and_modules_with_parameters(door, fresh_dynamo):
    leaky = formula("where(x > 0, x, slope * x)", slope=0.25)
    module = ActivationModule(leaky, slope=0.1)
    x = torch.randn(9, requires_grad=True)
    for _ in range(3):
        y = module(x)
    torch.testing.assert_close(y, torch.nn.functional.leaky_relu(x, 0.1))
    silu = warm(formula("x * sigmoid(x)"))
    compiled = torch.compile(silu, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), torch.nn.functional.silu(x))


def test_a_parameter_of_minus_zero_is_not_taken_for_zero(door):
    flat = warm(formula("where(x > 0, x, low)", low=0.0))
    x = torch.full((3,), -1.0)
    assert torch.equal(bits(flat(x, low=-0.0)), bits(torch.full((3,), -0.0)))
    assert torch.equal(bits(flat(x)), bits(torch.zeros(3)))


def test_an_activation_that_nobody_holds_is_freed(door):
    assert_freed_when_nobody_holds_it(lambda: warm(formula("x * sigmoid(x)")), torch.randn(3, requires_grad=True))


def test_a_missing_or_broken_compiler_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIUM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(KernelError, match="no C\\+\\+ compiler: looked for no-such-compiler on PATH"):
        front.build()
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(KernelError, match="does not compile against torch"):
        front.build()


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("ACTIUM_FRONT", "0")
    front.module.cache_clear()
    assert front.module() is None
    assert front.status() == "Python (ACTIUM_FRONT=0)"
    front.module.cache_clear()


@pytest.fixture
def unusable(tmp_path, monkeypatch):
    """A whole library in the cache that no machine can load, as one of another architecture."""
    monkeypatch.setenv("ACTIUM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ACTIUM_FRONT", raising=False)
    folder = cache.directory()
    with cache.workspace(folder) as workspace:
        built = workspace / "front.so"
        built.write_bytes(b"\x7fELF of another machine")
        found = cache.publish(folder, front._key(), built)
    front.module.cache_clear()
    yield found
    front.module.cache_clear()


def test_a_library_that_cannot_be_loaded_is_said_once_and_not_used(unusable):
    silu, x = formula("x * sigmoid(x)"), torch.randn(5, requires_grad=True)
    with pytest.warns(ActiumWarning, match="without its compiled front door, which cannot be loaded") as said:
        results = [silu(x) for _ in range(3)]
    torch.testing.assert_close(results, [torch.nn.functional.silu(x)] * 3)
    assert len([w for w in said if "front door" in str(w.message)]) == 1
    assert front.memory() is None
    assert front.status() == "Python; `actium build` compiles it"


def test_building_replaces_a_library_that_cannot_be_loaded(unusable, monkeypatch):
    def compiled(workspace):
        (workspace / "front.so").write_bytes(b"new")
        return workspace / "front.so"

    monkeypatch.setattr(front, "_compile", compiled)
    assert front.build() == unusable
    assert unusable.read_bytes() == b"new"
    monkeypatch.setattr(front, "_load", lambda path: front)
    monkeypatch.setattr(front, "_compile", lambda workspace: pytest.fail("one that loads is not built again"))
    assert front.build() == unusable


@pytest.mark.parametrize(
    "change",
    [
        ("actium.kernels.front.os.uname", lambda: types.SimpleNamespace(machine="another")),
        ("actium.kernels.front.os.confstr", lambda name: "another libc 1.0"),
        ("actium.kernels.front.sys.version", "another Python"),
        ("torch.__version__", "another torch"),
    ],
    ids=lambda c: c[0],
)
def test_another_platform_has_another_library(change, monkeypatch):
    before = front._key()
    monkeypatch.setenv("CXX", "another compiler, which a process that only uses it need not have")
    assert front._key() == before
    monkeypatch.setattr(*change)
    assert front._key() != before
