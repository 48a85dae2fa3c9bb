"""Names of one's own, here, in transformers and in timm; and what is saved can be loaded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import actium
from actium.catalogue import ENTRIES
from actium.errors import ParameterError
from actium.models import MLP, act_layer
from actium.models.making import REGISTERED

GATE = actium.formula("x * tanh(softplus(2 * x))", name="gate2")


@pytest.fixture(autouse=True)
def clean_names():
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


def test_a_registered_name_works_wherever_names_do():
    actium.register("gate2", GATE)
    x = torch.randn(7)
    assert torch.equal(MLP([4, 4, 4], "gate2").layers[1](x), GATE(x))
    assert actium.gain("gate2") == actium.gain(GATE)
    model = nn.Sequential(nn.ReLU())
    actium.swap(model, nn.ReLU, "gate2")
    assert torch.equal(model(x), GATE(x))


@pytest.mark.parametrize("name", ["mish", "Mish", "well_documented", "two words", "", 3])
def test_a_name_that_is_taken_or_none_is_refused(name):
    with pytest.raises(ParameterError):
        actium.register(name, GATE)


def test_a_name_is_not_given_twice_unless_asked():
    actium.register("gate2", GATE)
    actium.register("gate2", GATE)
    with pytest.raises(ParameterError, match="replace=True"):
        actium.register("gate2", nn.Tanh)
    actium.register("gate2", nn.Tanh, replace=True)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_class_accepts_inplace_and_gives_the_same_values(name):
    cls = getattr(actium.nn, ENTRIES[name].class_name)
    x = torch.randn(3, 4, 5, 5)
    assert torch.equal(cls(inplace=True).eval()(x.clone()), cls().eval()(x))
    assert torch.equal(act_layer(name)(inplace=True).eval()(x.clone()), cls().eval()(x))


def test_a_class_for_timm_can_be_made_of_any_activation():
    made = act_layer(GATE)(inplace=True)
    assert isinstance(made, nn.Module)
    assert torch.equal(made(torch.ones(2)), GATE(torch.ones(2)))


def test_timm_builds_models_with_our_classes():
    timm = pytest.importorskip("timm", reason="needs the extra timm", exc_type=ImportError)
    for name in ("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"):
        model = timm.create_model(name, act_layer=actium.nn.Mish)
        assert any(isinstance(m, actium.nn.Mish) for m in model.modules())


def tiny(act):
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, hidden_act=act
    )
    return transformers.LlamaForCausalLM(config)


def test_a_transformers_model_is_made_trained_saved_and_loaded_by_name(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra hf")
    actium.register("gate2_learned", actium.formula("x * sigmoid(b * x)", b=actium.learnable(1.0), name="g"), hf=True)
    model = tiny("gate2_learned")
    tokens = torch.randint(32, (2, 5), generator=torch.Generator().manual_seed(0))
    loss = model(tokens, labels=tokens).loss
    loss.backward()
    act = model.model.layers[0].mlp.act_fn
    assert act.b.grad is not None
    with torch.no_grad():
        act.b.fill_(1.5)
    model.save_pretrained(tmp_path)
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    assert again.config.hidden_act == "gate2_learned"
    assert again.model.layers[0].mlp.act_fn.b.item() == 1.5
    assert torch.equal(again.eval()(tokens).logits, model.eval()(tokens).logits)


def test_names_of_transformers_are_not_overwritten_by_accident():
    table = pytest.importorskip("transformers.activations", reason="needs the extra hf").ACT2FN
    with pytest.raises(ParameterError, match="activation of transformers"):
        actium.register("quick_gelu", GATE, hf=True)
    assert "actium" not in type(table["quick_gelu"]).__module__


def test_activations_of_a_transformers_model_are_swapped_and_watched():
    model = tiny("silu")
    tokens = torch.randint(32, (2, 5))
    by_name = actium.swap(model, "model.layers.*.mlp.act_fn", "mish")
    assert len(by_name.sites) == 2
    with actium.monitor(model, every=1) as m:
        model(tokens, labels=tokens).loss.backward()
    assert list(m.latest()) == ["model.layers.0.mlp.act_fn", "model.layers.1.mlp.act_fn"]


@pytest.mark.parametrize("name", [n for n, e in ENTRIES.items() if any(p.learnable for p in e.parameters)])
def test_safetensors_and_state_dict_keep_learned_parameters(name, tmp_path):
    save = pytest.importorskip("safetensors.torch", reason="needs the extra hf")
    make = getattr(actium.nn, ENTRIES[name].class_name)
    one, two = make(), make()
    with torch.no_grad():
        for p in one.parameters():
            p.add_(0.125)
    save.save_model(one, str(tmp_path / "one.safetensors"))
    save.load_model(two, str(tmp_path / "one.safetensors"))
    x = torch.randn(9)
    assert torch.equal(one(x), two(x))
    torch.save(one.state_dict(), tmp_path / "one.pt")
    three = make()
    three.load_state_dict(torch.load(tmp_path / "one.pt", weights_only=True))
    assert torch.equal(one(x), three(x))
