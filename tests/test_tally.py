"""The yearly table and its sentence."""

from __future__ import annotations

import pytest

from tipnlp.cases import LABELS, REVIEW
from tipnlp.errors import CorpusError
from tipnlp.tally import tally_records

F, S, N = LABELS


def test_the_sentence_of_the_yearly_report() -> None:
    records = [{"id": str(i), "date": "2020-05-01", "decision": d} for i, d in enumerate([F] * 4 + [S] + [N] * 6)]
    (tally,) = tally_records(records)
    assert tally.total == 11
    assert tally.sentence == (
        "Authorities opened 11 investigations in 2020: 4 forced labour, 1 sex trafficking"
        " and 6 found not to involve trafficking."
    )


def test_years_are_sorted_and_review_is_counted() -> None:
    records = [{"date": "2021", "decision": REVIEW}, {"date": 2019, "label": F}, {"decision": N, "label": F}]
    first, second, third = tally_records(records)
    assert [t.year for t in (first, second, third)] == ["2019", "2021", "undated"]
    assert second.counts[REVIEW] == 1
    assert third.counts[N] == 1
    assert second.sentence.endswith("and 1 still to be reviewed by a person.")
    assert "1 investigation in 2019" in first.sentence


def test_default_year_serves_records_without_a_date() -> None:
    (tally,) = tally_records([{"decision": N}, {"date": "2020", "decision": N}], default_year="2020")
    assert (tally.year, tally.total) == ("2020", 2)


def test_record_without_a_label_is_named() -> None:
    with pytest.raises(CorpusError, match=r"record 1 \(case x\)"):
        tally_records([{"id": "x"}])
