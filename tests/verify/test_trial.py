"""A trial moves parameters, takes derivatives, and leaves the module where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parameter_mutants import LearnableClipping
from sound_modules import PerChannel, Temperature, WideSwish
from torch import Tensor, nn

from actium.verify.subject import Runner, Subject, SubjectError
from actium.verify.trial import MOST, NARROW, WIDE, Trial, points

ONE = torch.ones(1, dtype=torch.float64)


def on_trial(module: nn.Module, elementwise: bool = True, dtype: torch.dtype = torch.float64) -> Trial:
    runner = Runner(Subject("module", module, module=module))
    assert runner.find_layout() is None
    return Trial(runner, elementwise, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_format_has_every_point(dtype: torch.dtype):
    x = torch.from_numpy(points())
    assert torch.equal(x.to(dtype).double(), x)
    assert (x.diff() > 0).all()


def test_slopes_are_the_derivative_where_the_function_is_smooth():
    trial = on_trial(LearnableClipping(0.7))
    u = trial.x / float(trial.parameters[0].tensor.detach())
    with np.errstate(over="ignore"):
        exact = np.tanh(u) - u / np.cosh(u) ** 2
    slopes = trial.slopes(trial.parameters[0], ONE)[:, 0]
    known = ~np.isnan(slopes)
    assert known.sum() > 80
    np.testing.assert_allclose(slopes[known], exact[known], rtol=0, atol=1e-8)


def test_a_kink_has_no_slope():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.full((1,), 13 / 32))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x + self.shift)

    trial = on_trial(Shifted())
    slopes = trial.slopes(trial.parameters[0], ONE)[:, 0]
    assert list(trial.x[np.isnan(slopes)]) == [-13 / 32]


def test_gradients_agree_with_slopes_by_channel():
    trial = on_trial(PerChannel(4))
    (p,) = trial.parameters
    gradient = trial.gradients[p]
    assert gradient is not None
    assert gradient.shape == (len(trial.x), 4)
    for channel, along in enumerate(torch.eye(4, dtype=torch.float64)):
        slopes = trial.slopes(p, along)[trial.inner]
        weighed = trial.cotangents[trial.inner] * slopes
        assert not slopes[:, [c for c in range(4) if c != channel]].any()
        np.testing.assert_allclose(gradient[trial.inner, channel], weighed.sum(axis=1), rtol=1e-8, atol=1e-9)


def test_moving_a_parameter_does_not_last():
    trial = on_trial(WideSwish())
    before = trial.at_rest.copy()
    moved = trial.outputs_with_all(trial.parameters[0], 0.0)
    np.testing.assert_array_equal(moved[:, 0], trial.x / 2)
    np.testing.assert_array_equal(trial.outputs(), before)


def test_a_module_that_is_put_into_float32_is_narrow():
    assert on_trial(WideSwish()).precision is WIDE
    assert on_trial(WideSwish(), dtype=torch.float32).precision is NARROW
    # With numbers of 8 bits a straight line does not round, whatever it computes in.
    assert on_trial(nn.PReLU()).precision is WIDE


def test_what_mixes_elements_is_tried_on_vectors():
    trial = on_trial(Temperature(), elementwise=False)
    np.testing.assert_allclose(trial.at_rest.sum(axis=1), 1.0)
    assert trial.at_rest.shape[1] > 1


def test_only_the_first_parameters_are_on_trial():
    trial = on_trial(nn.Sequential(*[nn.PReLU() for _ in range(MOST + 2)]))
    assert len(trial.parameters) == MOST
    assert trial.left_out == [f"{MOST}.weight", f"{MOST + 1}.weight"]


def test_there_is_no_trial_of_a_function():
    runner = Runner(Subject("tanh", torch.tanh))
    with pytest.raises(SubjectError, match="not a module"):
        Trial(runner, True, torch.float64)
