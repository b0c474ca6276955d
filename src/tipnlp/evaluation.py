"""How good predictions are on labelled cases: every figure with its n and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS, REVIEW, Case
from tipnlp.confidence import Confidence, measure_confidence
from tipnlp.errors import CorpusError
from tipnlp.statistics import (
    Interval,
    Proportion,
    average_f1,
    count_confusion,
    find_percentiles,
    number_groups,
    resample_confusions,
    score_f1,
)


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and F1 of one label.

    Attributes:
        precision: of the cases called this label, how many were.
        recall: of the cases of this label, how many were called it.
        decided: of the cases decided as this label and not sent to review, how many were.
        f1: their harmonic mean; None where the label occurs nowhere.
        f1_interval: bootstrap by group.
    """

    label: str
    precision: Proportion
    recall: Proportion
    decided: Proportion
    f1: float | None
    f1_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions held against gold labels.

    Attributes:
        confusion: cases by gold label (row) and predicted label (column), in the order of `LABELS`.
        scores: one a label, in the order of `LABELS`.
        macro_f1: the mean of F1 over the labels that occur in gold or predictions.
        macro_f1_interval: bootstrap by group.
        decided: of all cases, how many were decided and not sent to review.
        decided_right: of the decided cases, how many had the right label.
        confidence: what the probabilities are worth; None where they are not known, and in slices.
        slices: for each column asked for, the evaluation of each of its values.
    """

    confusion: tuple[tuple[int, ...], ...]
    scores: tuple[LabelScore, ...]
    macro_f1: float
    macro_f1_interval: Interval
    decided: Proportion
    decided_right: Proportion
    confidence: Confidence | None
    slices: Mapping[str, Mapping[str, Evaluation]]

    @property
    def n(self) -> int:
        """How many cases were evaluated."""
        return sum(map(sum, self.confusion))

    @property
    def accuracy(self) -> Proportion:
        """Of all cases, how many got the right label."""
        return Proportion(sum(row[i] for i, row in enumerate(self.confusion)), self.n)

    @property
    def majority_macro_f1(self) -> float:
        """Macro-F1 of calling every case by the most frequent label: the floor to be above."""
        totals = np.array(self.confusion).sum(axis=1)
        constant = np.zeros((len(LABELS), len(LABELS)), dtype=np.int64)
        constant[:, totals.argmax()] = totals
        return float(average_f1(constant))

    def list_below(self, precision: float) -> list[LabelScore]:
        """Return the labels whose precision, where decided, has an interval that begins below `precision`."""
        return [s for s in self.scores if s.decided.interval and s.decided.interval.low < precision]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "n": self.n,
            "labels": list(LABELS),
            "macro_f1": _describe(self.macro_f1, self.macro_f1_interval),
            "accuracy": self.accuracy.to_dict(),
            "majority_macro_f1": self.majority_macro_f1,
            "decided": self.decided.to_dict(),
            "decided_right": self.decided_right.to_dict(),
            "confusion": [list(row) for row in self.confusion],
            "by_label": {
                score.label: {
                    "precision": score.precision.to_dict(),
                    "recall": score.recall.to_dict(),
                    "decided": score.decided.to_dict(),
                    "f1": _describe(score.f1, score.f1_interval),
                }
                for score in self.scores
            },
            "confidence": self.confidence.to_dict() if self.confidence else None,
            "slices": {
                column: {value: part.to_dict() for value, part in parts.items()}
                for column, parts in self.slices.items()
            },
        }


def _describe(value: float | None, interval: Interval | None) -> dict[str, Any]:
    return {"value": value, "interval": [interval.low, interval.high] if interval else None}


def evaluate_predictions(
    cases: Sequence[Case],
    labels: Sequence[str],
    decisions: Sequence[str],
    by: Sequence[str] = (),
    probabilities: NDArray[np.float64] | None = None,
) -> Evaluation:
    """Hold predictions against the labels of the cases.

    Args:
        cases: `n` labelled cases.
        labels: `n` predicted labels.
        decisions: `n` decisions: a label or `review`.
        by: columns to evaluate value by value; `year` is taken from `date`.
        probabilities: shape `(n, 3)`, columns in the order of `LABELS`, where they are known.

    Raises:
        CorpusError: there are no cases, or no case has a column that was asked for.
    """
    if not cases:
        raise CorpusError("nothing to evaluate: no labelled case could be read")
    for column in by:
        if all(case.read_column(column) == "-" for case in cases):
            raise CorpusError(
                f"no case has a value in the column {column!r}; columns: {', '.join(_list_columns(cases))}"
            )
    gold = np.array([LABELS.index(case.label or "") for case in cases])
    predicted = np.array([LABELS.index(label) for label in labels])
    decided = np.array([decision != REVIEW for decision in decisions])
    groups = number_groups([case.group for case in cases])
    slices: dict[str, dict[str, Evaluation]] = {}
    for column in by:
        values = np.array([case.read_column(column) for case in cases])
        slices[column] = {
            str(value): _evaluate(gold[part], predicted[part], decided[part], groups[part])
            for value in np.unique(values)
            for part in [values == value]
        }
    confidence = None if probabilities is None else measure_confidence(probabilities, gold)
    return replace(_evaluate(gold, predicted, decided, groups), confidence=confidence, slices=slices)


def _list_columns(cases: Sequence[Case]) -> list[str]:
    return sorted({name for case in cases for name in case.columns} | {"year"})


def _evaluate(
    gold: NDArray[np.int64],
    predicted: NDArray[np.int64],
    decided: NDArray[np.bool_],
    groups: NDArray[np.int64],
) -> Evaluation:
    size = len(LABELS)
    confusion = count_confusion(gold, predicted, size)
    sure = count_confusion(gold[decided], predicted[decided], size)
    draws = resample_confusions(gold, predicted, np.unique(groups, return_inverse=True)[1], size)
    f1, drawn_f1 = score_f1(confusion), score_f1(draws)
    scores = tuple(
        LabelScore(
            label=label,
            precision=Proportion(int(confusion[i, i]), int(confusion[:, i].sum())),
            recall=Proportion(int(confusion[i, i]), int(confusion[i].sum())),
            decided=Proportion(int(sure[i, i]), int(sure[:, i].sum())),
            f1=None if np.isnan(f1[i]) else float(f1[i]),
            f1_interval=None if np.isnan(f1[i]) else find_percentiles(drawn_f1[:, i]),
        )
        for i, label in enumerate(LABELS)
    )
    right = (gold == predicted) & decided
    return Evaluation(
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion),
        scores=scores,
        macro_f1=float(average_f1(confusion)),
        macro_f1_interval=find_percentiles(average_f1(draws)),
        decided=Proportion(int(decided.sum()), len(gold)),
        decided_right=Proportion(int(right.sum()), int(decided.sum())),
        confidence=None,
        slices={},
    )
