"""Every format in, every kind of bad record out, nothing held in memory."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import write_jsonl
from tipnlp.cases import Case
from tipnlp.errors import FileError, InputError, RecordError
from tipnlp.reading import find_sources, read_cases, read_jsonl

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
        ('{"id": "x\\udce9", "text": "a", "label": "forced_labour"}', "lone surrogates"),
        ('{"id": "x", "text": "a", "label": "forced_labour", "country": "\\ud800"}', "lone surrogates"),
        ('{"id": "x", "text": "a", "label": "forced_labour", "akte": "\\ud800"}', "lone surrogates"),
        ('{"id": "x", "text": "a", "label": "forced_labour", "akte": [{"n": ["\\ud800"]}]}', "lone surrogates"),
        ('{"id": "x", "text": "a", "label": "forced_labour", "akte": {"\\ud800": 1}}', "lone surrogates"),
        ('{"id": "x", "text": "a", "label": "forced_labour", "\\ud800": 1}', "lone surrogates"),
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
    str(reject).encode()
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


def break_encoding(path: Path) -> None:
    rows = [f"a{n},plain text {n}" for n in range(1000)]
    path.write_bytes("\n".join(["id,text", *rows, "z,café"]).encode("cp1252"))


def break_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1 no")


def break_disk(path: Path) -> None:
    # Reading the first bytes of one's own memory is an input/output error.
    path.symlink_to("/proc/self/mem")


BROKEN = [
    ("b.csv", break_encoding, "--encoding cp1252"),
    ("b.parquet", break_parquet, "not a Parquet file"),
    pytest.param(
        "b.jsonl",
        break_disk,
        "Input/output error",
        marks=pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux only"),
    ),
]


@pytest.mark.parametrize(("name", "spoil", "reason"), BROKEN)
def test_a_file_that_cannot_be_read_stops_no_other(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], reason: str
) -> None:
    for good in ("a", "c"):
        write_jsonl(tmp_path / f"{good}.jsonl", [{"id": good, "text": "x"}])
    spoil(tmp_path / name)
    rejects: list[RecordError] = []
    read = [case.id for case in read_cases([tmp_path], on_reject=rejects.append)]
    (reject,) = rejects
    assert isinstance(reject, FileError)
    assert (reject.file, reject.case_id) == (str(tmp_path / name), None)
    assert reason in reject.reason
    # What came before is read, and the line tells how far.
    before = [f"a{n}" for n in range(reject.line - 1)]
    assert read == ["a", *before, "c"]
    assert bool(before) == (name == "b.csv")
    with pytest.raises(InputError, match=reason):
        list(read_cases([tmp_path]))


@pytest.mark.parametrize(("name", "spoil", "reason"), BROKEN[1:])
def test_nothing_but_a_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(tmp_path / name)
    with pytest.raises(FileError, match=reason):
        list(read_cases([tmp_path], on_reject=lambda reject: None))


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in ("in/sub/b.txt", "elsewhere/c.txt"):
        (tmp_path / path).write_text("x", encoding="utf-8")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "sub" / "circle").symlink_to(tmp_path / "in")
    assert [case.id for case in read_cases([tmp_path / "in"])] == ["linked/c.txt", "sub/b.txt"]
    (tmp_path / "in" / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match=r"gone\.txt: no such file"):
        find_sources([tmp_path / "in"])


@contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody for a while, where we are root, whom no folder is closed to."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX only")
def test_folder_that_may_not_be_looked_into_is_named(tmp_path: Path) -> None:
    (tmp_path / "in" / "closed").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text("x", encoding="utf-8")
    tmp_path.chmod(0o755)
    (tmp_path / "in" / "closed").chmod(0o000)
    with without_rights(), pytest.raises(InputError, match=r"in/closed: Permission denied"):
        find_sources(["in"])
    (tmp_path / "in" / "closed").chmod(0o755)
    assert [source.name for source in find_sources(["in"])] == ["a.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_name_of_a_file_that_is_no_text(tmp_path: Path) -> None:
    Path(os.fsdecode(b"in-caf\xe9")).mkdir()
    Path(os.fsdecode(b"in-caf\xe9/\xe9.txt")).write_text("x", encoding="utf-8")
    Path(os.fsdecode(b"in-caf\xe9/r.jsonl")).write_text("{", encoding="utf-8")
    rejects: list[RecordError] = []
    (case,) = read_cases([os.fsdecode(b"in-caf\xe9")], on_reject=rejects.append)
    assert case.id == "\\udce9.txt"
    assert rejects[0].file == "in-caf\\udce9/r.jsonl"


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
