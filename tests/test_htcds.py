"""Predictions in the codes of the case data standard."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from conftest import Run, read_jsonl, write_jsonl
from tipnlp.cases import LABELS, REVIEW, Case
from tipnlp.htcds import CONCEPT_CODES, FIELDS, LABEL_CODES, convert_records
from tipnlp.lexicon import load_lexicon

F, S, N = LABELS
COLUMNS = [
    "id",
    "date",
    "vic_TraffickingStatus",
    "vic_TypeOfExploitation",
    "vic_TypeOfSexExploitation",
    "vic_ForcedLabourIndustry",
    "vic_MethodsOfControl",
]


def convert(decision: str, *concepts: str, negated: tuple[str, ...] = (), **columns: Any) -> list[dict[str, str]]:
    entries = [{"concept": name, "span": [0, 1], "negated": False} for name in concepts]
    entries += [{"concept": name, "span": [2, 3], "negated": True} for name in negated]
    record = {"id": "a", "decision": decision, "evidence": {"concepts": {"any": entries}}, **columns}
    return list(convert_records([record]))


def test_only_decided_trafficking_has_a_code() -> None:
    records = [{"id": str(i), "decision": d, "label": F} for i, d in enumerate([F, S, N, REVIEW, "", None])]
    rows = list(convert_records([*records, {"id": "labelled", "label": F}]))
    assert [(row["id"], row["vic_TypeOfExploitation"]) for row in rows] == [
        ("0", "ForcedLabour"),
        ("1", "SexualExploitation"),
    ]
    assert {row["vic_TraffickingStatus"] for row in rows} == {"PossibleVictimOfTrafficking"}


def test_every_row_has_the_same_columns() -> None:
    for decision in LABEL_CODES:
        (bare,) = convert_records([{"id": "a", "decision": decision}])
        (full,) = convert(decision, *load_lexicon().names, date="2021-03-04")
        assert list(bare) == list(full) == COLUMNS
        assert (bare["date"], full["date"]) == ("", "2021-03-04")
        assert all(isinstance(value, str) for value in full.values())


def test_concepts_give_industry_and_methods_of_control() -> None:
    (row,) = convert(F, "factory_work", "document_retention", "threat", "wage_withholding", "prostitution", "minor_age")
    assert row["vic_ForcedLabourIndustry"] == "C_Manufacturing"
    assert row["vic_MethodsOfControl"].split(";") == [
        "PhysicalThreats",
        "RestrictsFinancialAccess",
        "WithholdsDocuments",
    ]
    assert row["vic_TypeOfSexExploitation"] == ""


def test_sex_trafficking_has_no_industry() -> None:
    (row,) = convert(S, "prostitution", "pornography_webcam", "factory_work", "begging", "debt_bondage")
    assert row["vic_TypeOfSexExploitation"] == "Prostitution;Pornography"
    assert row["vic_MethodsOfControl"] == "DebtBondage"
    assert row["vic_ForcedLabourIndustry"] == ""
    assert row["vic_TypeOfExploitation"] == "SexualExploitation"


def test_begging_is_added_to_the_type_of_forced_labour() -> None:
    (row,) = convert(F, "begging")
    assert row["vic_TypeOfExploitation"] == "ForcedLabour;ForcedBegging"


def test_concepts_of_one_code_give_it_once() -> None:
    (row,) = convert(F, "deceptive_offer", "deception_means", "love_pretence", "confinement", "isolation")
    assert row["vic_MethodsOfControl"] == "FalsePromises;Other"


def test_negated_concepts_give_no_code_unless_they_stand_elsewhere_too() -> None:
    (row,) = convert(F, "threat", negated=("threat", "violence"))
    assert row["vic_MethodsOfControl"] == "PhysicalThreats"


def test_every_concept_with_a_code_is_in_the_lexicon() -> None:
    names = set(load_lexicon().names)
    assert {name for codes in CONCEPT_CODES.values() for name in codes} <= names
    assert {name for fields in FIELDS.values() for name in fields} <= CONCEPT_CODES.keys()
    assert set(LABEL_CODES) == set(FIELDS) == {F, S}


def test_every_kind_of_work_has_an_industry() -> None:
    work = {c.name for c in load_lexicon().concepts if c.group == "exploitation" and c.name.endswith("_work")}
    assert work == set(CONCEPT_CODES["vic_ForcedLabourIndustry"])


@pytest.fixture
def predicted(run: Run, model_folder: Path, small_corpus: list[Case]) -> Path:
    write_jsonl(Path("in.jsonl"), [{**c.columns, "text": c.text} for c in small_corpus[::3]])
    assert run("predict", "in.jsonl", "-m", model_folder, "--explain", "-o", "out.jsonl").exit_code == 0
    return Path("out.jsonl")


def test_tally_writes_the_decided_cases_as_csv_and_nothing_of_their_text(run: Run, predicted: Path) -> None:
    assert run("tally", predicted, "--htcds", "h.csv").exit_code == 0
    with Path("h.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    decided = [r["id"] for r in read_jsonl(predicted) if r["decision"] in (F, S)]
    assert decided
    assert [row["id"] for row in rows] == decided
    assert list(rows[0]) == COLUMNS
    assert any(row["vic_MethodsOfControl"] for row in rows)
    known = {code for codes in CONCEPT_CODES.values() for code in codes.values()} | set(LABEL_CODES.values())
    for row in rows:
        for name in COLUMNS[3:]:
            assert set(filter(None, row[name].split(";"))) <= known
    assert run("tally", predicted, "--htcds", "h.csv").exit_code == 2
    assert run("tally", predicted, "--htcds", "h.csv", "--force").exit_code == 0
