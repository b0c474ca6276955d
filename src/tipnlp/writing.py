"""Writing records to files: complete or not at all, never over another file unasked."""

from __future__ import annotations

import csv
import glob
import io
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tipnlp.cases import encode_json
from tipnlp.errors import FileError, MissingExtraError, OutputError, RecordError, TipnlpError, UsageError

STDOUT = "-"
JSONL = ".jsonl"
PARQUET = ".parquet"
Record = Mapping[str, Any]
WriteRecord = Callable[[Record], None]
Columns = Mapping[str, set[type]]
"""The kinds of values in each column, in the order in which the columns first come."""

# A cell that begins with one of these would be run as a formula by a spreadsheet (CWE-1236).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
PARQUET_ROWS = 4096
SHOWN_REJECTS = 20
SPOOLED_BYTES = 1_000_000
LEFTOVER_DIGITS = 8


@contextmanager
def guard_disk(path: Path, kind: type[TipnlpError] = OutputError) -> Iterator[None]:
    """Turn what the disk refuses into one of our errors."""
    try:
        yield
    except OSError as error:
        raise kind(f"{error.filename or path}: {error.strerror or type(error).__name__}") from None


@contextmanager
def replace_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when all went well.

    Raises:
        OutputError: `path` exists and `force` is not given, or its folder cannot be written.
    """
    refuse_folder(path)
    refuse_existing(path, force=force)
    # Made as any file is, so that the umask says who may read it.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(LEFTOVER_DIGITS // 2)}.part")
    with guard_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    try:
        yield temporary
        # It may have come while we were writing.
        refuse_existing(path, force=force)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that `replace_file` left beside a file when it was killed."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * LEFTOVER_DIGITS}.part"):
        leftover.unlink(missing_ok=True)


def refuse_existing(*paths: Path | None, force: bool) -> None:
    """Raise `OutputError` where one of the targets is there already, before any work is done."""
    for path in paths:
        if path is not None and path.exists() and not force:
            raise OutputError.from_existing(path)


def refuse_folder(path: Path) -> None:
    """Raise `OutputError` where a file is to be written and a folder is there."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file")


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write a whole text file, complete or not at all."""
    with replace_file(path, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")


def encode_record(record: Record) -> bytes:
    """Return a record as one line of JSON, without the end of the line."""
    return encode_json(dict(record)).encode()


def check_target(path: Path) -> str:
    """Return the ending of an output file.

    Raises:
        UsageError: it is not one that can be written.
        OutputError: it is a folder.
        MissingExtraError: the library that writes it is not installed.
    """
    ending = path.suffix.lower()
    if ending != JSONL and ending not in TABLES:
        raise UsageError(f"{path}: unknown kind of output, expected {' '.join((JSONL, *TABLES))} or -")
    refuse_folder(path)
    if ending == PARQUET:
        import_parquet()
    return ending


@contextmanager
def open_writer(target: str | Path, *, force: bool = False) -> Iterator[WriteRecord]:
    """Yield a function that writes one record to a `.jsonl`, `.csv` or `.parquet` file, or `-`.

    Raises:
        UsageError: the ending of the target is not known.
        OutputError: the target exists and `force` is not given, or cannot be written.
    """
    if str(target) == STDOUT:
        yield partial(write_line, sys.stdout.buffer)
        sys.stdout.flush()
        return
    path = Path(target)
    ending = check_target(path)
    with replace_file(path, force=force) as temporary:
        if ending == JSONL:
            with temporary.open("wb") as stream:
                yield partial(write_line, stream)
            return
        # A table needs its header first. Until then the records wait in a nameless file in the folder of the output:
        # confidential files stay on their own disk.
        with tempfile.TemporaryFile(dir=path.parent) as lines:
            yield partial(write_line, lines)
            write_table(temporary, ending, lines)


def write_line(stream: IO[bytes], record: Record) -> None:
    """Write a record as a line of JSON."""
    stream.write(encode_record(record) + b"\n")


def write_table(path: Path, ending: str, lines: IO[bytes]) -> None:
    """Write lines of JSON as a table; they are read twice, first for their columns.

    Args:
        path: the file to write.
        ending: one of `TABLES`.
        lines: a file, open for reading.
    """
    columns: dict[str, set[type]] = {}
    for record in _read_lines(lines):
        for name, value in record.items():
            columns.setdefault(name, set()).add(type(value))
    with path.open("wb") as stream:
        TABLES[ending](stream, columns, _read_lines(lines))


def _read_lines(lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    lines.seek(0)
    return (flatten_record(json.loads(line)) for line in lines)


def _write_csv(stream: IO[bytes], columns: Columns, records: Iterator[dict[str, Any]]) -> None:
    """Write UTF-8 with a byte order mark, so that Excel reads é and ß; nested values become columns."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    writer = csv.writer(text)
    writer.writerow([escape_formula(name) for name in columns])
    for record in records:
        writer.writerow([escape_formula(record.get(name, "")) for name in columns])
    text.flush()
    text.detach()


