"""Thresholds that keep a precision, found on cases that no model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS
from tipnlp.statistics import CONFIDENCE, Proportion, bound_below, count_needed


@dataclass(frozen=True, slots=True)
class Promise:
    """The threshold of one label that keeps a precision, and what it was found on.

    Attributes:
        label: one of `LABELS`.
        threshold: the least probability at which the label is decided; None: never.
        decided: of the out-of-fold cases called this label at or above the threshold, how many were; where
            there is no threshold, those of the threshold that came nearest.
        called: how many out-of-fold cases were called this label in all.
        needed: how many decided cases as good as those the promise would take; None: no number would do.
    """

    label: str
    threshold: float | None
    decided: Proportion
    called: int
    needed: int | None


def choose_thresholds(
    probabilities: NDArray[np.float64], gold: NDArray[np.int64], min_precision: float
) -> list[Promise]:
    """Find for each label the threshold that decides most cases and keeps a precision.

    A threshold keeps it when the lower end of the one-sided 95 % interval of its precision
    (Clopper and Pearson 1934) is not below `min_precision`.

    Args:
        probabilities: out of fold, calibrated, shape `(n, 3)`, columns in the order of `LABELS`.
        gold: the places of the right labels in `LABELS`, shape `(n,)`.
        min_precision: between 0 and 1.
    """
    best = probabilities.argmax(axis=1)
    return [
        _choose_threshold(label, probabilities[best == i, i], gold[best == i] == i, min_precision)
        for i, label in enumerate(LABELS)
    ]


def _choose_threshold(
    label: str, probabilities: NDArray[np.float64], right: NDArray[np.bool_], min_precision: float
) -> Promise:
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.cumsum(right[order])
    sizes = np.arange(1, len(order) + 1)
    # Cases of one probability are decided together.
    last = np.append(ranked[1:] < ranked[:-1], True)[: len(ranked)]
    ranked, hits, sizes = ranked[last], hits[last], sizes[last]
    if not len(ranked):
        return Promise(label, None, Proportion(0, 0), 0, None)
    bounds = bound_below(hits, sizes, CONFIDENCE)
    kept = np.flatnonzero(bounds >= min_precision)
    place = int(kept[-1]) if len(kept) else int(bounds.argmax())
    decided = Proportion(int(hits[place]), int(sizes[place]))
    if len(kept):
        return Promise(label, float(ranked[place]), decided, len(order), decided.n)
    return Promise(label, None, decided, len(order), count_needed(decided, min_precision))
