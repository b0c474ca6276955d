"""Estimated numbers against enumeration, scipy and simulations."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from tipnlp import quantification
from tipnlp.quantification import (
    SMALL,
    Estimate,
    convolve_chances,
    estimate_from_errors,
    estimate_from_probabilities,
)

CHANCE = st.floats(0, 1)

# Calls too much forced labour.
BIASED = np.array([[0.95, 0.01, 0.04], [0.15, 0.80, 0.05], [0.30, 0.05, 0.65]])


def enumerate_counts(chances: list[float]) -> list[float]:
    found = [0.0] * (len(chances) + 1)
    for draw in product((0, 1), repeat=len(chances)):
        found[sum(draw)] += prod(p if hit else 1 - p for p, hit in zip(chances, draw, strict=True))
    return found


@settings(deadline=None, max_examples=60)
@given(chances=st.lists(CHANCE, max_size=10))
def test_distribution_is_that_of_brute_force(chances: list[float]) -> None:
    assert convolve_chances(np.array(chances)).tolist() == pytest.approx(enumerate_counts(chances), abs=1e-12)


@pytest.mark.parametrize("p", [0.002, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, SMALL, SMALL + 1, 500])
def test_equal_chances_are_binomial(n: int, p: float) -> None:
    distribution = convolve_chances(np.full(n, p))
    assert np.allclose(distribution, binom.pmf(np.arange(n + 1), n, p), atol=1e-10)
    found = estimate_from_probabilities(np.full(n, p))
    assert (found.low, found.high) == (binom.ppf(0.025, n, p), binom.ppf(0.975, n, p))
    assert found.mean == pytest.approx(n * p)


@settings(deadline=None, max_examples=30)
@given(st.lists(CHANCE, min_size=150, max_size=400))
def test_long_distribution_keeps_sum_mean_and_variance(chances: list[float]) -> None:
    p = np.array(chances)
    found = convolve_chances(p)
    counts = np.arange(len(p) + 1)
    assert found.shape == counts.shape
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert found @ counts == pytest.approx(p.sum(), abs=1e-6)
    assert found @ (counts - p.sum()) ** 2 == pytest.approx((p * (1 - p)).sum(), abs=1e-4)


def test_bounds_by_hand() -> None:
    # Of two draws at 0.1 and 0.2: none 0.72, one 0.26, two 0.02.
    assert estimate_from_probabilities(np.array([0.1, 0.2])) == Estimate(pytest.approx(0.3), 0, 1)
    # None 0.03, one 0.22, two 0.75: the fortieth part lies at none, its opposite at two.
    assert estimate_from_probabilities(np.array([0.88, 0.75])) == Estimate(pytest.approx(1.63), 0, 2)
    # None 0.02, one 0.26, two 0.72: less than a fortieth for none.
    assert estimate_from_probabilities(np.array([0.9, 0.8])) == Estimate(pytest.approx(1.7), 1, 2)
    # The bound is the first count that a fortieth is reached at, not the one after it.
    assert estimate_from_probabilities(np.array([0.975])) == Estimate(pytest.approx(0.975), 0, 1)


def test_certain_cases_and_no_cases_leave_no_doubt() -> None:
    assert estimate_from_probabilities(np.array([1.0] * 7 + [0.0] * 300)) == Estimate(7.0, 7, 7)
    assert estimate_from_probabilities(np.ones(300)) == Estimate(300.0, 300, 300)
    assert estimate_from_probabilities(np.zeros(0)) == Estimate(0.0, 0, 0)
    assert str(Estimate(7.2, 5, 9)) == "5-9"


def test_interval_of_probabilities_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        p = rng.beta(0.5, 0.5, size=80)
        found = estimate_from_probabilities(p)
        covered += found.low <= (rng.random(80) < p).sum() <= found.high
    assert covered >= 185


def test_model_without_errors_needs_no_correction() -> None:
    called = [70, 0, 30]
    found = estimate_from_errors(called, np.diag([5000, 5000, 5000]))
    for count, estimate in zip(called, found, strict=True):
        assert estimate.mean == pytest.approx(count, abs=0.5)
        assert estimate.low - 1 <= count <= estimate.high + 1
        assert estimate.high - estimate.low <= 2


def test_estimates_add_up_to_the_cases_and_are_the_same_every_time() -> None:
    confusion = (200 * BIASED).astype(np.int64)
    first, second = (estimate_from_errors([60, 25, 15], confusion) for _ in range(2))
    assert first == second
    assert sum(e.mean for e in first) == pytest.approx(100)
    assert all(0 <= e.low <= e.mean <= e.high <= 100 for e in first)


def test_known_bias_is_taken_back() -> None:
    true = np.array([100, 100, 800])
    called = np.rint(true @ BIASED).astype(np.int64)
    assert called[0] > 3 * true[0]
    found = estimate_from_errors(called.tolist(), np.rint(20_000 * BIASED).astype(np.int64))
    assert [e.mean for e in found] == pytest.approx(true.tolist(), abs=40)
    for count, estimate in zip(true.tolist(), found, strict=True):
        assert estimate.low <= count <= estimate.high


def test_fewer_labelled_cases_give_wider_intervals() -> None:
    widths = [estimate_from_errors([60, 25, 15], np.rint(n * BIASED).astype(np.int64))[0] for n in (20, 200, 20_000)]
    assert widths[0].high - widths[0].low > widths[1].high - widths[1].low > widths[2].high - widths[2].low


def simulate(seed: int) -> list[bool]:
    """Draw the errors on labelled cases and on new ones from one biased model; say which intervals hold the truth."""
    rng = np.random.default_rng(seed)
    confusion = np.array([rng.multinomial(150, row) for row in BIASED])
    true = rng.multinomial(200, rng.dirichlet([2.0, 2.0, 4.0]))
    called = sum(rng.multinomial(n, row) for n, row in zip(true, BIASED, strict=True))
    estimates = estimate_from_errors(np.asarray(called).tolist(), confusion)
    return [e.low <= count <= e.high for e, count in zip(estimates, true.tolist(), strict=True)]


def test_interval_of_errors_covers_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    # Shorter chains than in use, for time; the slow test below has the whole ones.
    monkeypatch.setattr(quantification, "DRAWS", 600)
    monkeypatch.setattr(quantification, "BURN_IN", 100)
    covered = np.mean([simulate(seed) for seed in range(100)], axis=0)
    assert (covered >= 0.85).all()


@pytest.mark.slow
def test_interval_of_errors_covers_the_truth_with_whole_chains() -> None:
    covered = np.mean([simulate(seed) for seed in range(100)], axis=0)
    assert (covered >= 0.88).all()
