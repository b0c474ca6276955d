"""Thresholds against brute force with scipy's exact intervals; reasons before thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from tipnlp.cases import LABELS, REVIEW
from tipnlp.decision import (
    DEFAULT_THRESHOLDS,
    LOW_CONFIDENCE,
    NO_THRESHOLD,
    Decision,
    decide_cases,
)
from tipnlp.promise import Promise, choose_thresholds
from tipnlp.statistics import Proportion, bound_below

F, S, N = LABELS


def find_bound(hits: int, n: int) -> float:
    """The lower end of the one-sided 95 % interval of Clopper and Pearson, from scipy."""
    return float(binomtest(hits, n, alternative="greater").proportion_ci(0.95, "exact").low)


def call_forced(sure: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of cases that are all called forced labour."""
    rest = (1 - sure) / 2
    return np.stack([sure, rest, rest], axis=1)


def choose_forced(sure: list[float], right: list[bool], min_precision: float) -> Promise:
    gold = np.where(right, 0, 2).astype(np.int64)
    return choose_thresholds(call_forced(np.array(sure)), gold, min_precision)[0]


def search_threshold(sure: list[float], right: list[bool], min_precision: float) -> tuple[float | None, int, int]:
    """Try every probability as threshold; return the one that decides most, with hits and size."""
    best: tuple[float | None, int, int] = (None, 0, 0)
    for threshold in sorted(set(sure), reverse=True):
        decided = [r for p, r in zip(sure, right, strict=True) if p >= threshold]
        if find_bound(sum(decided), len(decided)) >= min_precision:
            best = (threshold, sum(decided), len(decided))
    return best


# Few distinct probabilities, so that ties are common.
SURE = st.integers(0, 12).map(lambda n: 0.4 + n / 20)
CALLED = st.lists(st.tuples(SURE, st.booleans() | st.just(True)), min_size=1, max_size=60)


@settings(deadline=None)
@given(called=CALLED, min_precision=st.sampled_from([0.3, 0.5, 0.7, 0.8, 0.9]))
def test_threshold_is_the_one_of_brute_force(called: list[tuple[float, bool]], min_precision: float) -> None:
    sure, right = [p for p, _ in called], [r for _, r in called]
    found = choose_forced(sure, right, min_precision)
    threshold, hits, size = search_threshold(sure, right, min_precision)
    assert found.called == len(called)
    assert found.threshold == threshold
    if threshold is not None:
        assert (found.decided, found.needed) == (Proportion(hits, size), size)
    else:
        # What it came nearest with.
        sizes = {p: [r for q, r in called if q >= p] for p in sure}
        nearest = max(find_bound(sum(decided), len(decided)) for decided in sizes.values())
        assert find_bound(found.decided.hits, found.decided.n) == pytest.approx(nearest)
        assert nearest < min_precision


@pytest.mark.parametrize("seed", range(3))
def test_each_label_has_a_threshold_of_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], size=600)
    gold = np.array([rng.choice(3, p=p) for p in probabilities])
    best = probabilities.argmax(axis=1)
    for i, promise in enumerate(choose_thresholds(probabilities, gold, 0.6)):
        mine = best == i
        threshold, hits, size = search_threshold(probabilities[mine, i].tolist(), (gold[mine] == i).tolist(), 0.6)
        assert (promise.label, promise.called) == (LABELS[i], mine.sum())
        assert threshold is not None
        assert (promise.threshold, promise.decided) == (threshold, Proportion(hits, size))
        decided = decide_cases(probabilities, {**dict.fromkeys(LABELS), promise.label: promise.threshold})
        assert sum(d.decision == promise.label for d in decided) == size


def test_cases_of_one_probability_are_decided_together() -> None:
    # The first 30 alone would keep the promise, but not with the ten wrong ones of the same probability.
    together = choose_forced([0.9] * 40, [True] * 30 + [False] * 10, 0.85)
    assert together.threshold is None
    assert together.decided == Proportion(30, 40)
    apart = choose_forced([0.9] * 30 + [0.8] * 10, [True] * 30 + [False] * 10, 0.85)
    assert apart.threshold == 0.9
    assert apart.decided == Proportion(30, 30)


