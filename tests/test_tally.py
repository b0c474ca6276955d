"""The yearly table, its sentence, its estimates, and what it hides."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Run, write_jsonl
from tipnlp.cases import LABELS, REVIEW
from tipnlp.errors import CorpusError
from tipnlp.quantification import Estimate
from tipnlp.tally import COLUMNS, Tally, count_records, read_probabilities, tally_counts, tally_records

F, S, N = LABELS
MODEL = "0123456789ab"
CONFUSION = [[90, 5, 5], [3, 90, 7], [10, 10, 80]]


def make_tally(*counts: int, below: int = 0, column: str = "year", value: str = "2020") -> Tally:
    return Tally(column, value, dict(zip(COLUMNS, counts, strict=True)), below=below)


def predict(decision: str, label: str = "", sure: float = 0.8, date: str = "2020-05-01") -> dict[str, Any]:
    """A record as `tipnlp predict` writes it."""
    label = label or decision
    rest = round((1 - sure) / 2, 4)
    probabilities = {name: sure if name == label else rest for name in LABELS}
    return {"date": date, "label": label, "decision": decision, "probabilities": probabilities, "model": MODEL}


def number_records(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": f"c{i}", **record} for i, record in enumerate(records)]


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
    assert [t.value for t in (first, second, third)] == ["2019", "2021", "undated"]
    assert {t.column for t in (first, second, third)} == {"year"}
    assert second.counts[REVIEW] == 1
    assert str(second.review).startswith("1.00")
    assert third.counts[N] == 1
    assert second.sentence.endswith("and 1 still to be reviewed by a person.")
    assert "1 investigation in 2019" in first.sentence
    assert "1 investigation without a date" in third.sentence


def test_default_year_serves_records_without_a_date() -> None:
    records = [{"decision": N}, {"date": "last year", "decision": N}, {"date": "2020", "decision": N}]
    (tally,) = tally_records(records, default_year="2020")
    assert (tally.value, tally.total) == ("2020", 3)


def test_counted_by_another_column() -> None:
    records = [
        {"country": "LU", "decision": F},
        {"country": "", "decision": F},
        {"decision": S},
        {"country": "LU", "decision": N},
        {"country": 7, "decision": N},
    ]
    missing, seven, luxembourg = tally_records(records, by="country")
    assert [(t.column, t.value, t.total) for t in (missing, seven, luxembourg)] == [
        ("country", "-", 2),
        ("country", "7", 1),
        ("country", "LU", 2),
    ]
    assert luxembourg.sentence.startswith("Authorities opened 2 investigations with country LU: 1 forced labour, ")
    assert luxembourg.to_record() == {
        "country": "LU", F: 1, S: 0, N: 1, REVIEW: 0, "all": 2, "review_share": 0.0
    }  # fmt: skip


def test_record_without_a_label_is_named() -> None:
    with pytest.raises(CorpusError, match=r"record 1 \(case x\)"):
        tally_records([{"id": "x"}])
    with pytest.raises(CorpusError, match=r"record 2 \(case y\): no decision or label"):
        tally_records([{"id": "x", "label": F}, {"id": "y", "decision": "maybe"}])


def test_counting_remembers_probabilities_and_models() -> None:
    counts = count_records(number_records([predict(F), predict(REVIEW, S), {"date": "2021", "label": N}]))
    assert dict(counts.decisions["2020"]) == {F: 1, REVIEW: 1}
    assert dict(counts.called["2020"]) == {F: 1, S: 1}
    assert list(counts.chances["2020"]) == pytest.approx([0.8, 0.1, 0.1, 0.1, 0.8, 0.1])
    assert counts.models == {MODEL}
    assert not counts.called["2021"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"probabilities": {F: 0.5, S: 0.3, N: 0.2}}, [0.5, 0.3, 0.2]),
        ({f"probabilities.{label}": str(p) for label, p in zip(LABELS, (0.5, 0.3, 0.2), strict=True)}, [0.5, 0.3, 0.2]),
        ({"probabilities": {F: 0.5, S: 0.3}}, None),
        ({f"probabilities.{label}": "" for label in LABELS}, None),
        ({"probabilities": "high"}, None),
        ({}, None),
    ],
)
def test_probabilities_are_read_from_json_and_from_columns(
    record: dict[str, Any], expected: list[float] | None
) -> None:
    assert read_probabilities(record) == expected


def test_estimates_of_probabilities_and_of_errors() -> None:
    records = [predict(F, sure=0.9)] * 20 + [predict(REVIEW, S, sure=0.4)] * 10
    counts = count_records(records)
    (bare,), (tally,) = tally_counts(counts), tally_counts(counts, np.array(CONFUSION))
    assert bare.corrected == {}
    assert tally.expected == bare.expected
    assert tally.expected[F].mean == pytest.approx(20 * 0.9 + 10 * 0.3, abs=0.05)
    assert sum(e.mean for e in tally.expected.values()) == pytest.approx(30)
    assert sum(e.mean for e in tally.corrected.values()) == pytest.approx(30)
    assert tally.corrected[S].low <= 10 <= tally.corrected[S].high
    record = tally.to_record()
    assert record["expected"][F]["low"] == tally.expected[F].low
    assert record["corrected"].keys() == set(LABELS)


def test_no_estimate_for_a_year_where_a_case_has_no_probabilities() -> None:
    records = [predict(F), {"date": "2020", "decision": F}, predict(S, date="2021")]
    first, second = tally_records(records)
    assert (first.expected, first.total) == ({}, 2)
    assert second.expected[S].mean == pytest.approx(0.8)


def test_lost_digits_of_probabilities_are_given_back() -> None:
    records = [{**predict(F), "probabilities": {F: 0.3333, S: 0.3333, N: 0.3333}}] * 300
    (tally,) = tally_records(records)
    assert tally.expected[F].mean == pytest.approx(100)


def list_consistent(shown: dict[str, str], below: int, largest: int) -> list[tuple[int, ...]]:
    """Every row of counts that would be shown as this one is."""
    choices = []
    for name in COLUMNS:
        cell = shown[name]
        choices.append(
            [int(cell)] if cell.isdigit() else range(1, below) if cell == f"<{below}" else range(largest + 1)
        )
    return [
        counts
        for counts in product(*choices)
        if (not shown["all"].isdigit() or sum(counts) == int(shown["all"]))
        and make_tally(*counts, below=below).cells == shown
    ]


COUNTS = st.tuples(*[st.integers(0, 9)] * 4)


@settings(deadline=None, max_examples=300)
@given(counts=COUNTS, below=st.integers(3, 6))
def test_no_hidden_count_follows_from_what_is_shown(counts: tuple[int, ...], below: int) -> None:
    tally = make_tally(*counts, below=below)
    cells = tally.cells
    assert tally.is_hidden == any(0 < count < below for count in counts)
    possible = list_consistent(cells, below, largest=sum(counts))
    assert counts in possible
    for i, name in enumerate(COLUMNS):
        if cells[name].isdigit():
            assert cells[name] == str(counts[i])
        else:
            assert len({row[i] for row in possible}) > 1, (counts, cells)


@settings(deadline=None)
@given(counts=COUNTS, below=st.integers(2, 6))
def test_small_counts_are_nowhere_in_row_and_sentence(counts: tuple[int, ...], below: int) -> None:
    tally = make_tally(*counts, below=below)
    for name, count in tally.counts.items():
        if 0 < count < below:
            assert tally.cells[name] == f"<{below}"
            assert tally.to_record()[name] == f"<{below}"
    if tally.is_hidden:
        said = set(map(int, re.findall(r"\d+", tally.sentence.replace("in 2020", ""))))
        assert not said & set(range(1, below))
        assert tally.to_record()["review_share"] is None


def test_nothing_is_hidden_unless_asked_for() -> None:
    tally = make_tally(1, 2, 3, 4)
    assert not tally.is_hidden
    assert list(tally.cells.values()) == ["1", "2", "3", "4", "10"]
    assert make_tally(5, 0, 7, 0, below=5).cells == make_tally(5, 0, 7, 0).cells


def test_hidden_row_is_said_in_words() -> None:
    sentence = make_tally(1, 0, 20, 30, below=5).sentence
    assert "fewer than 5 forced labour" in sentence
    assert "an undisclosed number" in sentence
    assert "<" not in sentence
    assert make_tally(1, 0, 0, 0, below=5).sentence.startswith("Authorities opened ")
    assert "investigations in 2020" in make_tally(1, 0, 0, 0, below=5).sentence


def test_estimates_of_a_hidden_row_are_hidden_too() -> None:
    estimate = {F: Estimate(2.0, 1, 3)}
    counts = dict(zip(COLUMNS, (2, 9, 9, 9), strict=True))
    record = Tally("year", "2020", counts, estimate, estimate, below=5).to_record()
    assert not {"expected", "corrected"} & record.keys()


@pytest.fixture
def predictions() -> Path:
    # 2020: 8 forced labour, 2 sex trafficking, 9 not trafficking, 7 to review; 2021: none of them small.
    rows = [predict(F)] * 8 + [predict(S)] * 2 + [predict(N)] * 9 + [predict(REVIEW, S, sure=0.45)] * 7
    rows += [predict(d, label, date="2021-01-01") for d, label in ((F, F), (S, S), (N, N), (REVIEW, N))] * 6
    return write_jsonl(Path("out.jsonl"), number_records(rows))


@pytest.fixture
def errors() -> Path:
    Path("m.json").write_text(json.dumps({"confusion": CONFUSION}), encoding="utf-8")
    return Path("m.json")


def test_text_says_counts_estimates_and_whose_errors(run: Run, predictions: Path, errors: Path) -> None:
    unknown = run("tally", predictions).stdout
    assert "give --errors" in unknown
    known = run("tally", predictions, "--errors", errors).stdout
    lines = known.splitlines()
    assert lines[0].split()[:6] == ["year", *COLUMNS, "all"]
    assert lines[1].split() == ["2020", "8", "2", "9", "7", "26", "27%"]
    assert lines[2].split() == ["2021", "6", "6", "6", "6", "24", "25%"]
    assert "if the model errs as m.json." in known
    assert "give --errors" not in known
    assert known.rstrip().splitlines()[-2].startswith("Authorities opened 26 investigations in 2020: 8 forced labour")


def test_json_holds_rows_sentences_and_intervals(run: Run, predictions: Path, errors: Path) -> None:
    found = json.loads(run("tally", predictions, "--format", "json", "--errors", errors).stdout)
    assert found["errors_of"] == "m.json"
    first, second = found["rows"]
    assert (first["year"], first[F], first["all"], first["review_share"]) == ("2020", 8, 26, 7 / 26)
    assert second["sentence"].startswith("Authorities opened 24 investigations in 2021")
    for kind in ("expected", "corrected"):
        for label in LABELS:
            estimate = first[kind][label]
            assert estimate["low"] <= estimate["mean"] <= estimate["high"]
    assert json.loads(run("tally", predictions, "--format", "json").stdout)["errors_of"] is None


def test_csv_has_one_line_a_year(run: Run, predictions: Path, errors: Path) -> None:
    output = run("tally", predictions, "--format", "csv", "--errors", errors).stdout
    first, second = csv.DictReader(io.StringIO(output))
    assert (first["year"], first[F], first["all"]) == ("2020", "8", "26")
    assert second[f"expected.{F}.low"].isdigit()
    assert float(second[f"corrected.{N}.mean"]) > 0
    hidden = run("tally", predictions, "--format", "csv", "--suppress-below", 5).stdout
    first, second = csv.DictReader(io.StringIO(hidden))
    assert (first[S], first[f"expected.{F}.mean"], second[S]) == ("<5", "", "6")


def test_markdown_is_a_table(run: Run, predictions: Path) -> None:
    lines = run("tally", predictions, "--format", "md").stdout.splitlines()
    assert lines[0].startswith("| year | forced_labour |")
    assert set(lines[1]) <= set("| -:")
    assert lines[2].startswith("| 2020 | 8 | 2 | 9 | 7 | 26 |")


def test_html_has_table_and_chart_but_no_chart_of_hidden_counts(run: Run, predictions: Path, errors: Path) -> None:
    page = run("tally", predictions, "--format", "html", "--errors", errors).stdout
    assert page.startswith("<!")
    assert "<svg" in page
    assert "Authorities opened 26 investigations in 2020" in page
    assert "m.json" in page
    hidden = run("tally", predictions, "--format", "html", "--suppress-below", 5).stdout
    assert "<svg" not in hidden
    assert "&lt;5" in hidden


@pytest.mark.parametrize("form", ["text", "md", "csv", "json", "html"])
def test_small_count_stands_in_no_form(run: Run, form: str) -> None:
    rows = [predict(F)] * 31 + [predict(S)] * 13 + [predict(N)] * 41
    write_jsonl(Path("out.jsonl"), number_records(rows))
    plain = run("tally", "out.jsonl", "--format", form).stdout
    hidden = run("tally", "out.jsonl", "--format", form, "--suppress-below", 20).stdout
    assert re.search(r"\b13\b", plain)
    assert not re.search(r"\b13\b", hidden.partition("</style>")[2] or hidden)
    assert ("&lt;20" if form == "html" else "<20") in hidden


def test_every_form_reads_a_pipe(run: Run, predictions: Path) -> None:
    data = predictions.read_text(encoding="utf-8")
    for form in ("text", "md", "csv", "json", "html"):
        done = run("tally", "-", "--format", form, stdin=data)
        assert done.exit_code == 0
        assert done.stdout == run("tally", predictions, "--format", form).stdout


def test_list_names_every_case_first(run: Run, predictions: Path) -> None:
    data = predictions.read_text(encoding="utf-8")
    lines = run("tally", "-", "--list", stdin=data).stdout.splitlines()
    assert lines[0].split()[:2] == ["case", "decision"]
    assert [line.split()[0] for line in lines[1:51]] == [f"c{i}" for i in range(50)]
    assert lines[1].split() == ["c0", F, F, "0.80"]


def test_by_a_column_through_the_command(run: Run) -> None:
    rows = [{**predict(d), "court": court} for d, court in ((F, "north"), (N, "south"), (N, "north"))]
    write_jsonl(Path("out.jsonl"), number_records(rows))
    found = json.loads(run("tally", "out.jsonl", "--by", "court", "--format", "json").stdout)["rows"]
    assert [(row["court"], row["all"]) for row in found] == [("north", 2), ("south", 1)]
    assert "with court north" in found[0]["sentence"]


def test_several_files_count_together_and_bad_input_is_one_message(run: Run, predictions: Path, errors: Path) -> None:
    write_jsonl(Path("more.jsonl"), number_records([predict(F, date="2022")]))
    assert "Authorities opened 1 investigation in 2022" in run("tally", predictions, "more.jsonl").stdout
    write_jsonl(Path("bad.jsonl"), [{"id": "x", "decision": "maybe"}])
    for arguments in (["bad.jsonl"], [predictions, "--errors", "out.jsonl"], ["missing.jsonl"]):
        done = run("tally", *arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
