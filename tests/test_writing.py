"""Files are complete or absent, and never overwritten unasked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from conftest import read_jsonl
from tipnlp.errors import OutputError, RecordError, UsageError
from tipnlp.writing import name_rejects, open_rejects, open_writer, replace_file

RECORDS: list[dict[str, Any]] = [
    {"id": "a", "note": "=1+1", "probabilities": {"x": 0.25, "y": 0.75}, "ort": "Köln"},
    {"id": "b", "note": "-", "probabilities": {"x": 1.0, "y": 0.0}, "ort": "Esch", "akte": "late column"},
]


def write(path: Path, **options: Any) -> None:
    with open_writer(path, **options) as write_record:
        for record in RECORDS:
            write_record(record)


def test_jsonl_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "o.jsonl")
    assert read_jsonl(tmp_path / "o.jsonl") == RECORDS


def test_csv_is_safe_in_a_spreadsheet_and_loses_no_column(tmp_path: Path) -> None:
    write(tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    with (tmp_path / "o.csv").open(encoding="utf-8-sig", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first["note"] == "'=1+1"
    assert (first["probabilities.x"], first["ort"]) == ("0.25", "Köln")
    assert (first["akte"], second["akte"]) == ("", "late column")


def test_parquet_round_trip(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "o.parquet")
    rows = parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["a", "b"]
    assert (rows[0]["probabilities.x"], rows[0]["probabilities.y"]) == (0.25, 0.75)
    assert (rows[0]["akte"], rows[1]["akte"]) == (None, "late column")


def test_parquet_column_of_mixed_kinds_becomes_text(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with open_writer(tmp_path / "o.parquet") as write_record:
        for value in (1, "x", None, [1, 2]):
            write_record({"n": value, "i": 5})
    rows = parquet.read_table(tmp_path / "o.parquet").to_pylist()
    assert [row["n"] for row in rows] == ["1", "x", None, "[1, 2]"]
    assert [row["i"] for row in rows] == [5] * 4


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(RuntimeError), open_writer(tmp_path / f"o{suffix}") as write_record:
        write_record(RECORDS[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(OutputError, match="--force"):
        write(path)
    assert path.read_text(encoding="utf-8") == "precious"
    write(path, force=True)
    assert read_jsonl(path) == RECORDS


def test_unknown_ending_and_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.xlsx"):
        write(tmp_path / "o.xlsx")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError), replace_file(tmp_path / "file" / "o.jsonl"):
        pass
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path / "folder.jsonl", force=True)
    with pytest.raises(OutputError, match="is a folder"), open_rejects(tmp_path / "folder.jsonl", force=True):
        pass


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_came_while_writing_is_not_overwritten(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"o{suffix}"
    with pytest.raises(OutputError, match="--force"), open_writer(path) as write_record:
        write_record(RECORDS[0])
        path.write_text("precious", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_rejects_file_names_places_and_is_absent_when_all_is_well(tmp_path: Path) -> None:
    path = name_rejects(tmp_path / "o.jsonl")
    with open_rejects(path) as rejects:
        rejects(RecordError("in.jsonl", 3, "no text", "c3"))
        assert not path.exists()
    assert read_jsonl(path) == [{"file": "in.jsonl", "line": 3, "id": "c3", "reason": "no text"}]
    with pytest.raises(OutputError), open_rejects(path):
        pass
    with open_rejects(path, force=True):
        pass
    assert not path.exists()


def test_more_rejects_than_memory_should_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tipnlp.writing.SPOOLED_BYTES", 100)
    path = name_rejects(tmp_path / "new" / "o.jsonl")
    with open_rejects(path) as rejects:
        for line in range(50):
            rejects(RecordError("in.jsonl", line, "kein Text: Übergröße", f"c{line}"))
    assert [entry["line"] for entry in read_jsonl(path)] == list(range(50))
    assert rejects.describe().endswith("... and 30 more")


@pytest.mark.parametrize(
    ("output", "rejects"),
    [
        ("a.jsonl", "a.rejects.jsonl"),
        ("a.csv.jsonl", "a.csv.rejects.jsonl"),
        ("a.csv", "a.csv.rejects.jsonl"),
        ("a.parquet", "a.parquet.rejects.jsonl"),
    ],
)
def test_names_of_rejects(output: str, rejects: str) -> None:
    assert name_rejects(Path("in", output)) == Path("in", rejects)
