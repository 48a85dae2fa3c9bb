"""Swap, monitor and groups on a model that DDP has wrapped."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import actium


@pytest.fixture
def group(tmp_path):
    if not dist.is_gloo_available():
        pytest.skip("needs gloo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x):
        return torch.relu(self.b(self.act(self.a(x))))


@pytest.mark.usefixtures("group")
def test_a_wrapped_model_is_swapped_watched_and_grouped():
    net, x = Net(), torch.randn(3, 4)
    model = DistributedDataParallel(net)
    report = actium.swap(model, nn.ReLU, "tanh", sample=x)
    assert [(s.kind, s.module) for s in report.sites] == [("module", "module.act"), ("function", "module")]
    with actium.monitor(model, every=1) as watch:
        y = model(x)
        y.sum().backward()
    assert torch.equal(y, actium.tanh(net.b(actium.tanh(net.a(x)))))
    assert watch.latest()["module.act"]["grad_rms"] > 0
    assert actium.param_groups(model, 0.1)[0]["param_names"] == ["module.a.weight", "module.b.weight"]
    report.undo()
    assert torch.equal(model(x), torch.relu(net.b(torch.relu(net.a(x)))))
