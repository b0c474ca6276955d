"""Cases that a model contradicts: flipped labels come to light, and no text does."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import CORPUS, Run, read_jsonl, write_jsonl
from test_training import make_cases
from tipnlp.cases import LABELS, Case
from tipnlp.errors import CorpusError, MissingExtraError
from tipnlp.pipeline import TrainingConfig
from tipnlp.reading import read_cases
from tipnlp.suspects import Suspect, describe_suspects, find_suspects, format_suspects

F, S, N = LABELS

# English cases a label, and of these every ninth gets a wrong one: few enough to be quick, enough to learn from.
TAKEN, FLIPPED = 120, 9

# Words and pairs of them are enough here, and trained in a second.
QUICK = TrainingConfig(folds=3, subwords=0, concepts=0, concept_pairs=0)


def flip_label(case: Case) -> Case:
    """Give a case a wrong label: trafficking becomes not trafficking, and the other way round."""
    return replace(case, label=F if case.label == N else N)


@pytest.fixture(scope="module")
def english() -> list[Case]:
    cases = list(read_cases([CORPUS / "en.jsonl"], labelled=True))
    return [case for label in LABELS for case in [c for c in cases if c.label == label][:TAKEN]]


@pytest.fixture(scope="module")
def flipped(english: list[Case]) -> set[str]:
    return {case.id for case in english[::FLIPPED]}


@pytest.fixture(scope="module")
def suspects(english: list[Case], flipped: set[str]) -> list[Suspect]:
    return find_suspects([flip_label(case) if case.id in flipped else case for case in english], QUICK)


@pytest.fixture
def without_cleanlab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)


def make_suspect(label: str, likelier: str, **changes: object) -> Suspect:
    shares = {F: 0.1, S: 0.1, N: 0.1, label: 0.15, likelier: 0.75}
    suspect = Suspect(Case(id="a", text="confidential", label=label), label, likelier, shares, 0.15, is_issue=True)
    return replace(suspect, **changes)  # type: ignore[arg-type]


def test_flipped_labels_come_first(suspects: list[Suspect], english: list[Case], flipped: set[str]) -> None:
    places = {suspect.case.id: place for place, suspect in enumerate(suspects)}
    # What is not contradicted stands behind all that is, in no order.
    behind = (len(suspects) + len(english)) / 2
    # In an order by chance they would stand in the middle.
    assert np.mean([places.get(case_id, behind) for case_id in flipped]) / len(english) < 0.33
    issues = [suspect.case.id in flipped for suspect in suspects if suspect.is_issue]
    assert np.mean(issues) > 2 / FLIPPED


def test_suspects_are_what_they_say(suspects: list[Suspect]) -> None:
    for suspect in suspects:
        assert suspect.label == suspect.case.label != suspect.likelier
        assert suspect.probabilities[suspect.likelier] == max(suspect.probabilities.values())
        assert sum(suspect.probabilities.values()) == pytest.approx(1)
        assert suspect.score == pytest.approx(suspect.probabilities[suspect.label])
        assert suspect.missed == (suspect.label == N and suspect.likelier in (F, S))


def test_issues_first_then_score_then_missed(suspects: list[Suspect]) -> None:
    keys = [(not s.is_issue, round(s.score, 2), not s.missed) for s in suspects]
    assert keys == sorted(keys)
    assert {True, False} == {s.is_issue for s in suspects} == {s.missed for s in suspects}


def test_cases_come_from_groups_the_model_has_not_seen() -> None:
    # Each label has a word of its own, but one group of cases has the word of another.
    cases = make_cases({F: 6, S: 6, N: 6})
    strange = [replace(case, id=f"odd-{i}", label=N, group="odd") for i, case in enumerate(cases[:3])]
    suspects = find_suspects([*cases, *strange], TrainingConfig(folds=3))
    assert {suspect.case.id for suspect in suspects} == {"odd-0", "odd-1", "odd-2"}
    assert all(suspect.missed and suspect.likelier == F for suspect in suspects)


def test_record_keeps_the_columns_and_leaves_the_text_out() -> None:
    case = Case(id="a", text="confidential", label=N, group="g", extra={"score": "mine", "court": "Metz"})
    record = make_suspect(N, F, case=case).to_record()
    assert list(record) == [
        *("id", "label", "likelier", "probabilities", "score", "issue", "missed", "group", "input_score", "court")
    ]
    assert (record["label"], record["likelier"], record["missed"], record["input_score"]) == (N, F, True, "mine")
    assert not make_suspect(F, N).to_record()["missed"]
    assert "confidential" not in str(record)


def test_words_and_table() -> None:
    listed = [make_suspect(N, F), make_suspect(S, N, is_issue=False)]
    header, first, second = format_suspects(listed).splitlines()
    assert header.split()[:4] == ["rank", "case", "given", "likelier"]
    assert first.split() == ["1", "a", N, F, "0.15", "0.75", "missed"]
    assert second.split() == ["2", "a", S, N, "0.15", "0.75"]
    words = describe_suspects(listed, 9)
    assert "2 of 9 cases" in words
    assert "1 wrong label;" in words
    assert f"1 labelled {N}" in words


def test_missing_cleanlab_gives_the_line_to_install_it(without_cleanlab: None) -> None:
    with pytest.raises(MissingExtraError, match=r"cleanlab: pip install 'tipnlp\[suspects\]'"):
        find_suspects([])


def test_cases_that_cannot_be_trained_on() -> None:
    with pytest.raises(CorpusError, match=S):
        find_suspects(make_cases({F: 3, N: 3}))


@pytest.fixture
def odd_corpus() -> Path:
    """Cases with a word for each label, of which two not trafficking and one trafficking have the word of another."""
    cases = make_cases({F: 8, S: 8, N: 8})
    odd = [("odd-0", F, N), ("odd-1", S, N), ("odd-2", N, F)]
    records = [{"id": c.id, "text": c.text, "label": c.label, "lang": "en"} for c in cases]
    records += [{"id": i, "text": f"{word} text", "label": label, "lang": "en"} for i, word, label in odd]
    return write_jsonl(Path("corpus.jsonl"), records)


def test_command(run: Run, odd_corpus: Path) -> None:
    done = run("corpus", "suspects", odd_corpus, "--folds", 3, "--limit", 1, "-o", "all.jsonl")
    assert done.exit_code == 0, done.stderr
    header, only = done.stdout.splitlines()
    assert "likelier" in header
    assert "cleanlab estimates" in done.stderr
    assert "the first 1 of 3" in done.stderr
    records = read_jsonl(Path("all.jsonl"))
    assert {r["id"]: r["likelier"] for r in records} == {"odd-0": F, "odd-1": S, "odd-2": N}
    assert only.split()[1] == records[0]["id"]
    for shown in (done.stdout, done.stderr, Path("all.jsonl").read_text(encoding="utf-8")):
        assert " text" not in shown
        assert '"text"' not in shown


def test_command_lists_one_kind_only(run: Run, odd_corpus: Path) -> None:
    for kind, ids in (("missed", {"odd-0", "odd-1"}), ("wrong", {"odd-2"})):
        assert run("corpus", "suspects", odd_corpus, "--only", kind, "-o", f"{kind}.csv").exit_code == 0
        with Path(f"{kind}.csv").open(encoding="utf-8-sig", newline="") as stream:
            assert {row["id"] for row in csv.DictReader(stream)} == ids


def test_command_writes_records_alone_to_standard_output(run: Run, odd_corpus: Path) -> None:
    lines = run("corpus", "suspects", odd_corpus, "-o", "-").stdout.splitlines()
    assert len([json.loads(line) for line in lines]) == 3


def test_command_takes_settings_and_seed(run: Run, odd_corpus: Path) -> None:
    Path("c.toml").write_text("fold = 3\n", encoding="utf-8")
    done = run("corpus", "suspects", odd_corpus, "--config", "c.toml", "--seed", 1)
    assert done.exit_code == 2
    assert "unknown setting 'fold'" in done.stderr


def test_command_overwrites_nothing_unasked(run: Run, odd_corpus: Path) -> None:
    Path("all.csv").write_text("precious", encoding="utf-8")
    assert run("corpus", "suspects", odd_corpus, "-o", "all.csv").exit_code == 2
    assert Path("all.csv").read_text(encoding="utf-8") == "precious"
    assert run("corpus", "suspects", odd_corpus, "-o", "all.csv", "--force").exit_code == 0
    assert "odd-0" in Path("all.csv").read_text(encoding="utf-8")


def test_command_goes_on_past_records_that_cannot_be_used(run: Run, odd_corpus: Path) -> None:
    with odd_corpus.open("a", encoding="utf-8") as stream:
        stream.write('{"id": "x", "text": "confidential"}\n')
    done = run("corpus", "suspects", odd_corpus, "-o", "all.jsonl")
    assert done.exit_code == 1
    assert f"{odd_corpus}:28: no label" in done.stderr
    assert len(read_jsonl(Path("all.jsonl"))) == 3
    assert "confidential" not in done.stderr


def test_command_without_cleanlab(run: Run, odd_corpus: Path, without_cleanlab: None) -> None:
    done = run("corpus", "suspects", odd_corpus, "-o", "all.jsonl")
    assert done.exit_code == 2
    assert "pip install 'tipnlp[suspects]'" in done.stderr
    assert not Path("all.jsonl").exists()
