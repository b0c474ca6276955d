"""Reading cases from files: one row reader a format, all of them streaming."""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from tipnlp.cases import Case, build_case, escape_halves
from tipnlp.errors import FileError, InputError, MissingExtraError, RecordError

STDIN = "-"

# utf-8-sig reads UTF-8 with and without a byte order mark.
DEFAULT_ENCODING = "utf-8-sig"
UTF_8 = ("utf-8", "utf-8-sig")
DELIMITERS = ",;\t"
PARQUET_ROWS = 1024
READ_BYTES = 1 << 18


# A judgment in one CSV cell is longer than the csv module's own limit of 128 KiB.
csv.field_size_limit(2**31 - 1)

Row = tuple[int, "bytes | Mapping[str, Any] | str"]
"""Line number, and the record, perhaps as a line of JSON in UTF-8, or the reason why there is none."""

RejectHandler = Callable[[RecordError], None]

Usable = TypeVar("Usable")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, and the name its cases go by when the file is the case."""

    path: Path
    name: str


Input = str | Path | Source
"""A file or folder, `-`, or a file that `find_sources` has listed."""


class LocatedCase(NamedTuple):
    """A case and where it was read."""

    file: str
    line: int
    case: Case


def read_cases(
    inputs: Sequence[Input],
    *,
    labelled: bool = False,
    encoding: str = DEFAULT_ENCODING,
    on_reject: RejectHandler | None = None,
) -> Iterator[Case]:
    """Read cases one after another from files, folders, or `-` (JSONL on standard input).

    Args:
        inputs: `.jsonl`, `.csv` (`,` `;` or tab), `.parquet` (extra `parquet`), `.txt`, folders of these.
        labelled: whether every record must have a valid label.
        encoding: of the text formats.
        on_reject: called for each record that cannot be used, and for a file that cannot be read to its end
            (`FileError`: the next file is read); without it the first one raises.

    Raises:
        InputError: a file is missing, or of an unknown kind.
        RecordError: a record cannot be used and there is no `on_reject`.
        FileError: a file cannot be read, and there is no `on_reject`, or no case in any other.
    """
    located = read_located_cases(inputs, labelled=labelled, encoding=encoding, on_reject=on_reject)
    return map(itemgetter(2), located)


def read_located_cases(
    inputs: Sequence[Input],
    *,
    labelled: bool = False,
    encoding: str = DEFAULT_ENCODING,
    on_reject: RejectHandler | None = None,
) -> Iterator[LocatedCase]:
    """Read cases as `read_cases` does, each with its file and line.

    Args and errors are those of `read_cases`.
    """
    sieve = Sieve(on_reject)
    for raw in read_raw(inputs, encoding=encoding):
        for case in sieve.sift([raw.build(labelled=labelled)]):
            yield LocatedCase(raw.file, raw.line, case)
    sieve.finish()


def read_records(inputs: Sequence[Input], *, encoding: str = DEFAULT_ENCODING) -> Iterator[Mapping[str, Any]]:
    """Read records as they are, for example predictions, from the same kinds of files.

    Raises:
        InputError: a file cannot be read.
        RecordError: a record cannot be read.
    """
    return Sieve(None).sift(raw.parse() for raw in read_raw(inputs, encoding=encoding))


class RawRecord(NamedTuple):
    """A record as it stands in its file, where it stands, or why there is none.

    To find where a line ends takes a small part of the time that it takes to make a case of it: who reads for
    several processes leaves the rest to them.
    """

    file: str
    line: int
    content: bytes | Mapping[str, Any] | RecordError

    def parse(self) -> Mapping[str, Any] | RecordError:
        """Return the record, or why there is none."""
        if not isinstance(self.content, bytes):
            return self.content
        try:
            record = json.loads(self.content.decode(DEFAULT_ENCODING))
        except UnicodeDecodeError:
            reason = "not UTF-8, or not of the encoding that was named: try for example --encoding cp1252"
            return RecordError(self.file, self.line, reason)
        except (ValueError, RecursionError) as error:
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            return RecordError(self.file, self.line, f"not a JSON object{column}")
        return record if isinstance(record, dict) else RecordError(self.file, self.line, "not a JSON object")

    def build(self, *, labelled: bool = False) -> Case | RecordError:
        """Return the case, or why there is none."""
        record = self.parse()
        if isinstance(record, RecordError):
            return record
        try:
            return build_case(record, labelled=labelled)
        except ValueError as error:
            case_id = record.get("id")
            return RecordError(self.file, self.line, str(error), escape_halves(str(case_id)) if case_id else None)


class Sieve:
    """Lets through what can be used, and hands the rest to `on_reject`; without that the first of the rest raises."""

    def __init__(self, on_reject: RejectHandler | None) -> None:
        self._on_reject = on_reject
        self._used = False
        self._broken: FileError | None = None

    def sift(self, found: Iterable[Usable | RecordError]) -> Iterator[Usable]:
        """Yield what can be used."""
        for one in found:
            if not isinstance(one, RecordError):
                self._used = True
                yield one
            elif self._on_reject is None:
                raise one
            else:
                self._on_reject(one)
                if isinstance(one, FileError):
                    self._broken = self._broken or one

    def finish(self) -> None:
        """Raise `FileError` when a file could not be read to its end, and nothing at all could be used."""
        if self._broken and not self._used:
            raise self._broken


def read_raw(inputs: Sequence[Input], *, encoding: str = DEFAULT_ENCODING) -> Iterator[RawRecord]:
    """Read every record with file and line, without making cases of them.

    Raises:
        InputError: a file is missing, or of an unknown kind.
    """
    _check_encoding(encoding)
    for source in find_sources(inputs):
        file = "<stdin>" if str(source.path) == STDIN else escape_halves(str(source.path))
        line = 0
        try:
            for line, row in _read_source(source, encoding):
                yield RawRecord(file, line, RecordError(file, line, row) if isinstance(row, str) else row)
        except (OSError, UnicodeDecodeError, csv.Error, InputError) as error:
            broken = FileError(file, line, f"{_explain(error)}; nothing was read from here on")
            # Who can try again must know whether it was the disk.
            broken.__cause__ = error if isinstance(error, OSError) else None
            yield RawRecord(file, line, broken)


def _check_encoding(encoding: str) -> None:
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):
        raise InputError(f"unknown encoding {encoding!r}: try utf-8, utf-16, cp1252 or latin-1") from None


def _read_source(source: Source, encoding: str) -> Iterator[Row]:
    if str(source.path) == STDIN:
        yield from read_jsonl(sys.stdin.buffer, encoding)
        return
    with source.path.open("rb", buffering=READ_BYTES) as stream:
        yield from READERS[source.path.suffix.lower()](stream, encoding, source.name)


def _explain(error: Exception) -> str:
    """Return why a file cannot be read, and the way out where there is one."""
    if isinstance(error, UnicodeDecodeError):
        return f"not {error.encoding}: name its encoding, for example --encoding cp1252"
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    return str(error)


def find_sources(inputs: Sequence[Input]) -> list[Source]:
    """List the files behind the inputs; files of a folder and its subfolders come sorted by name.

    Raises:
        InputError: an input is missing, cannot be looked at, or is of a kind that is not read.
    """
    try:
        sources = [source for given in inputs for source in _list_sources(given)]
        missing = [source.path for source in sources if str(source.path) != STDIN and not source.path.is_file()]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    if missing:
        raise InputError(f"{missing[0]}: no such file")
    return sources


def _list_sources(given: Input) -> list[Source]:
    if isinstance(given, Source):
        return [given]
    path = Path(given)
    if path.is_dir():
        inside = sorted(_walk_folder(path))
        if not inside:
            raise InputError(f"{path}: no case files in this folder (looked for {' '.join(READERS)})")
        return [Source(p, escape_halves(p.relative_to(path).as_posix())) for p in inside]
    if str(given) != STDIN and path.suffix.lower() not in READERS:
        raise InputError(f"{path}: unknown kind of file, expected {' '.join(READERS)} or a folder")
    return [Source(path, escape_halves(path.name))]


def _walk_folder(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield the case files of a folder and its subfolders; links are followed, but not back to a folder above."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _walk_folder(path, above | {here})
        elif path.suffix.lower() in READERS:
            yield path


def read_jsonl(stream: BinaryIO, encoding: str, name: str = "") -> Iterator[Row]:
    """Read lines, as UTF-8; blank ones are passed over."""
    lines: Iterable[bytes] = stream
    if codecs.lookup(encoding).name not in UTF_8:
        # A byte that is not of the encoding stays as it is, and is not of UTF-8 either: only its own line is lost.
        decoded = _decode_lines(stream, encoding, errors="surrogateescape")
        lines = (line.encode(errors="surrogateescape") for line in decoded)
    for number, line in enumerate(lines, start=1):
        if not line.isspace():
            yield number, line


def read_csv(stream: BinaryIO, encoding: str, name: str = "") -> Iterator[Row]:
    """Read comma, semicolon or tab separated rows below a header line."""
    lines = _decode_lines(stream, encoding)
    header_line = next(lines, "")
    delimiter = max(DELIMITERS, key=header_line.count)
    reader = csv.reader(chain([header_line], lines), delimiter=delimiter)
    header = [cell.strip() for cell in next(reader, [])]
    while True:
        line = reader.line_num + 1
        row = next(reader, None)
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(header):
            yield line, f"{len(row)} cells below a header of {len(header)}"
        else:
            yield line, dict(zip(header, row, strict=True))


def _decode_lines(stream: BinaryIO, encoding: str, errors: str = "strict") -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding=encoding, errors=errors, newline="")
    try:
        yield from text
    finally:
        # Leave the stream to its owner; a reader abandoned half-way may find it closed already.
        with suppress(ValueError):
            text.detach()


def read_parquet(stream: BinaryIO, encoding: str, name: str = "") -> Iterator[Row]:
    """Read the rows of a Parquet file, a few at a time."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    try:
        file = ParquetFile(stream)
        number = 0
        for batch in file.iter_batches(batch_size=PARQUET_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"not a Parquet file that can be read ({type(error).__name__})") from None


def read_txt(stream: BinaryIO, encoding: str, name: str = "") -> Iterator[Row]:
    """Read a whole text file as one case; its id is the file's name."""
    yield 1, {"id": name, "text": stream.read().decode(encoding)}


READERS: dict[str, Callable[[BinaryIO, str, str], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".txt": read_txt,
}
