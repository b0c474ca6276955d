"""Calibration and precision against coverage, by hand and against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from tipnlp.confidence import measure_confidence
from tipnlp.statistics import Proportion

# The likeliest label is right in the first, second and fourth case.
ROWS = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.3, 0.1], [0.15, 0.25, 0.6], [0.4, 0.35, 0.25]])
GOLD = np.array([0, 1, 2, 2, 1])


def draw_cases(seed: int, n: int = 400) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet([0.5, 0.5, 0.5], size=n)
    return rows, np.array([rng.choice(3, p=row) for row in rows])


def test_brier_score_by_hand() -> None:
    by_case = [0.01 + 0.01, 0.04 + 0.04, 0.36 + 0.09 + 0.81, 0.0225 + 0.0625 + 0.16, 0.16 + 0.4225 + 0.0625]
    assert measure_confidence(ROWS, GOLD).brier == pytest.approx(sum(by_case) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_brier_score_is_that_of_scikit_learn(seed: int) -> None:
    rows, gold = draw_cases(seed)
    expected = brier_score_loss(gold, rows, labels=[0, 1, 2], scale_by_half=False)
    assert measure_confidence(rows, gold).brier == pytest.approx(expected)


def test_calibration_by_hand() -> None:
    found = measure_confidence(ROWS, GOLD)
    bins = [(b.low, b.high, b.right) for b in found.bins]
    assert bins == [
        (0.4, 0.5, Proportion(0, 1)),
        (0.6, 0.7, Proportion(1, 2)),
        (0.8, 0.9, Proportion(1, 1)),
        (0.9, 1.0, Proportion(1, 1)),
    ]
    assert [b.probability for b in found.bins] == pytest.approx([0.4, 0.6, 0.8, 0.9])
    assert found.calibration_error == pytest.approx((0.4 + 2 * 0.1 + 0.2 + 0.1) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_bins_are_those_of_scikit_learn(seed: int) -> None:
    rows, gold = draw_cases(seed)
    right, probability = calibration_curve(rows.argmax(axis=1) == gold, rows.max(axis=1), n_bins=10)
    found = measure_confidence(rows, gold).bins
    assert [b.right.value for b in found] == pytest.approx(right.tolist())
    assert [b.probability for b in found] == pytest.approx(probability.tolist())


def test_certainty_falls_into_the_last_bin() -> None:
    found = measure_confidence(np.array([[1.0, 0.0, 0.0], [0.95, 0.05, 0.0]]), np.array([0, 0]))
    (last,) = found.bins
    assert (last.low, last.high, last.right.n) == (0.9, 1.0, 2)
    assert found.calibration_error == pytest.approx(0.025)


def test_risk_and_coverage_by_hand() -> None:
    # Surest first: right, right, then 0.6 wrong and 0.6 right, then wrong.
    found = measure_confidence(ROWS, GOLD)
    assert found.risk_area == pytest.approx((0 + 0 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    points = [(p.threshold, p.coverage, p.precision) for p in found.points]
    assert points == [
        (0.4, Proportion(5, 5), Proportion(3, 5)),
        (0.6, Proportion(4, 5), Proportion(3, 4)),
        (0.6, Proportion(3, 5), Proportion(2, 3)),
        (0.8, Proportion(2, 5), Proportion(2, 2)),
        (0.9, Proportion(1, 5), Proportion(1, 1)),
    ]


def test_coverage_goes_down_in_tenths() -> None:
    rows, gold = draw_cases(0, n=200)
    points = measure_confidence(rows, gold).points
    assert [p.coverage.hits for p in points] == list(range(200, 0, -20))
    assert [p.threshold for p in points] == sorted(p.threshold for p in points)
    best, right = rows.max(axis=1), rows.argmax(axis=1) == gold
    for point in points:
        decided = best >= point.threshold
        assert (point.precision.hits, point.precision.n) == (right[decided].sum(), decided.sum())


def test_one_case_is_one_point() -> None:
    found = measure_confidence(np.array([[0.5, 0.3, 0.2]]), np.array([1]))
    assert [p.precision for p in found.points] == [Proportion(0, 1)]
    assert (found.risk_area, found.calibration_error) == (1.0, 0.5)


def test_certain_and_right_is_perfect_certain_and_wrong_the_worst() -> None:
    rows = np.eye(3)
    right, wrong = measure_confidence(rows, np.array([0, 1, 2])), measure_confidence(rows, np.array([1, 2, 0]))
    assert (right.brier, right.calibration_error, right.risk_area) == (0, 0, 0)
    assert (wrong.brier, wrong.calibration_error, wrong.risk_area) == (2, 1, 1)


def test_honest_probabilities_are_calibrated_and_sharpened_ones_are_not() -> None:
    rows, gold = draw_cases(1, n=4000)
    sharp = rows**4 / (rows**4).sum(axis=1, keepdims=True)
    honest, overconfident = measure_confidence(rows, gold), measure_confidence(sharp, gold)
    assert honest.calibration_error < 0.03
    assert overconfident.calibration_error > 0.1
    assert honest.brier < overconfident.brier


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_figures_stay_within_their_bounds(seed: int, n: int) -> None:
    rows, gold = draw_cases(seed, n)
    found = measure_confidence(rows, gold)
    assert 0 <= found.brier <= 2
    assert 0 <= found.calibration_error <= 1
    assert 0 <= found.risk_area <= 1
    assert sum(b.right.n for b in found.bins) == n
    assert all(b.low - 1e-9 <= b.probability <= b.high + 1e-9 for b in found.bins)
    assert found.points[0].coverage == Proportion(n, n)
    assert found.points[0].precision.hits == sum(b.right.hits for b in found.bins)


def test_dict_is_plain_json() -> None:
    found = json.loads(json.dumps(measure_confidence(ROWS, GOLD).to_dict()))
    assert found["calibration_error"] == pytest.approx(0.18)
    assert found["coverage"][1]["precision"]["hits"] == 3
    assert found["calibration"][0] | {"interval": None} == {
        "low": 0.4,
        "high": 0.5,
        "probability": 0.4,
        "value": 0.0,
        "interval": None,
        "hits": 0,
        "n": 1,
    }
