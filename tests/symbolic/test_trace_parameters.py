"""Parameters and buffers of a traced module: by channel, by index, and left as they were."""

import math
import warnings

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from actium.errors import TraceError
from actium.symbolic.parse import parse
from actium.symbolic.trace import trace


def text_of(target):
    return trace(target).formula.text


def refusal(target):
    with pytest.raises(TraceError) as caught:
        trace(target)
    return str(caught.value)


def module_of(forward, **tensors):
    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in tensors.items():
                if value.requires_grad:
                    setattr(self, name, nn.Parameter(value.detach()))
                else:
                    self.register_buffer(name, value)

    Made.forward = forward
    return Made()


def weights(*values):
    return torch.tensor(values, requires_grad=True)


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda s, x: s.w.unsqueeze(0).expand(5, 3) * x, "w*x"),
        (lambda s, x: s.w.reshape(1, 3, 1, 1) * x, "w*x"),
        (lambda s, x: s.w[:, None, None].expand_as(x) * x, "w*x"),
        (lambda s, x: F.softplus(s.w).to(x.dtype) * x, "softplus(w)*x"),
        (lambda s, x: x * s.w.clamp(min=0.0) + s.w.abs(), "x*clamp(w, 0) + abs(w)"),
        (lambda s, x: sum(w * x for w in s.w), "w_0*x + 0 + w_1*x + w_2*x"),
        (lambda s, x: x * s.w.sum(), "x*(w_0 + w_1 + w_2)"),
        (lambda s, x: x * s.w.mean() + s.w.max(), "x*((w_0 + w_1 + w_2)/3) + max(max(w_0, w_1), w_2)"),
        (lambda s, x: x * (s.w / s.w.sum())[1], "x*(w_1/(w_0 + w_1 + w_2))"),
        (lambda s, x: x * torch.exp(s.w.view(3, 1))[2, 0], "x*exp(w_2)"),
        (lambda s, x: x * s.w.unbind()[0] + float(len(s.w) + s.w.numel() + s.w.dim()), "x*w_0 + 7"),
        (lambda s, x: x * s.w.flip(0)[0] if s.w.shape == (4,) else x * s.w[2], "x*w_2"),
    ],
)
def test_trace_of_a_vector_of_parameters(forward, expected):
    found = trace(module_of(forward, w=weights(1.0, 2.0, 3.0)))
    assert found.formula.root is parse(expected, parameters=found.formula.parameters).root
    assert set(found.values) <= {"w", "w_0", "w_1", "w_2"}


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda s, x: torch.softmax(s.w, 0) * x, "used as a whole"),
        (lambda s, x: s.w[1:] * x, "used as a whole"),
        (lambda s, x: s.w.view(3, 1) * s.w * x, "across their channels"),
        (lambda s, x: s.w * x + s.w[0], "both by channel and by index"),
        (lambda s, x: s.w.item() * x, "data-dependent: item"),
        (lambda s, x: x if s.w[0] > 0 else -x, "data-dependent: __bool__"),
        (lambda s, x: s.w.data * x, "cuts the gradient"),
        (lambda s, x: s.w.cumsum(0)[0] * x, "cumsum"),
        (lambda s, x: s.w.add_(1.0) * x, "in-place write: add_"),
        (lambda s, x: x * F.relu(s.w, inplace=True), "in-place write"),
        (lambda s, x: s.w, "does not depend on its input"),
    ],
)
def test_trace_refuses_other_uses_of_a_vector_of_parameters(forward, says):
    assert says in refusal(module_of(forward, w=weights(1.0, 2.0, 3.0)))


def test_trace_of_buffers():
    made = module_of(lambda s, x: x * s.one + s.count, one=torch.tensor([1.5]), count=torch.tensor(2))
    assert text_of(made) == "1.5 * x + 2"


def test_trace_refuses_tensors_that_it_would_have_to_guess_about():
    loose = nn.Parameter(torch.tensor(1.0))
    assert "not a registered parameter" in refusal(lambda x: x * loose)
    assert "shape (3,)" in refusal(lambda x: x * torch.ones(3))
    assert "NaN" in refusal(module_of(lambda s, x: x * s.w, w=weights(math.nan)))
    assert text_of(module_of(lambda s, x: x * 2, w=weights(math.nan))) == "2 * x"


def test_trace_makes_names_that_a_formula_can_hold():
    made = module_of(lambda s, x: x * s.x + s.e * s.pi, x=weights(1.0), e=weights(2.0), pi=weights(3.0))
    found = trace(made)
    assert found.formula.parameters == ("x_", "e_", "pi_")
    assert parse(found.formula.text, parameters=found.formula.parameters).root is found.formula.root


def test_trace_keeps_shared_parameters_one():
    shared = nn.PReLU()
    assert trace(nn.Sequential(shared, shared)).formula.parameters == ("p_0_weight",)


def test_trace_runs_hooks_and_leaves_the_module_as_it_was():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.PReLU(3)
            self.register_buffer("seen", torch.zeros(()))
            self.log, self.last, self.calls = [1], None, 0

        def forward(self, x):
            self.seen += 1
            self.calls += 1
            self.log.append(2)
            self.last = x
            self.fresh = x
            return self.inner(x)

    module = Counting().train()
    module.register_forward_hook(lambda m, args, out: out * 2)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    identities = [id(p) for p in module.parameters()]
    assert text_of(module) == "2 * where(x <= 0, inner_weight * x, x)"
    assert "in-place write" in refusal(module_of(lambda s, x: s.w.mul_(2) * x, w=weights(1.0)))
    assert [id(p) for p in module.parameters()] == identities
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training
    assert module.inner.training
    assert (module.log, module.last, module.calls) == ([1], None, 0)
    assert not hasattr(module, "fresh")
    assert torch.equal(module(torch.ones(2, 3)), torch.full((2, 3), 2.0))


def test_trace_restores_a_module_whose_code_raises():
    def broken(self, x):
        self.w = None
        raise KeyError("gone")

    module = module_of(broken, w=weights(1.0))
    kept = module.w
    assert "KeyError: 'gone'" in refusal(module)
    assert module.w is kept


def test_trace_lets_no_warning_of_the_code_out():
    def noisy(x):
        warnings.warn("deprecated", FutureWarning, stacklevel=1)
        return x * 2

    assert text_of(noisy) == "2 * x"
