"""Writing records to files: complete or not at all, never over another file unasked."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tipnlp.errors import MissingExtraError, OutputError, RecordError, UsageError

STDOUT = "-"
JSONL = ".jsonl"
Record = Mapping[str, Any]
WriteRecord = Callable[[Record], None]

# A cell that begins with one of these would be run as a formula by a spreadsheet (CWE-1236).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
PARQUET_ROWS = 4096
SHOWN_REJECTS = 20
SPOOLED_BYTES = 1_000_000


@contextmanager
def replace_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when all went well.

    Raises:
        OutputError: `path` exists and `force` is not given, or its folder cannot be written.
    """
    refuse_existing(path, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from None
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(*paths: Path | None, force: bool) -> None:
    """Raise `OutputError` where one of the targets is there already, before any work is done."""
    for path in paths:
        if path is not None and path.exists() and not force:
            raise OutputError.from_existing(path)


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write a whole text file, complete or not at all."""
    with replace_file(path, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def encode_record(record: Record) -> bytes:
    """Return a record as one line of JSON, without the end of the line."""
    return _encode(dict(record)).encode()


def check_target(path: Path) -> str:
    """Return the ending of an output file.

    Raises:
        UsageError: it is not one that can be written.
    """
    ending = path.suffix.lower()
    if ending not in WRITERS:
        raise UsageError(f"{path}: unknown kind of output, expected {' '.join(WRITERS)} or -")
    return ending


@contextmanager
def open_writer(target: str | Path, *, force: bool = False) -> Iterator[WriteRecord]:
    """Yield a function that writes one record to a `.jsonl`, `.csv` or `.parquet` file, or `-`.

    Raises:
        UsageError: the ending of the target is not known.
        OutputError: the target exists and `force` is not given, or cannot be written.
    """
    if str(target) == STDOUT:
        with _open_jsonl(sys.stdout.buffer) as write:
            yield write
        sys.stdout.flush()
        return
    path = Path(target)
    opener = WRITERS[check_target(path)]
    with replace_file(path, force=force) as temporary, temporary.open("wb") as stream, opener(stream) as write:
        yield write


@contextmanager
def _open_jsonl(stream: IO[bytes]) -> Iterator[WriteRecord]:
    def write(record: Record) -> None:
        stream.write(encode_record(record) + b"\n")

    yield write
    stream.flush()


@dataclass(slots=True)
class Spool:
    """Records set aside until their columns are known: a table needs its header first.

    They wait in a nameless file in the folder of the output: confidential files stay on their own disk.
    """

    stream: IO[bytes]
    columns: dict[str, set[type]] = field(default_factory=dict)

    def add_record(self, record: Record) -> None:
        """Set a record aside."""
        for name, value in record.items():
            self.columns.setdefault(name, set()).add(type(value))
        self.stream.write(json.dumps(dict(record), ensure_ascii=False, default=str).encode() + b"\n")

    def read_records(self) -> Iterator[dict[str, Any]]:
        """Read them again, one after another."""
        self.stream.seek(0)
        return map(json.loads, self.stream)


@contextmanager
def _open_csv(stream: IO[bytes]) -> Iterator[WriteRecord]:
    """Write UTF-8 with a byte order mark, so that Excel reads é and ß; nested values become columns."""
    with tempfile.TemporaryFile(dir=Path(stream.name).parent) as file:
        spool = Spool(file)
        yield lambda record: spool.add_record(flatten_record(record))
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        writer = csv.writer(text)
        writer.writerow([escape_formula(name) for name in spool.columns])
        for record in spool.read_records():
            writer.writerow([escape_formula(record.get(name, "")) for name in spool.columns])
        text.flush()
        text.detach()


@contextmanager
def _open_parquet(stream: IO[bytes]) -> Iterator[WriteRecord]:
    """Write Parquet with the columns of the CSV output; a column of mixed kinds becomes text."""
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    with tempfile.TemporaryFile(dir=Path(stream.name).parent) as file:
        spool = Spool(file)
        yield lambda record: spool.add_record(flatten_record(record))
        kinds = {frozenset([bool]): pa.bool_(), frozenset([int]): pa.int64(), frozenset([float]): pa.float64()}
        chosen = {name: kinds.get(frozenset(t - {type(None)}), pa.string()) for name, t in spool.columns.items()}
        as_text = [name for name, kind in chosen.items() if kind == pa.string()]
        schema = pa.schema(list(chosen.items()))
        with ParquetWriter(stream, schema) as writer:
            records = spool.read_records()
            while rows := list(islice(records, PARQUET_ROWS)):
                for row in rows:
                    row.update({name: to_text(row.get(name)) for name in as_text})
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def to_text(value: Any) -> str | None:
    """Return a value as text: a text as it is, anything else as JSON, nothing as nothing."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


WRITERS = {JSONL: _open_jsonl, ".csv": _open_csv, ".parquet": _open_parquet}


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
        self._stream = stream
        self._shown: list[str] = []

    def __call__(self, reject: RecordError) -> None:
        """Take one rejected record."""
        self.count += 1
        if len(self._shown) < SHOWN_REJECTS:
            self._shown.append(str(reject))
        if self._stream is not None:
            entry = {"file": reject.file, "line": reject.line, "id": reject.case_id, "reason": reject.reason}
            self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def describe(self) -> str:
        """Return the first rejects as text, one a line."""
        more = [f"... and {self.count - len(self._shown)} more"] if self.count > len(self._shown) else []
        return "\n".join([*self._shown, *more])


@contextmanager
def open_rejects(path: Path | None, *, force: bool = False) -> Iterator[Rejects]:
    """Yield a collector of rejects, and write them to a file when all went well and there are any.

    The file names file, line, id and reason of each, never the text. One of an earlier run goes when there are none.

    Raises:
        OutputError: the file exists and `force` is not given.
    """
    refuse_existing(path, force=force)
    if path is None:
        yield Rejects()
        return
    # There may be as many rejects as records: beyond a few they wait in a file without a name.
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES, mode="w+", encoding="utf-8", dir=str(path.parent)) as stream:
        rejects = Rejects(path, stream)
        yield rejects
        if not rejects.count:
            path.unlink(missing_ok=True)
            return
        stream.seek(0)
        with replace_file(path, force=True) as temporary, temporary.open("w", encoding="utf-8") as file:
            shutil.copyfileobj(stream, file)


def name_rejects(output: Path) -> Path:
    """Return the name of the rejects file that belongs to an output."""
    return output.with_name(f"{output.stem}.rejects.jsonl")
