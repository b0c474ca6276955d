"""The yearly table: cases by year (or another column) and label, in the form of the yearly report."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS, REVIEW
from tipnlp.errors import CorpusError, UsageError
from tipnlp.quantification import Estimate, estimate_from_errors, estimate_from_probabilities
from tipnlp.statistics import Proportion

YEAR = "year"
UNDATED = "undated"
MISSING = "-"
COLUMNS = (*LABELS, REVIEW)

PHRASES = {
    "forced_labour": "{n} forced labour",
    "sex_trafficking": "{n} sex trafficking",
    "non_trafficking": "{n} found not to involve trafficking",
    "review": "{n} still to be reviewed by a person",
}

# Stands for a sum that would give a hidden count away.
HIDDEN = "x"

# Below 3 there is nothing to hide: "fewer than 2" says 1.
LEAST_HIDDEN = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """The cases of one year, or of one value of another column.

    Attributes:
        column: what is counted by.
        value: four digits or `undated` for a year; else the value, `-` where it is missing.
        counts: cases by decision, in the order of `COLUMNS`.
        expected: by label the true number if the probabilities are right; empty where they are not known.
        corrected: by label the true number if the model errs as on labelled cases; empty where that is not known.
        below: counts smaller than this are hidden; 0: none is.
    """

    column: str
    value: str
    counts: Mapping[str, int]
    expected: Mapping[str, Estimate] = field(default_factory=dict)
    corrected: Mapping[str, Estimate] = field(default_factory=dict)
    below: int = 0

    @property
    def total(self) -> int:
        """All cases of the year."""
        return sum(self.counts.values())

    @property
    def review(self) -> Proportion:
        """Of all cases, how many were sent to review."""
        return Proportion(self.counts[REVIEW], self.total)

    @property
    def is_hidden(self) -> bool:
        """Whether a count of this row is hidden."""
        return any(0 < count < self.below for count in self.counts.values())

    @property
    def cells(self) -> dict[str, str]:
        """The counts as they are shown, and `all`, which is hidden with any of them: else it would give them away."""
        shown = {name: self._show(count) for name, count in self.counts.items()}
        return {**shown, "all": HIDDEN if self.is_hidden else str(self.total)}

    def _show(self, count: int) -> str:
        return f"<{self.below}" if 0 < count < self.below else str(count)

    @property
    def sentence(self) -> str:
        """The sentence a yearly report would use."""
        cells = {name: _read_aloud(cell) for name, cell in self.cells.items()}
        noun = "investigation" if self.total == 1 and not self.is_hidden else "investigations"
        parts = [PHRASES[name].format(n=cells[name]) for name, n in self.counts.items() if n or name != REVIEW]
        return f"Authorities opened {cells['all']} {noun} {self._when}: {', '.join(parts[:-1])} and {parts[-1]}."

    @property
    def _when(self) -> str:
        if self.column != YEAR:
            return f"with {self.column} {self.value}"
        return "without a date" if self.value == UNDATED else f"in {self.value}"

    def to_record(self) -> dict[str, Any]:
        """Return the row as plain data, counts hidden where they have to be."""
        counts: dict[str, Any] = {name: int(c) if c.isdigit() else c for name, c in self.cells.items()}
        record = {self.column: self.value, **counts, "review_share": None if self.is_hidden else self.review.value}
        if self.is_hidden:
            return record
        estimates = {"expected": self.expected, "corrected": self.corrected}
        return {
            **record,
            **{name: {k: asdict(v) for k, v in found.items()} for name, found in estimates.items() if found},
        }


def _read_aloud(cell: str) -> str:
    if cell == HIDDEN:
        return "an undisclosed number of"
    return cell.replace("<", "fewer than ")


@dataclass(frozen=True, slots=True)
class Counts:
    """Records counted by year, or by another column.

    Attributes:
        column: what is counted by.
        decisions: for each value of the column the cases by decision or label.
        called: for each value the cases with probabilities by likeliest label.
        chances: for each value the probabilities of those cases, three a case, flat.
        models: the ids of the models that made the predictions.
    """

    column: str
    decisions: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    called: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    chances: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    models: set[str] = field(default_factory=set)


def count_records(records: Iterable[Mapping[str, Any]], default_year: str = UNDATED, by: str = YEAR) -> Counts:
    """Count predictions (by `decision`) or labelled cases (by `label`), one pass over any number of them.

    Args:
        records: records with `decision` or `label`, and `date` or the column to count by.
        default_year: for records without a date.
        by: `year`, or any column.

    Raises:
        CorpusError: a record has no decision or label that can be counted.
    """
    counts = Counts(by)
    for number, record in enumerate(records, start=1):
        name = record.get("decision") or record.get("label")
        if name not in COLUMNS:
            raise CorpusError(
                f"record {number} (case {record.get('id')}): no decision or label to count,"
                f" expected one of {', '.join(COLUMNS)}"
            )
        value = _read_value(record, by, default_year)
        counts.decisions[value][name] += 1
        probabilities = read_probabilities(record)
        if probabilities and record.get("label") in LABELS:
            counts.called[value][str(record["label"])] += 1
            counts.chances[value].extend(probabilities)
            counts.models.add(str(record.get("model")))
    return counts


def tally_counts(counts: Counts, confusion: NDArray[np.int64] | None = None, below: int = 0) -> list[Tally]:
    """Return one row for each year or other value, sorted.

    Args:
        counts: what was counted.
        confusion: what the model called labelled cases: by gold label (row) and predicted label (column).
        below: counts smaller than this are hidden; 0: none is.

    Raises:
        UsageError: `below` is too small to hide anything.
    """
    if 0 < below < LEAST_HIDDEN:
        raise UsageError(f"counts below {below} cannot be hidden: one is all there is; give {LEAST_HIDDEN} or more")
    return [
        Tally(
            counts.column,
            value,
            {name: decisions[name] for name in COLUMNS},
            *_estimate(counts.chances[value], counts.called[value], confusion, decisions.total()),
            below=below,
        )
        for value, decisions in sorted(counts.decisions.items())
    ]


def tally_records(records: Iterable[Mapping[str, Any]], default_year: str = UNDATED, *, by: str = YEAR) -> list[Tally]:
    """Count predictions or labelled cases by year and label; see `count_records` and `tally_counts`."""
    return tally_counts(count_records(records, default_year, by))


def _estimate(
    chances: array[float], called: Mapping[str, int], confusion: NDArray[np.int64] | None, total: int
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return the expected and the corrected numbers, where every case of a row has probabilities."""
    table = np.array(chances, dtype=np.float64).reshape(-1, len(LABELS))
    if len(table) != total:
        return {}, {}
    # They are written with four digits: what is lost in rounding is given back.
    table /= table.sum(axis=1, keepdims=True)
    expected = {label: estimate_from_probabilities(table[:, i]) for i, label in enumerate(LABELS)}
    if confusion is None:
        return expected, {}
    corrected = estimate_from_errors([called[label] for label in LABELS], confusion)
    return expected, dict(zip(LABELS, corrected, strict=True))


def read_probabilities(record: Mapping[str, Any]) -> list[float] | None:
    """Return the three probabilities of a prediction, from JSON or from columns; None where there are none."""
    nested = record.get("probabilities")
    found = nested if isinstance(nested, Mapping) else {k: record.get(f"probabilities.{k}") for k in LABELS}
    try:
        return [float(found[label]) for label in LABELS]  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError):
        return None


def _read_value(record: Mapping[str, Any], by: str, default_year: str) -> str:
    if by != YEAR:
        value = record.get(by)
        return MISSING if value is None or value == "" else str(value)
    head = str(record.get("date") or "")[:4]
    return head if len(head) == 4 and head.isdigit() else default_year
