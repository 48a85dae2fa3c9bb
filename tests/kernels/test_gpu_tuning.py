"""Block sizes are measured where it is worth it, once, and the fastest is taken."""

from __future__ import annotations

import itertools

import torch

from actium.kernels.gpu import tuning


def test_the_tuner_takes_the_fastest_and_the_first_of_equals():
    ran, times = [], iter(itertools.cycle([4.0, 2.0, 3.0, 2.0]))
    seconds = lambda call: (call(), next(times))[1]  # noqa: E731
    assert tuning.fastest(tuning.CANDIDATES, ran.append, seconds) is tuning.CANDIDATES[1]
    assert len(ran) == len(tuning.CANDIDATES) * (1 + tuning.ROUNDS)


def test_the_tuner_measures_once_per_kernel_and_size(monkeypatch):
    measured = []
    monkeypatch.setattr(tuning, "_may_measure", lambda: True)
    monkeypatch.setattr(tuning, "_chosen", {})
    monkeypatch.setattr(tuning, "fastest", lambda *a: measured.append(a) or tuning.CANDIDATES[2])
    run = lambda launch: None  # noqa: E731
    assert tuning.choose("k", 1 << 10, run) is tuning.DEFAULT
    assert tuning.choose("k", 1 << 24, None) is tuning.DEFAULT
    assert [tuning.choose("k", n, run) for n in (1 << 24, (1 << 24) + 3)] == [tuning.CANDIDATES[2]] * 2
    assert len(measured) == 1
    tuning.choose("other", 1 << 24, run)
    assert len(measured) == 2


def test_nothing_is_measured_without_a_gpu_or_when_forbidden(monkeypatch):
    if not torch.cuda.is_available():
        assert not tuning._may_measure()
    monkeypatch.setenv("ACTIUM_TRITON_TUNE", "0")
    assert not tuning._may_measure()
