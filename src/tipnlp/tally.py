"""The yearly table: cases by year and label, in the form of the yearly report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tipnlp.cases import LABELS, REVIEW
from tipnlp.errors import CorpusError

UNDATED = "undated"
COLUMNS = (*LABELS, REVIEW)

PHRASES = {
    "forced_labour": "{n} forced labour",
    "sex_trafficking": "{n} sex trafficking",
    "non_trafficking": "{n} found not to involve trafficking",
    "review": "{n} still to be reviewed by a person",
}


@dataclass(frozen=True, slots=True)
class YearTally:
    """The cases of one year.

    Attributes:
        year: four digits, or `undated`.
        counts: cases by decision, in the order of `COLUMNS`.
    """

    year: str
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All cases of the year."""
        return sum(self.counts.values())

    @property
    def sentence(self) -> str:
        """The sentence a yearly report would use."""
        noun = "investigation" if self.total == 1 else "investigations"
        when = "without a date" if self.year == UNDATED else f"in {self.year}"
        parts = [PHRASES[name].format(n=n) for name, n in self.counts.items() if n or name != REVIEW]
        return f"Authorities opened {self.total} {noun} {when}: {', '.join(parts[:-1])} and {parts[-1]}."


def tally_records(records: Iterable[Mapping[str, Any]], default_year: str = UNDATED) -> list[YearTally]:
    """Count predictions (by `decision`) or labelled cases (by `label`) by year and label.

    Args:
        records: records with `date`, and `decision` or `label`.
        default_year: for records without a date.

    Raises:
        CorpusError: a record has no decision or label that can be counted.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for number, record in enumerate(records, start=1):
        name = record.get("decision") or record.get("label")
        if name not in COLUMNS:
            raise CorpusError(
                f"record {number} (case {record.get('id')}): no decision or label to count,"
                f" expected one of {', '.join(COLUMNS)}"
            )
        counts[_read_year(record, default_year), name] += 1
    years = sorted({year for year, _ in counts})
    return [YearTally(year, {name: counts[year, name] for name in COLUMNS}) for year in years]


def _read_year(record: Mapping[str, Any], default: str) -> str:
    head = str(record.get("date") or "")[:4]
    return head if len(head) == 4 and head.isdigit() else default
