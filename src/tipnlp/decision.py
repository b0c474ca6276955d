"""From probabilities to a decision: a label, or `review` with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS, REVIEW

LOW_CONFIDENCE = "low confidence"
NO_THRESHOLD = "no threshold promises the asked precision"

# Without a promise asked for at training: the label must be likelier than all others together.
DEFAULT_THRESHOLDS: Mapping[str, float | None] = dict.fromkeys(LABELS, 0.5)


@dataclass(frozen=True, slots=True)
class Decision:
    """The most likely label, and what is decided.

    Attributes:
        label: the most likely label.
        decision: the label, or `review`.
        reason: why review; empty when decided.
    """

    label: str
    decision: str
    reason: str


def decide_cases(
    probabilities: NDArray[np.float64],
    thresholds: Mapping[str, float | None] = DEFAULT_THRESHOLDS,
    reasons: Sequence[str] | None = None,
) -> list[Decision]:
    """Decide `n` cases.

    Args:
        probabilities: shape `(n, 3)`, columns in the order of `LABELS`.
        thresholds: the least probability at which each label is decided; None: never.
        reasons: for each case why it must be reviewed whatever its probabilities; empty: it need not be.
    """
    best = probabilities.argmax(axis=1)
    given = reasons or [""] * len(best)
    return [
        _decide(LABELS[i], row[i], thresholds[LABELS[i]], reason)
        for i, row, reason in zip(best.tolist(), probabilities.tolist(), given, strict=True)
    ]


def _decide(label: str, probability: float, threshold: float | None, reason: str) -> Decision:
    if reason:
        return Decision(label, REVIEW, reason)
    if threshold is None:
        return Decision(label, REVIEW, NO_THRESHOLD)
    if probability < threshold:
        return Decision(label, REVIEW, LOW_CONFIDENCE)
    return Decision(label, label, "")
