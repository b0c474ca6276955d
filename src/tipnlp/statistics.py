"""Proportions with their uncertainty, and scores of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 2000

# One seed for every bootstrap: the same cases always get the same interval.
BOOTSTRAP_SEED = 0

# An interval wider than this says too little to state the figure without a warning.
WIDE_INTERVAL = 0.3


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Proportion:
    """`hits` out of `n`."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """The share, or None where there is nothing to share."""
        return self.hits / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's score interval (Wilson 1927), from scipy."""
        if not self.n:
            return None
        found = binomtest(self.hits, self.n).proportion_ci(CONFIDENCE, method="wilson")
        return Interval(float(found.low), float(found.high))

    @property
    def is_vague(self) -> bool:
        """Whether there are too few cases to state the share without a warning."""
        return self.interval is None or self.interval.high - self.interval.low > WIDE_INTERVAL

    def to_dict(self) -> dict[str, Any]:
        """Return share, interval and counts as plain data."""
        bounds = [self.interval.low, self.interval.high] if self.interval else None
        return {"value": self.value, "interval": bounds, "hits": self.hits, "n": self.n}

    def __str__(self) -> str:
        return "none" if self.value is None else f"{self.value:.2f} {self.interval} n={self.n}"


def bound_below(hits: NDArray[np.int64], n: NDArray[np.int64], confidence: float) -> NDArray[np.float64]:
    """Return the lower ends of one-sided exact intervals of `hits` out of `n` (Clopper and Pearson 1934)."""
    bounds = betaincinv(np.maximum(hits, 1), n - hits + 1, 1 - confidence)
    return np.where(hits > 0, bounds, 0.0)


def count_needed(seen: Proportion, least: float, limit: int = 1_000_000) -> int | None:
    """Return how many cases with the share of `seen` it takes until its one-sided bound reaches `least`.

    None where the share itself is too small, or the number would be above `limit`.
    """
    if seen.value is None or seen.value <= least:
        return None
    sizes = np.unique(np.geomspace(1, limit, 2000).astype(np.int64))
    enough = np.flatnonzero(bound_below(np.floor(seen.value * sizes).astype(np.int64), sizes, CONFIDENCE) >= least)
    return int(sizes[enough[0]]) if len(enough) else None


def score_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return F1 of each class for one or many confusion matrices (`..., gold, predicted`).

    A class that occurs neither in the gold labels nor in the predictions has no F1: NaN.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    marked = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return np.where(marked > 0, 2 * hits / np.maximum(marked, 1), np.nan)


def score_precision(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the precision of each class for one or many confusion matrices; NaN for a class never predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    marked = confusion.sum(axis=-2)
    return np.where(marked > 0, hits / np.maximum(marked, 1), np.nan)


def average_f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return macro-F1: the mean over the classes that occur, as scikit-learn computes it."""
    scores = score_f1(confusion)
    counted = ~np.isnan(scores)
    total = np.where(counted, scores, 0.0).sum(axis=-1)
    return np.asarray(total / np.maximum(counted.sum(axis=-1), 1))


def count_confusion(gold: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return how often each gold class (row) was given each predicted class (column)."""
    return np.bincount(gold * classes + predicted, minlength=classes**2).reshape(classes, classes)


def number_groups(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """Number the groups of cases from 0; a case without a group is one of its own."""
    names = [f"group:{group}" if group else f"case:{i}" for i, group in enumerate(groups)]
    return np.unique(names, return_inverse=True)[1]


def resample_confusions(
    gold: NDArray[np.int64], predicted: NDArray[np.int64], groups: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Draw groups with replacement `RESAMPLES` times; return the confusion matrix of each draw.

    Whole groups are drawn, because cases about the same facts are not independent.
    """
    count = int(groups.max()) + 1
    cells = groups * classes**2 + gold * classes + predicted
    by_group = np.bincount(cells, minlength=count * classes**2).reshape(count, classes**2)
    draws = np.random.default_rng(BOOTSTRAP_SEED).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return (draws @ by_group).reshape(-1, classes, classes)


def find_percentiles(values: NDArray[np.float64]) -> Interval:
    """Return the percentile interval of bootstrap values."""
    low, high = np.nanpercentile(values, [50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE)])
    return Interval(float(low), float(high))
