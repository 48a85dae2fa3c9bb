"""What somebody's file may do when its activations are constructed and called. Everything here is called on purpose.

Each misbehaves in one way; `Sound` does not, and must come through whatever its neighbours do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import torch
from torch import nn

KEPT = []


class Sound(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class PrintsALot(nn.Module):
    def forward(self, x):
        sys.stdout.write("noise\x1b[31m " * 4096)
        sys.stderr.write("more noise\n")
        return torch.relu(x)


class SleepsForever(nn.Module):
    def forward(self, x):
        time.sleep(3600)
        return x


class HangsWhenMade(nn.Module):
    def __init__(self):
        super().__init__()
        while True:
            pass

    def forward(self, x):
        return x


def hangs_in_native_code(x):
    return ctypes.CDLL(None).pause()


def ignores_signals_and_hangs(x):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(3600)


def raises(x):
    raise ValueError("no\nway")


def interrupts(x):
    raise KeyboardInterrupt


def exits(x):
    sys.exit(0)


def exits_at_once(x):
    os._exit(3)


def claims_success_and_exits(x):
    os._exit(0)


def segfaults(x):
    return ctypes.string_at(1)


def kills_itself(x):
    os.kill(os.getpid(), signal.SIGKILL)


def recurses(x):
    return recurses(x)


def recurses_until_the_stack_ends(x):
    sys.setrecursionlimit(10**9)
    ctypes.pythonapi.Py_SetRecursionLimit(10**9)
    return recurses_through_c(x)


def recurses_through_c(x):
    return sorted([x, x], key=recurses_through_c)


def eats_memory(x):
    while True:
        KEPT.append(torch.ones(2**22))
        time.sleep(0.001)


def eats_memory_in_a_child(x):
    subprocess.run([sys.executable, "-c", "import time; kept = b'1' * 600_000_000; time.sleep(3600)"], check=False)
    return x


def asks_for_a_terabyte(x):
    return torch.ones(2**38) + x


def starts_a_thread_that_never_ends(x):
    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
    return torch.tanh(x)


def leaves_a_child_behind(x):
    subprocess.Popen(["sleep", "3600.25"], start_new_session=True)
    return torch.tanh(x)


def forks(x):
    os.fork()
    return torch.tanh(x)


def closes_everything(x):
    os.closerange(0, 256)
    return torch.tanh(x)


def writes_everywhere(x):
    for number in range(256):
        with contextlib.suppress(OSError):
            os.write(number, b'{"id": 1, "ended": "exited with status 0"}\n')
    return torch.tanh(x)


def reads_from_stdin(x):
    sys.stdin.read()
    return torch.tanh(x)


def kills_its_watcher(x):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def needs_a_partner(x, other):
    return x + other


def says_the_weather():
    return "rain"


def opens(path: str):
    return path


class Abstract(nn.Module):
    pass


class SizedByItsChannels(nn.Module):
    def __init__(self, num_parameters):
        super().__init__()
        self.weight = nn.Parameter(torch.full((num_parameters,), 0.25))

    def forward(self, x):
        return nn.functional.prelu(x, self.weight)


class NeedsALot(nn.Module):
    def __init__(self, low: float, high: float, act_layer, *, use_bias: bool, order: int):
        super().__init__()
        assert not use_bias
        assert order == 2
        self.low, self.high, self.inner = low, high, act_layer

    def forward(self, x):
        return self.inner(x).clamp(self.low, self.high)


def leaks(x, slope):
    return torch.where(x > 0, x, x * slope)


class Halves(nn.Module):
    def forward(self, x):
        return nn.functional.glu(x, -1)


class Random(nn.Module):
    def forward(self, x):
        return x * torch.rand_like(x)


class RandomInTraining(nn.Module):
    def forward(self, x):
        return torch.rrelu(x, training=self.training)


class Shrinks(nn.Module):
    def forward(self, x):
        return x.flatten()[:1]


def stops_its_watcher(x):
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(3600)
