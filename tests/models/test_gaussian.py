"""The moments of activations of a normal variable are those of the formula, certified."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from flint import arb

from actium.catalogue import ENTRIES
from actium.models.gaussian import QuadratureError, gaussian_moments
from actium.symbolic.parse import parse

Z = np.linspace(-14.0, 14.0, 140_001)
MASS = np.exp(-Z * Z / 2) / math.sqrt(2 * math.pi) * (Z[1] - Z[0])
# float64 on a grid of 2e-4: jumps cost half a cell times the density.
TOLERANCE = 2e-4


def on_a_grid(name):
    entry = ENTRIES[name]
    x = torch.from_numpy(Z).requires_grad_()
    y = entry.activation()(x) if name != "brelu" else torch.relu(x)
    slope = torch.autograd.grad(y.sum(), x)[0].numpy()
    f = y.detach().numpy()
    parts = {"mean": f, "square": f * f, "square_z2": f * f * Z * Z, "fourth": f**4, "slope_square": slope**2}
    return {k: float((v * MASS).sum()) for k, v in parts.items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_has_certified_moments_that_a_grid_confirms(name):
    entry = ENTRIES[name]
    found = gaussian_moments(entry.as_written(), entry.defaults)
    for key, wanted in on_a_grid(name).items():
        assert float(found[key].rad()) < 1e-16 * max(1.0, abs(wanted)) * 8
        assert float(found[key].mid()) == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("text", "key", "exact"),
    [
        ("x", "fourth", lambda: arb(3)),
        ("relu(x)", "square", lambda: arb(1) / 2),
        ("relu(x)", "mean", lambda: 1 / (2 * arb.pi()).sqrt()),
        ("exp(x)", "square", lambda: arb(2).exp()),
        ("abs(x)", "mean", lambda: (2 / arb.pi()).sqrt()),
        ("x * erf(x)", "mean", lambda: 2 / (3 * arb.pi()).sqrt()),
        ("where(x > 1, 1, 0)", "mean", lambda: (1 / arb(2).sqrt()).erfc() / 2),
        ("1 / (1 + exp(-x))", "mean", lambda: arb(1) / 2),
    ],
)
def test_moments_known_in_closed_form_lie_in_the_ball(text, key, exact):
    assert bool(gaussian_moments(parse(text), {})[key].overlaps(exact()))


def test_a_kink_at_no_round_number_is_found():
    found = gaussian_moments(parse("where(x**3 > 0.3, 1, 0)"), {})["mean"]
    root = 0.3 ** (1 / 3)
    assert float(found.mid()) == pytest.approx(0.5 * math.erfc(root / math.sqrt(2)), rel=1e-12)


@pytest.mark.parametrize("text", ["floor(x)", "sin(1 / x) > 0"])
def test_what_has_too_many_pieces_is_refused(text):
    with pytest.raises(QuadratureError, match="not certified"):
        gaussian_moments(parse(text if ">" not in text else f"where({text}, 1, 0)"), {})


def test_a_function_without_moments_is_refused():
    with pytest.raises(QuadratureError, match="not certified"):
        gaussian_moments(parse("exp(x**2)"), {})
