"""Intervals against hand computation, F1 against scikit-learn."""

from __future__ import annotations

from math import isclose, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from tipnlp.statistics import Proportion, average_f1, count_confusion, find_percentiles, resample_confusions, score_f1

PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


def wilson(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The textbook formula."""
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@pytest.mark.parametrize(("hits", "n"), [(10, 11), (1, 1), (0, 7), (37, 40), (50, 100)])
def test_wilson_by_hand(hits: int, n: int) -> None:
    interval = Proportion(hits, n).interval
    assert interval is not None
    low, high = wilson(hits, n)
    assert isclose(interval.low, max(low, 0), abs_tol=1e-9)
    assert isclose(interval.high, min(high, 1), abs_tol=1e-9)


def test_proportion_in_words() -> None:
    assert str(Proportion(10, 11)) == "0.91 [0.62, 0.98] n=11"
    assert str(Proportion(0, 0)) == "none"
    assert Proportion(10, 11).is_vague
    assert not Proportion(900, 1000).is_vague


@given(PAIRS)
def test_f1_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    gold, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    confusion = count_confusion(gold, predicted, 3)
    assert (confusion == confusion_matrix(gold, predicted, labels=[0, 1, 2])).all()
    assert isclose(average_f1(confusion), f1_score(gold, predicted, average="macro"))
    present = sorted(set(gold) | set(predicted))
    expected = f1_score(gold, predicted, average=None, labels=present, zero_division=0.0)
    assert np.allclose(score_f1(confusion)[present], expected)


def test_bootstrap_draws_whole_groups() -> None:
    gold = np.array([0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 0])
    together = resample_confusions(gold, predicted, np.array([0, 0, 1, 1]), 3)
    assert set((together[:, 0, 0] % 2).tolist()) == {0}
    assert (together.sum(axis=(1, 2)) == 4).all()
    alone = resample_confusions(gold, predicted, np.arange(4), 3)
    assert set((alone[:, 0, 0] % 2).tolist()) == {0, 1}


def test_bootstrap_interval_is_repeatable_and_covers_the_value() -> None:
    rng = np.random.default_rng(3)
    gold = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.8, gold, rng.integers(0, 3, 200))
    first, second = (
        find_percentiles(average_f1(resample_confusions(gold, predicted, np.arange(200), 3))) for _ in range(2)
    )
    assert first == second
    assert first.low < average_f1(count_confusion(gold, predicted, 3)) < first.high
    assert 0.05 < first.high - first.low < 0.2
