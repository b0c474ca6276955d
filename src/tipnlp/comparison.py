"""Two models on the same labelled cases: what differs, and whether it could be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from tipnlp.cases import LABELS, Case
from tipnlp.errors import CorpusError
from tipnlp.statistics import (
    CONFIDENCE,
    Interval,
    average_f1,
    count_confusion,
    find_percentiles,
    number_groups,
    resample_confusions,
    score_precision,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of two models and what the second has more of it.

    Attributes:
        name: of the figure.
        first, second: its values; None where a model never gives the label.
        interval: of second less first, bootstrap by group over pairs of predictions.
    """

    name: str
    first: float | None
    second: float | None
    interval: Interval | None

    @property
    def is_evident(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True, slots=True)
class Change:
    """A case that two models label differently."""

    case_id: str
    gold: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models held against each other on `n` cases.

    Attributes:
        only_first, only_second: cases that only the one model has right.
        p_value: McNemar's exact test, two-sided: how likely so uneven a split is if both are equally good.
        differences: macro-F1, then the precision of each label.
        changes: the cases with different labels, in the order of the cases.
    """

    n: int
    only_first: int
    only_second: int
    p_value: float
    differences: tuple[Difference, ...]
    changes: tuple[Change, ...]

    @property
    def is_evident(self) -> bool:
        """Whether one model is better beyond chance, by McNemar's test."""
        return self.p_value < 1 - CONFIDENCE

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "n": self.n,
            "only_first": self.only_first,
            "only_second": self.only_second,
            "p_value": self.p_value,
            "evident": self.is_evident,
            "differences": [
                {
                    "name": d.name,
                    "first": d.first,
                    "second": d.second,
                    "interval": [d.interval.low, d.interval.high] if d.interval else None,
                    "evident": d.is_evident,
                }
                for d in self.differences
            ],
            "changes": [{"id": c.case_id, "gold": c.gold, "first": c.first, "second": c.second} for c in self.changes],
        }


def compare_predictions(cases: Sequence[Case], first: Sequence[str], second: Sequence[str]) -> Comparison:
    """Compare the labels that two models give `n` labelled cases.

    McNemar's test (McNemar 1947) in its exact form asks only about the cases that one model has
    right and the other wrong. The bootstrap draws whole groups, and both models' predictions with them.

    Raises:
        CorpusError: there are no cases.
    """
    if not cases:
        raise CorpusError("nothing to compare on: no labelled case could be read")
    gold = np.array([LABELS.index(case.label or "") for case in cases])
    one, two = (np.array([LABELS.index(label) for label in labels]) for labels in (first, second))
    only_first, only_second = int(((one == gold) & (two != gold)).sum()), int(((two == gold) & (one != gold)).sum())
    split = only_first + only_second
    return Comparison(
        n=len(cases),
        only_first=only_first,
        only_second=only_second,
        p_value=float(binomtest(only_first, split).pvalue) if split else 1.0,
        differences=_find_differences(gold, one, two, number_groups([c.group for c in cases])),
        changes=tuple(
            Change(case.id, case.label or "", a, b) for case, a, b in zip(cases, first, second, strict=True) if a != b
        ),
    )


def _find_differences(
    gold: NDArray[np.int64], one: NDArray[np.int64], two: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[Difference, ...]:
    size = len(LABELS)
    confusions = [count_confusion(gold, predicted, size) for predicted in (one, two)]
    # The same draws of groups for both: one seed, one order.
    draws = [resample_confusions(gold, predicted, groups, size) for predicted in (one, two)]
    macro = Difference(
        "macro-F1",
        float(average_f1(confusions[0])),
        float(average_f1(confusions[1])),
        find_percentiles(average_f1(draws[1]) - average_f1(draws[0])),
    )
    values = [score_precision(confusion) for confusion in confusions]
    drawn = score_precision(draws[1]) - score_precision(draws[0])
    return macro, *(
        _describe_precision(label, values[0][i], values[1][i], drawn[:, i]) for i, label in enumerate(LABELS)
    )


def _describe_precision(label: str, first: float, second: float, drawn: NDArray[np.float64]) -> Difference:
    known = not (np.isnan(first) or np.isnan(second))
    return Difference(
        f"precision of {label}",
        None if np.isnan(first) else float(first),
        None if np.isnan(second) else float(second),
        find_percentiles(drawn) if known else None,
    )
