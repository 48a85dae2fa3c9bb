"""Replacing activations: every place is found, nothing else changes, and it can be undone."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import actium
from actium.errors import ParameterError
from actium.models import SwapError

sys.path.insert(0, str(Path(__file__).parent))
from networks import GoogLeNetLike, GPTLike, ResNetLike

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(50, (2, 6), generator=torch.Generator().manual_seed(0))

CASES = {
    "googlenet": (GoogLeNetLike, lambda: GoogLeNetLike(actium.mish), nn.ReLU, actium.mish, IMAGES, 5),
    "resnet": (ResNetLike, lambda: ResNetLike(actium.nn.Mish), nn.ReLU, actium.mish, IMAGES, 5),
    "gpt": (GPTLike, lambda: GPTLike(actium.silu), nn.GELU, actium.silu, TOKENS, 3),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_equal_those_of_the_hand_edited_model(case):
    build, by_hand, old, new, x, count = CASES[case]
    model, wanted = build(), by_hand()
    assert list(wanted.state_dict()) == list(model.state_dict())
    wanted.load_state_dict(model.state_dict())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = actium.swap(model, old, new, sample=x)
    assert len(report.sites) == count, str(report)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    y, z = model(x), wanted(x)
    assert torch.equal(y, z)
    y.square().sum().backward()
    z.square().sum().backward()
    for (name, p), q in zip(model.named_parameters(), wanted.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name


@pytest.mark.parametrize("case", CASES)
def test_undo_gives_back_the_model(case):
    build, _, old, new, x, _ = CASES[case]
    model = build().eval()
    wanted, text = model(x), repr(model)
    with actium.swap(model, old, new, sample=x):
        assert not torch.equal(model(x), wanted)
    assert torch.equal(model(x), wanted)
    assert repr(model) == text
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_report_names_module_function_file_and_line():
    report = actium.swap(GoogLeNetLike(), nn.ReLU, "mish", sample=IMAGES)
    lines = Path(__file__).with_name("networks.py").read_text(encoding="utf-8").splitlines()
    places = {s.module: s.where for s in report.sites}
    assert set(places) == {"stem", "branches.0", "branches.1", "branches.2", ""}
    file, line = places["branches.1"].rsplit(":", 1)
    assert file.endswith("networks.py")
    assert "F.relu(x, inplace=True)" in lines[int(line) - 1]
    assert "x.relu()" in lines[int(places[""].rsplit(":", 1)[1]) - 1]


def test_calls_are_listed_when_they_first_run():
    model = GoogLeNetLike()
    report = actium.swap(model, nn.ReLU, "mish")
    assert not report.sites
    model(IMAGES)
    model(IMAGES)
    assert len(report.sites) == 5


class Everything(nn.Module):
    """Every way to call ReLU, in place and not."""

    def forward(self, x):
        x = F.relu(x - 1) + F.relu(x, True) + F.relu(input=x, inplace=False)
        x = torch.relu(x - 2) + (x - 3).relu() + torch.relu_(x - 4) + F.relu_(x - 5)
        y = x - 20
        y.relu_()
        return y


def test_every_form_of_a_call_is_replaced_and_in_place_ones_stay_in_place():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    model, f = Everything(), actium.tanh
    actium.swap(model, nn.ReLU, actium.tanh)
    a = x * 1
    b = f(a - 1)
    a = f(a)
    total = b + a + f(a)
    total = f(total - 2) + f(total - 3) + f(total - 4) + f(total - 5)
    assert torch.equal(model(x * 1), f(total - 20))
    assert torch.autograd.gradcheck(lambda t: model(t * 1), (x,))


def test_functions_outside_the_model_and_inside_new_modules_stay():
    class Halved(nn.Module):
        def forward(self, x):
            return F.relu(x) / 2

    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Everything())
    actium.swap(model, nn.ReLU, Halved, functional=True)
    x = torch.randn(4, 3)
    assert torch.equal(model[1](x), F.relu(x) / 2)
    model(x)
    assert F.relu(torch.tensor(2.0)) == 2.0
    assert torch.relu(torch.tensor(2.0)) == 2.0


def test_a_failing_forward_switches_the_replacement_off():
    model = GoogLeNetLike()
    actium.swap(model, nn.ReLU, "mish")
    with pytest.raises(RuntimeError):
        model(torch.zeros(2, 7, 8, 8))
    assert F.relu(torch.tensor(2.0)) == 2.0
    assert model(IMAGES).shape == (2, 5)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_recomputes_the_new_function(reentrant):
    class Checkpointed(GoogLeNetLike):
        def forward(self, x):
            return self.head(checkpoint(self.stem, x, use_reentrant=reentrant).mean((2, 3))[:, [0] * 12])

    model, plain = Checkpointed().eval(), GoogLeNetLike(actium.mish).eval()
    plain.load_state_dict(model.state_dict())
    actium.swap(model, nn.ReLU, "mish")
    x = IMAGES.clone().requires_grad_()
    model(x).sum().backward()
    plain.head(plain.stem(IMAGES).mean((2, 3))[:, [0] * 12]).sum().backward()
    assert torch.equal(model.stem.conv.weight.grad, plain.stem.conv.weight.grad)


@pytest.mark.parametrize(
    "make_copy", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies_of_a_model_are_replaced_too(make_copy):
    model = GoogLeNetLike().eval()
    actium.swap(model, nn.ReLU, "mish")
    wanted = model(IMAGES)
    assert torch.equal(make_copy(model)(IMAGES), wanted)


def test_a_shared_module_stays_one_module():
    act = nn.ReLU()
    model = nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act)
    report = actium.swap(model, nn.ReLU, actium.swish)
    assert model[1] is model[3]
    assert [s.module for s in report.sites] == ["1", "3"]
    assert len(list(model.parameters())) == 5


def test_parameters_that_correspond_are_kept_as_objects():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4, init=0.3)).double()
    weight = model[1].weight
    report = actium.swap(model, nn.PReLU, actium.prelu)
    assert isinstance(model[1], actium.nn.PReLU)
    assert model[1].weight is weight
    assert model(torch.randn(1, 3, 2, 2, dtype=torch.float64)).dtype is torch.float64
    report.undo()
    assert model[1].weight is weight


def test_arguments_are_kept_between_namesakes_only():
    model = nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.ELU(0.7))
    actium.swap(model, nn.LeakyReLU, "leaky_relu")
    assert (model[0].negative_slope, model[0].inplace) == (0.2, True)
    actium.swap(model, nn.ELU, "isrlu")
    assert model[1].alpha == 1.0


def test_dtype_device_mode_and_hooks_are_kept():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).to(torch.bfloat16)
    calls = []
    handle = model[1].register_forward_hook(lambda *_: calls.append(1))
    model.eval()
    actium.swap(model, nn.ReLU, "swish")
    assert model[1].beta.dtype is torch.bfloat16
    assert not model[1].training
    model(torch.zeros(1, 2, dtype=torch.bfloat16))
    handle.remove()
    model(torch.zeros(1, 2, dtype=torch.bfloat16))
    assert calls == [1]


def test_modules_can_be_chosen_by_pattern_and_predicate():
    model = ResNetLike(blocks=3)
    assert [s.module for s in actium.swap(model, "blocks.*.relu", "mish").sites] == [
        f"blocks.{k}.relu" for k in range(3)
    ]
    assert isinstance(model.relu, nn.ReLU)
    report = actium.swap(model, lambda path, m: path == "relu", nn.Tanh())
    assert str(report) == "relu: ReLU → Tanh"


def test_a_class_is_that_class_exactly():
    model = nn.Sequential(nn.Hardtanh(), nn.ReLU6())
    actium.swap(model, nn.Hardtanh, "tanh_clip", functional=False)
    assert isinstance(model[1], nn.ReLU6)


@pytest.mark.parametrize("activation", [F.relu, nn.ReLU()], ids=["function", "module"])
def test_the_fast_path_of_transformer_layers_does_not_compute_the_old_function(activation):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=activation).eval()
    x = torch.randn(2, 3, 8)
    wanted = layer(x)
    with actium.swap(layer, nn.ReLU, actium.mish), torch.no_grad():
        fast = layer(x)
        hidden = actium.mish(layer.linear1(y := layer.norm1(x + layer.self_attn(x, x, x)[0])))
        torch.testing.assert_close(fast, layer.norm2(y + layer.linear2(hidden)))
    torch.testing.assert_close(layer(x), wanted)
    assert layer.activation_relu_or_gelu == 1


def test_a_call_has_no_place_for_parameters_and_the_error_says_where():
    model = GoogLeNetLike()
    with pytest.raises(SwapError, match=r"stem calls relu at .*networks\.py:\d+: .*functional=False"):
        actium.swap(model, nn.ReLU, actium.prelu, sample=IMAGES)
    assert not any(m._forward_hooks for m in model.modules())


def test_export_raises_instead_of_computing_the_old_function():
    model = GoogLeNetLike().eval()
    actium.swap(model, nn.ReLU, "mish")
    with pytest.raises(SwapError, match="write the call as a module"):
        torch.export.export(model, (IMAGES,))


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_model_breaks_its_graph_and_computes_the_new_function():
    class Small(nn.Module):
        def forward(self, x):
            return F.relu(x + 1)

    x, model = torch.randn(4), Small()
    actium.swap(model, nn.ReLU, "mish")
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(model, backend="eager", fullgraph=True)(x)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), actium.mish(x + 1))


@pytest.mark.usefixtures("fresh_dynamo")
def test_modules_inside_a_compiled_model_are_replaced():
    model = torch.compile(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), backend="eager")
    x = torch.randn(3, 2)
    model(x)
    report = actium.swap(model, nn.ReLU, "tanh", functional=False)
    assert [s.module for s in report.sites] == ["1"]
    torch.testing.assert_close(model(x), torch.tanh(model._orig_mod[0](x)))


@pytest.mark.parametrize(
    ("model", "old", "new", "error", "says"),
    [
        (nn.ReLU(), nn.ReLU, "mish", SwapError, "the model itself"),
        (nn.Sequential(nn.ReLU()), "nothing.*", "mish", SwapError, "its activation modules are: ReLU"),
        (nn.Sequential(nn.ReLU()), nn.ReLU, torch.tanh, ParameterError, r"actium\.activation\(tanh\)"),
        (nn.Sequential(nn.ReLU()), nn.ReLU, 3, ParameterError, "is no activation"),
        (nn.Sequential(nn.ReLU()), actium.relu, "mish", ParameterError, "a class, a function"),
        (nn.Sequential(nn.ReLU()), (nn.ReLU, 3), "mish", ParameterError, "must be classes"),
        (nn.Sequential(nn.ReLU()), nn.ReLU, "mush", actium.errors.TargetError, "mish"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(model, old, new, error, says):
    text = repr(model)
    with pytest.raises(error, match=says):
        actium.swap(model, old, new, functional=False)
    assert repr(model) == text


def test_constructor_arguments_reach_every_module():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
    actium.swap(model, nn.ReLU, "tanh_clip", theta=2.0, channels=4, channel_dim=-1)
    assert model[1].theta.tolist() == pytest.approx([2.0] * 4)
    with pytest.raises(ParameterError, match="beta"):
        actium.swap(nn.Sequential(nn.ReLU()), nn.ReLU, "mish", beta=1.0)


@pytest.mark.parametrize(
    ("gate", "old", "new", "wanted"),
    [
        (lambda: actium.nn.SiLU(), actium.nn.SiLU, actium.relu, F.relu),
        (lambda: actium.nn.PReLU(), actium.nn.PReLU, "swish", F.silu),
        (lambda: actium.nn.SiLU(), "*.activation", actium.formula("x * tanh(x)"), lambda x: x * torch.tanh(x)),
    ],
)
def test_the_function_of_a_gated_unit_is_replaced(gate, old, new, wanted):
    model = nn.Sequential(nn.Linear(4, 8), actium.nn.GLU(gate()))
    x = torch.randn(3, 4)
    before = model(x)
    with actium.swap(model, old, new) as report:
        up, preactivation = model[0](x).chunk(2, 1)
        torch.testing.assert_close(model(x), up * wanted(preactivation))
        assert [s.module for s in report.sites] == ["1.activation"]
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("new", [nn.ReLU, "rrelu", actium.brelu, lambda: actium.nn.AdaptiveMixture("relu", "tanh")])
def test_what_cannot_be_the_gate_of_a_unit_is_refused_and_nothing_changes(new):
    model = nn.Sequential(actium.nn.SiLU(), actium.nn.GLU(actium.nn.SiLU()))
    text, x = repr(model), torch.randn(3, 4)
    before = model(x)
    with pytest.raises(SwapError, match=r"1\.activation: GLU: .*(no gate|a module of actium)"):
        actium.swap(model, actium.nn.SiLU, new, functional=False)
    assert repr(model) == text
    assert torch.equal(model(x), before)