def count_by_hand(hits: int, n: int, least: float, limit: int) -> int | None:
    return next((size for size in range(1, limit) if find_bound(hits * size // n, size) >= least), None)


@pytest.mark.parametrize(
    ("hits", "n", "min_precision"),
    [(7, 7, 0.8), (7, 7, 0.95), (9, 10, 0.7), (10, 11, 0.75), (19, 20, 0.88), (1, 1, 0.9)],
)
def test_needed_is_the_number_of_brute_force(hits: int, n: int, min_precision: float) -> None:
    found = choose_forced([0.9] * n, [True] * hits + [False] * (n - hits), min_precision)
    assert (found.threshold, found.decided) == (None, Proportion(hits, n))
    assert found.needed == count_by_hand(hits, n, min_precision, 150)


@pytest.mark.parametrize(("hits", "n", "min_precision"), [(9, 11, 0.75), (13, 17, 0.7), (20, 22, 0.85), (3, 4, 0.7)])
def test_large_needed_is_enough_and_near_the_least(hits: int, n: int, min_precision: float) -> None:
    found = choose_forced([0.9] * n, [True] * hits + [False] * (n - hits), min_precision)
    least = count_by_hand(hits, n, min_precision, 1000)
    assert found.needed is not None
    assert least is not None
    assert least <= found.needed <= 1.1 * least
    assert find_bound(hits * found.needed // n, found.needed) >= min_precision


def test_no_number_is_enough_where_the_share_itself_is_too_small() -> None:
    assert choose_forced([0.9] * 10, [True] * 8 + [False] * 2, 0.8).needed is None
    assert choose_forced([0.9] * 10, [False] * 10, 0.5) == Promise(F, None, Proportion(0, 10), 10, None)
    assert choose_forced([0.9] * 10, [True] * 10, 1.0).needed is None


def test_label_that_is_never_called_has_no_threshold() -> None:
    promises = choose_thresholds(call_forced(np.full(100, 0.9)), np.zeros(100, dtype=np.int64), 0.9)
    assert [p.threshold for p in promises] == [0.9, None, None]
    assert promises[1] == Promise(S, None, Proportion(0, 0), 0, None)


def test_bound_is_the_exact_interval_of_scipy() -> None:
    pairs = [(hits, n) for n in (1, 2, 7, 40) for hits in range(n + 1)]
    hits, n = (np.array(column) for column in zip(*pairs, strict=True))
    assert np.allclose(bound_below(hits, n, 0.95), [find_bound(*pair) for pair in pairs])


def test_decided_from_the_threshold_on() -> None:
    rows = np.array([[0.6, 0.3, 0.1], [0.59, 0.31, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]])
    assert decide_cases(rows, {F: 0.6, S: None, N: 0.0}) == [
        Decision(F, F, ""),
        Decision(F, REVIEW, LOW_CONFIDENCE),
        Decision(S, REVIEW, NO_THRESHOLD),
        Decision(N, N, ""),
    ]


def test_without_a_promise_a_label_must_be_likelier_than_all_others() -> None:
    decided = decide_cases(np.array([[0.5, 0.3, 0.2], [0.49, 0.3, 0.21]]))
    assert [d.decision for d in decided] == [F, REVIEW]
    assert set(DEFAULT_THRESHOLDS.values()) == {0.5}


def test_reason_wins_over_every_threshold() -> None:
    rows = np.array([[1.0, 0.0, 0.0], [0.4, 0.3, 0.3], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    decided = decide_cases(rows, {F: 0.5, S: None, N: 0.5}, ["odd", "odd", "odd", ""])
    assert [(d.label, d.decision, d.reason) for d in decided] == [
        (F, REVIEW, "odd"),
        (F, REVIEW, "odd"),
        (S, REVIEW, "odd"),
        (N, N, ""),
    ]


def test_no_cases_no_decisions() -> None:
    assert decide_cases(np.zeros((0, 3))) == []
