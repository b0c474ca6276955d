"""Every format in, every kind of bad record out, nothing held in memory."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import pytest

from conftest import write_jsonl
from tipnlp.cases import Case
from tipnlp.errors import InputError, RecordError
from tipnlp.reading import read_cases, read_jsonl

HEADER = ["id", "text", "label", "ort"]
ROWS = [
    ["a1", "Le passeport a été retiré à l'arrivée ; il n'a rien reçu.", "forced_labour", "Liège"],
    ["a2", 'Zeile eins,\nZeile zwei; "Anführung" – ß ë é', "non_trafficking", "Köln"],
]


def csv_text(delimiter: str) -> str:
    import csv

    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows([HEADER, *ROWS])
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_csv_of_any_delimiter_and_encoding(tmp_path: Path, delimiter: str, encoding: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(csv_text(delimiter).encode(encoding))
    named = encoding if encoding in ("cp1252", "utf-16") else "utf-8-sig"
    cases = list(read_cases([path], labelled=True, encoding=named))
    assert [[c.id, c.text, c.label, c.extra["ort"]] for c in cases] == ROWS


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_jsonl_with_and_without_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    path = write_jsonl(tmp_path / "cases.jsonl", [{"id": "x", "text": "ë", "akte": {"n": 3}}])
    path.write_bytes(mark + path.read_bytes() + b"\n  \n")
    (case,) = read_cases([path])
    assert (case.text, case.extra) == ("ë", {"akte": {"n": 3}})


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    table = pa.table({"id": [1, 2], "text": ["eins", "zwei"], "date": [2019, 2020], "ort": ["Köln", None]})
    parquet.write_table(table, tmp_path / "cases.parquet")
    cases = list(read_cases([tmp_path / "cases.parquet"]))
    assert [(c.id, c.text, c.year, c.extra["ort"]) for c in cases] == [
        ("1", "eins", "2019", "Köln"),
        ("2", "zwei", "2020", None),
    ]


def test_folder_is_read_in_order_and_text_files_are_cases(tmp_path: Path) -> None:
    (tmp_path / "in" / "2020").mkdir(parents=True)
    (tmp_path / "in" / "b.txt").write_text("zweiter\n", encoding="utf-8")
    (tmp_path / "in" / "2020" / "a.txt").write_text("\ufefferster", encoding="utf-8")
    (tmp_path / "in" / "README.md").write_text("not a case", encoding="utf-8")
    write_jsonl(tmp_path / "in" / "c.jsonl", [{"id": "c1", "text": "dritter"}])
    found = [(c.id, c.text.strip()) for c in read_cases([tmp_path / "in"])]
    assert found == [("2020/a.txt", "erster"), ("b.txt", "zweiter"), ("c1", "dritter")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not a JSON object"),
        ("[1, 2]", "not a JSON object"),
        ('{"id": "x"}', "no text"),
        ('{"id": "x", "text": "  "}', "no text"),
        ('{"text": "a"}', "no id"),
        ('{"id": "x", "text": ["a"]}', "no text"),
        ('{"id": "x", "text": "a", "lang": "es"}', "lang is 'es'"),
        ('{"id": "x", "text": "a", "label": "maybe"}', "label is 'maybe'"),
        ('{"id": "x", "text": "a"}', "no label"),
        ('{"id": {"n": 1}, "text": "a", "label": "forced_labour"}', "id is a dict"),
        ("[" * 100_000, "not a JSON object"),
        ('{"id": "x", "text": "\\ud800", "label": "forced_labour"}', "lone surrogates"),
    ],
)
def test_bad_record_is_named_and_the_good_ones_are_read(tmp_path: Path, line: str, reason: str) -> None:
    good = '{"id": "good", "text": "secret words", "label": "forced_labour"}'
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join([good, line, good]), encoding="utf-8")
    rejects: list[RecordError] = []
    assert len(list(read_cases([path], labelled=True, on_reject=rejects.append))) == 2
    (reject,) = rejects
    assert (reject.file, reject.line) == (str(path), 2)
    assert reason in reject.reason
    with pytest.raises(RecordError, match=r"cases\.jsonl:2"):
        list(read_cases([path], labelled=True))


def test_undecodable_line_is_one_reject(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_bytes(b'{"id": "a", "text": "ok"}\n{"id": "b", "text": "\xe9"}\n')
    rejects: list[RecordError] = []
    assert [c.id for c in read_cases([path], on_reject=rejects.append)] == ["a"]
    assert "--encoding" in rejects[0].reason


def test_csv_row_of_wrong_length_is_one_reject(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("id;text\na;eins\nb;zwei;drei\nc;vier\n", encoding="utf-8")
    rejects: list[RecordError] = []
    assert [c.id for c in read_cases([path], on_reject=rejects.append)] == ["a", "c"]
    assert (rejects[0].line, rejects[0].reason) == (3, "3 cells below a header of 2")


def test_csv_in_another_encoding_says_how_to_name_it(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes("id,text\na,café\n".encode("cp1252"))
    with pytest.raises(InputError, match="--encoding cp1252"):
        list(read_cases([path]))


@pytest.mark.parametrize("name", ["missing.jsonl", "cases.xlsx", "empty"])
def test_unusable_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        list(read_cases([tmp_path / name]))


def test_broken_parquet_is_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a Parquet file"):
        list(read_cases([tmp_path / "x.parquet"]))


def test_reader_does_not_read_ahead() -> None:
    class Endless(io.RawIOBase):
        """A stream that never ends: whoever wants it whole never returns."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            line = b'{"id": "a", "text": "b"}\n'
            buffer[: len(line)] = line
            return len(line)

    rows = list(itertools.islice(read_jsonl(io.BufferedReader(Endless()), "utf-8"), 5))
    assert [number for number, _ in rows] == [1, 2, 3, 4, 5]


def test_jsonl_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_bytes('{"id": "a", "text": "Köln"}\r\n{"id": "b", "text": "Metz"}\r\n'.encode("utf-16"))
    assert [c.text for c in read_cases([path], encoding="utf-16")] == ["Köln", "Metz"]
    with pytest.raises(InputError, match="unknown encoding 'utf-99'"):
        list(read_cases([path], encoding="utf-99"))


def test_columns_come_out_as_they_came_in() -> None:
    case = Case(id="a", text="t", date="2020-05-01", extra={"akte": 7, "leer": None})
    assert case.columns == {"id": "a", "date": "2020-05-01", "akte": 7}
    assert (case.read_column("year"), case.read_column("akte"), case.read_column("country")) == ("2020", "7", "-")
