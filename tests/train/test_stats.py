"""Statistics: intervals cover, corrections keep their promise, and what is no difference is called none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from actium.train.plan import Plan
from actium.train.stats import bootstrap, holm, paired
from actium.train.summary import summarize


def test_the_interval_of_five_normal_numbers_covers_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        low, high = bootstrap(draw.normal(3.0, 1.0, 5).tolist())
        hits += low <= 3.0 <= high
    # The plain percentile interval covers 83 % here. 400 draws: two standard deviations are 2.5 %.
    assert 0.88 <= hits / 400 <= 0.98


def test_an_interval_needs_two_numbers_and_repeats_itself():
    assert all(map(math.isnan, bootstrap([1.0])))
    assert bootstrap([1.0, 2.0, 4.0]) == bootstrap([1.0, 2.0, 4.0])


def test_the_paired_test_is_the_t_test_of_the_differences():
    a, b = [0.91, 0.93, 0.95, 0.90], [0.90, 0.90, 0.93, 0.91]
    assert paired(a, b).p == pytest.approx(reference.ttest_rel(a, b).pvalue)
    assert paired(a, b).mean == pytest.approx(np.mean(a) - np.mean(b))


def test_equal_differences_have_no_spread_to_go_by():
    assert paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p == 1.0
    assert paired([1.5, 2.5, 3.5], [1.0, 2.0, 3.0]).p == 0.25
    assert math.isnan(paired([1.0], [2.0]).p)


def test_holm_is_monotone_and_leaves_out_what_is_no_test():
    assert holm([0.02, math.nan, 0.01]) == [0.02, pytest.approx(math.nan, nan_ok=True), 0.02]
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_holm_keeps_the_chance_of_a_false_finding():
    draw = np.random.default_rng(2)
    false = sum(min(holm(draw.uniform(size=6).tolist())) < 0.05 for _ in range(2000))
    assert false / 2000 < 0.065


def plan(*names: str, seeds: int = 5) -> Plan:
    return Plan("digits", "mlp", names, seeds, 1, 1, 1.0)


def cells(**metrics: list[float | None]) -> list[dict]:
    return [
        {
            "activation": name,
            "seed": seed,
            "metric": value,
            "diverged": None if value is not None else "the loss is nan",
        }
        for name, values in metrics.items()
        for seed, value in enumerate(values)
    ]


def test_no_difference_is_called_no_difference():
    found = summarize(plan("a", "b"), cells(a=[0.9, 0.91, 0.92, 0.9, 0.91], b=[0.91, 0.9, 0.92, 0.91, 0.9]))
    assert found["conclusion"] == "no difference shown by 5 seeds"
    assert found["pairs"][0]["better"] is None


def test_a_difference_is_called_one_and_its_side_depends_on_the_metric():
    numbers = {"a": [0.9, 0.91, 0.92, 0.9, 0.91], "b": [0.8, 0.82, 0.81, 0.8, 0.82]}
    assert summarize(plan("a", "b"), cells(**numbers))["conclusion"].startswith("a is better than b (p = ")
    text = Plan("charlm", "transformer", ("a", "b"), 5, 1, 1, 1.0)
    assert summarize(text, cells(**numbers))["conclusion"].startswith("b is better than a (p = ")


def test_an_activation_that_diverged_is_not_called_better():
    found = summarize(plan("a", "b"), cells(a=[0.9, 0.91, 0.92, 0.9, None], b=[0.8, 0.82, 0.81, 0.8, 0.82]))
    assert "is better" not in found["conclusion"]
    assert "a finished 4 of 5 runs" in found["conclusion"]
    assert found["activations"][0]["diverged"] == 1
    assert found["pairs"][0]["pairs"] == 4


def test_one_seed_tells_nothing():
    found = summarize(plan("a", "b", seeds=1), cells(a=[0.9], b=[0.5]))
    assert found["conclusion"] == "no difference shown: one seed tells nothing about the spread"
    assert found["activations"][0]["interval"] is None
