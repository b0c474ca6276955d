"""How many cases of each label there really are, given what a model says of each.

Two answers, because two things are uncertain. If the probabilities are right, the true count is
a sum of independent yes-or-no draws (Poisson-binomial). If the model errs as it did on labelled
cases, the true count follows from its confusion matrix (Bayesian quantification).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from tipnlp.statistics import CONFIDENCE

DRAWS, BURN_IN = 4000, 500

# One seed for every estimate: the same predictions always get the same interval.
SEED = 0

# Below this many terms a convolution by hand is exact to the last digit and as fast as one by FFT.
SMALL = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated number of cases with its 95 % interval, in whole cases."""

    mean: float
    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


def estimate_from_probabilities(probabilities: NDArray[np.float64]) -> Estimate:
    """Estimate how many of `n` cases are of a label when its probabilities are right.

    Args:
        probabilities: of the label for each case, shape `(n,)`.

    Returns:
        The mean and the quantiles of the Poisson-binomial distribution of the count.
    """
    distribution = convolve_chances(probabilities)
    reached = np.cumsum(distribution)
    tail = (1 - CONFIDENCE) / 2
    # What rounding leaves below the sum of 1 must not push a bound beyond the last case.
    low, high = np.searchsorted(reached, [tail - 1e-12, 1 - tail - 1e-12])
    return Estimate(float(probabilities.sum()), int(low), min(int(high), len(probabilities)))


def convolve_chances(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution of the number of successes in `n` independent draws, shape `(n + 1,)`."""
    parts = [np.array([1.0]), *(np.array([1 - p, p]) for p in probabilities.tolist())]
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [reduce(_convolve, pair) for pair in pairs]
    return parts[0]


def _convolve(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    if min(len(first), len(second)) <= SMALL:
        return np.convolve(first, second)
    return np.asarray(np.clip(fftconvolve(first, second), 0.0, None))


def estimate_from_errors(called: Sequence[int], confusion: NDArray[np.int64]) -> list[Estimate]:
    """Estimate the true number of each label when a model errs as it did on labelled cases.

    The true labels of the cases are drawn by Gibbs sampling given how many cases got each label,
    with uniform priors on the share of the labels and on each row of the confusion matrix
    (Ziegler and Czyż, "Bayesian quantification with black-box estimators", 2024).

    Args:
        called: how many cases the model gave each label.
        confusion: labelled cases by gold label (row) and predicted label (column).
    """
    counts = np.asarray(called)
    rng = np.random.default_rng(SEED)
    shares = np.full(len(counts), 1 / len(counts))
    true = np.zeros((DRAWS, len(counts)), dtype=np.int64)
    allotted = np.zeros_like(confusion)
    for draw in range(-BURN_IN, DRAWS):
        rates = np.array([rng.dirichlet(row + 1.0) for row in confusion + allotted])
        joint = shares[:, None] * rates
        chances = joint / joint.sum(axis=0)
        allotted = np.array([rng.multinomial(n, chances[:, i]) for i, n in enumerate(counts.tolist())]).T
        shares = rng.dirichlet(allotted.sum(axis=1) + 1.0)
        if draw >= 0:
            true[draw] = allotted.sum(axis=1)
    tail = 50 * (1 - CONFIDENCE)
    bounds = np.percentile(true, [tail, 100 - tail], axis=0, method="inverted_cdf")
    return [
        Estimate(float(mean), int(low), int(high))
        for mean, low, high in zip(true.mean(axis=0), bounds[0], bounds[1], strict=True)
    ]
