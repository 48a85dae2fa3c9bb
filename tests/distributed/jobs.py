"""What two processes do together, compared with one: run by test_distributed.py in each of them."""

from __future__ import annotations

import datetime
import os
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from actium.authoring import formula
from actium.symbolic.parameters import learnable

WORLD = 2
two = formula("a * tanh(b * x) + where(x < a, 0, x - a)", name="two", a=learnable(1.5), b=learnable(0.5, min=0, max=4))
mish = formula("x * tanh(log(1 + exp(x)))", name="mish")


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 6), two.module(channels=6, channel_dim=-1), nn.Linear(6, 4), mish.module(), two.module()
    )


def data() -> torch.Tensor:
    return torch.randn(16, 8, generator=torch.Generator().manual_seed(1))


def trained(net: nn.Module, x: torch.Tensor) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def state(net: nn.Module) -> list[torch.Tensor]:
    return [p.full_tensor() if isinstance(p, DTensor) else p.detach() for p in net.state_dict().values()]


def assert_equal(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def ddp(rank: int) -> None:
    alone, shared = model(), DistributedDataParallel(model())
    trained(alone, data())
    trained(shared, data().chunk(WORLD)[rank])
    assert_equal(state(shared.module), state(alone))


def fsdp(rank: int) -> None:
    mesh = init_device_mesh("cpu", (WORLD,))
    alone, shared = model(), model()
    for layer in shared:
        if list(layer.parameters()) and all(p.dim() and p.numel() > 1 for p in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(shared, mesh=mesh)
    trained(alone, data())
    trained(shared, data().chunk(WORLD)[rank])
    assert all(isinstance(p, DTensor) for p in shared.parameters())
    assert_equal(state(shared), state(alone))


def dtensor(rank: int) -> None:
    mesh = init_device_mesh("cpu", (WORLD,))
    x, values = data()[:, :6].contiguous(), torch.linspace(0.5, 2.0, 6)
    expected_x, expected_a = x.clone().requires_grad_(), values.clone().requires_grad_()
    (two(expected_x, a=expected_a, channel_dim=1) + mish(expected_x)).sum().backward()
    for placement in (Shard(0), Shard(1), Replicate()):
        parts = distribute_tensor(x, mesh, [placement]).requires_grad_()
        a = distribute_tensor(values, mesh, [Replicate()]).requires_grad_()
        y = two(parts, a=a, channel_dim=1) + mish(parts)
        assert isinstance(y, DTensor)
        y.sum().backward()
        assert_equal([parts.grad.full_tensor(), a.grad.full_tensor()], [expected_x.grad, expected_a.grad])


def tensor_parallel(rank: int) -> None:
    """Columns, then rows: between them each process has half of the channels, and half of the learned values."""
    mesh = init_device_mesh("cpu", (WORLD,))
    alone, shared = model()[:3], model()[:3]
    activation = shared[1]
    for name, value in list(activation.named_parameters()):
        activation.register_parameter(name, nn.Parameter(distribute_tensor(value.detach(), mesh, [Shard(0)])))
    ways = {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel(input_layouts=Shard(-1))}
    parallelize_module(shared, mesh, ways)
    trained(alone, data())
    trained(shared, data())
    assert all(p.to_local().numel() < p.numel() for p in activation.parameters())
    assert_equal(state(shared), state(alone))


JOBS = {"ddp": ddp, "fsdp": fsdp, "dtensor": dtensor, "tensor parallel": tensor_parallel}


def run(rank: int, folder: str) -> None:
    """Do every job; leave a file with `ok` or the reason for each."""
    warnings.simplefilter("ignore")
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=datetime.timedelta(seconds=30))
    for name, job in JOBS.items():
        try:
            job(rank)
            verdict = "ok"
        except Exception as problem:  # reported by the test, with its type
            verdict = f"{type(problem).__name__}: {problem}"
        Path(folder, f"{name}-{rank}").write_text(verdict)
        dist.barrier()
    dist.destroy_process_group()
