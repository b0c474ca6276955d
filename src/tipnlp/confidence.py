"""What probabilities are worth: calibration, and precision against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipnlp.statistics import Proportion

BINS = 10
SHARES = tuple(n / 10 for n in range(10, 0, -1))


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Cases whose likeliest label has a probability from `low` to `high`.

    Attributes:
        probability: the mean probability of the likeliest label.
        right: of these cases, how many are of that label.
    """

    low: float
    high: float
    probability: float
    right: Proportion


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """What deciding only the surest cases gives.

    Attributes:
        threshold: the least probability of the likeliest label that is decided.
        coverage: of all cases, how many are decided.
        precision: of the decided cases, how many have the right label.
    """

    threshold: float
    coverage: Proportion
    precision: Proportion


@dataclass(frozen=True, slots=True)
class Confidence:
    """How far probabilities can be trusted.

    Attributes:
        brier: mean squared distance of the three probabilities from the truth, 0 to 2 (Brier 1950).
        calibration_error: expected calibration error: the mean distance between the probability of
            the likeliest label and how often it is right, over ten bins of equal width (Naeini et al. 2015).
        bins: those bins, empty ones left out.
        risk_area: area under the risk-coverage curve: the mean share of wrong labels over all
            coverages, 0 to 1; smaller is better (Geifman and El-Yaniv 2017).
        points: precision at a tenth, two tenths ... of the cases, the surest first.
    """

    brier: float
    calibration_error: float
    bins: tuple[CalibrationBin, ...]
    risk_area: float
    points: tuple[CoveragePoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "brier": self.brier,
            "calibration_error": self.calibration_error,
            "risk_area": self.risk_area,
            "calibration": [
                {"low": b.low, "high": b.high, "probability": b.probability, **b.right.to_dict()} for b in self.bins
            ],
            "coverage": [
                {"threshold": p.threshold, "coverage": p.coverage.to_dict(), "precision": p.precision.to_dict()}
                for p in self.points
            ],
        }


def measure_confidence(probabilities: NDArray[np.float64], gold: NDArray[np.int64]) -> Confidence:
    """Hold probabilities against the truth.

    Args:
        probabilities: shape `(n, k)`, rows sum to 1; `n` at least 1.
        gold: the right column of each row, shape `(n,)`.
    """
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(gold)), gold] = 1
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == gold
    bins = _fill_bins(best, right)
    error = sum(b.right.n * abs(b.probability - b.right.hits / b.right.n) for b in bins) / len(gold)
    order = np.argsort(-best, kind="stable")
    risks = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    return Confidence(
        brier=float(((probabilities - truth) ** 2).sum(axis=1).mean()),
        calibration_error=float(error),
        bins=bins,
        risk_area=float(risks.mean()),
        points=tuple(_measure_points(best[order], right[order], SHARES)),
    )


def _fill_bins(best: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[CalibrationBin, ...]:
    places = np.minimum((best * BINS).astype(np.int64), BINS - 1)
    return tuple(
        CalibrationBin(
            place / BINS,
            (place + 1) / BINS,
            float(best[places == place].mean()),
            Proportion(int(right[places == place].sum()), int((places == place).sum())),
        )
        for place in np.unique(places).tolist()
    )


def _measure_points(
    ranked: NDArray[np.float64], right: NDArray[np.bool_], shares: Sequence[float]
) -> list[CoveragePoint]:
    sizes = dict.fromkeys(max(1, round(share * len(ranked))) for share in shares)
    return [
        CoveragePoint(float(ranked[n - 1]), Proportion(n, len(ranked)), Proportion(int(right[:n].sum()), n))
        for n in sizes
    ]
