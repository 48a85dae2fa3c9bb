"""Exported models compute what the model computes: torch.export, ONNX in onnxruntime, torch.compile."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import actium
from actium.models import MLP, NormActivation

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8),
        NormActivation(nn.LayerNorm(8), "mish"),
        nn.Linear(8, 8),
        actium.nn.TanhClip(2.0, channels=8, channel_dim=-1),
        MLP([8, 8, 3], actium.formula("x * tanh(exp(x))", name="tanhexp")),
    ).eval()


@pytest.fixture(scope="module")
def program():
    return torch.export.export(network(), (X,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def test_export_holds_plain_operations_and_the_same_function(program):
    model = network()
    assert all("actium" not in str(n.target) for n in program.graph.nodes)
    torch.testing.assert_close(program.module()(X[:2]), model(X[:2]))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(X), model(X))


def test_onnx_computes_the_same_in_onnxruntime(program, tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    model, path = network(), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(program, (), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: X.numpy()})
    np.testing.assert_allclose(got, model(X).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile_takes_the_whole_model_as_one_graph():
    model = network()
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(X), model(X))