def _write_parquet(stream: IO[bytes], columns: Columns, records: Iterator[dict[str, Any]]) -> None:
    """Write Parquet with the columns of the CSV output; a column of mixed kinds becomes text."""
    pa, ParquetWriter = import_parquet()
    kinds = {frozenset([bool]): pa.bool_(), frozenset([int]): pa.int64(), frozenset([float]): pa.float64()}
    chosen = {name: kinds.get(frozenset(types - {type(None)}), pa.string()) for name, types in columns.items()}
    as_text = [name for name, kind in chosen.items() if kind == pa.string()]
    schema = pa.schema(list(chosen.items()))
    with ParquetWriter(stream, schema) as writer:
        while rows := list(islice(records, PARQUET_ROWS)):
            for row in rows:
                row.update({name: to_text(row.get(name)) for name in as_text})
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def import_parquet() -> tuple[Any, Any]:
    """Return the module pyarrow and its writer of Parquet files.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    return pyarrow, ParquetWriter


TABLES = {".csv": _write_csv, PARQUET: _write_parquet}


def to_text(value: Any) -> str | None:
    """Return a value as text: a text as it is, anything else as JSON, nothing as nothing."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flatten_record(record: Record) -> dict[str, Any]:
    """Turn nested mappings into columns of their own: `probabilities.forced_labour`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def escape_formula(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


class Rejects:
    """Collects records that could not be used: how many there are, and the first of them.

    Args:
        path: the file that will name them all.
        stream: where they are set aside for it.
    """

    def __init__(self, path: Path | None = None, stream: IO[str] | None = None) -> None:
        self.path = path
        self.count = 0
        self.broken: list[str] = []
        """The first files that could not be read to their end: more than a record is lost."""
        self._stream = stream
        self._shown: list[str] = []

    def __call__(self, reject: RecordError) -> None:
        """Take one rejected record, or what is left of a file."""
        self.count += 1
        shown = self.broken if isinstance(reject, FileError) else self._shown
        if len(shown) < SHOWN_REJECTS:
            shown.append(str(reject))
        if self._stream is not None:
            entry = {"file": reject.file, "line": reject.line, "id": reject.case_id, "reason": reject.reason}
            self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def describe(self) -> str:
        """Return the first rejects as text, one a line."""
        shown = [*self.broken, *self._shown]
        more = [f"... and {self.count - len(shown)} more"] if self.count > len(shown) else []
        return "\n".join([*shown, *more])


@contextmanager
def open_rejects(path: Path | None, *, force: bool = False) -> Iterator[Rejects]:
    """Yield a collector of rejects, and write them to a file when all went well and there are any.

    The file names file, line, id and reason of each, never the text. One of an earlier run goes when there are none.

    Raises:
        OutputError: the file exists and `force` is not given, or it cannot be written.
    """
    if path is None:
        yield Rejects()
        return
    refuse_folder(path)
    refuse_existing(path, force=force)
    with guard_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
    # There may be as many rejects as records: beyond a few they wait in a file without a name.
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES, mode="w+", encoding="utf-8", dir=str(path.parent)) as stream:
        rejects = Rejects(path, stream)
        yield rejects
        if rejects.count:
            stream.seek(0)
            with replace_file(path, force=force) as temporary, temporary.open("w", encoding="utf-8") as file:
                shutil.copyfileobj(stream, file)
        elif force:
            path.unlink(missing_ok=True)


def name_rejects(output: Path) -> Path:
    """Return the name of the rejects file that belongs to an output: `a.rejects.jsonl`, `a.csv.rejects.jsonl`."""
    kept = output.stem if output.suffix.lower() == JSONL else output.name
    return output.with_name(f"{kept}.rejects.jsonl")
