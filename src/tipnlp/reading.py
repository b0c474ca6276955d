"""Reading cases from files: one row reader a format, all of them streaming."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tipnlp.cases import Case, build_case, escape_halves, is_unicode
from tipnlp.errors import FileError, InputError, MissingExtraError, RecordError

STDIN = "-"

# utf-8-sig reads UTF-8 with and without a byte order mark.
DEFAULT_ENCODING = "utf-8-sig"
DELIMITERS = ",;\t"
PARQUET_ROWS = 1024


# A judgment in one CSV cell is longer than the csv module's own limit of 128 KiB.
csv.field_size_limit(2**31 - 1)

Row = tuple[int, "Mapping[str, Any] | str"]
"""Line number, and the record or the reason why there is none."""

RejectHandler = Callable[[RecordError], None]


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
    usable, broken = False, None
    for file, line, row in _read_rows(inputs, encoding):
        found = _build_case(file, line, row, labelled=labelled)
        if isinstance(found, Case):
            usable = True
            yield LocatedCase(file, line, found)
        elif on_reject is None:
            raise found
        else:
            on_reject(found)
            if isinstance(found, FileError):
                broken = broken or found
    if broken and not usable:
        raise broken


def _build_case(file: str, line: int, row: Mapping[str, Any] | RecordError, *, labelled: bool) -> Case | RecordError:
    """Return the case of a row, or why there is none."""
    if isinstance(row, RecordError):
        return row
    try:
        return build_case(row, labelled=labelled)
    except ValueError as error:
        case_id = row.get("id")
        return RecordError(file, line, str(error), escape_halves(str(case_id)) if case_id else None)


def read_records(inputs: Sequence[Input], *, encoding: str = DEFAULT_ENCODING) -> Iterator[Mapping[str, Any]]:
    """Read records as they are, for example predictions, from the same kinds of files.

    Raises:
        InputError: a file cannot be read.
        RecordError: a record cannot be read.
    """
    for _, _, row in _read_rows(inputs, encoding):
        if isinstance(row, RecordError):
            raise row
        yield row


def _read_rows(inputs: Sequence[Input], encoding: str) -> Iterator[tuple[str, int, Mapping[str, Any] | RecordError]]:
    """Yield every record with file and line; what is none, or cannot be read, as the error that says so."""
    _check_encoding(encoding)
    for source in find_sources(inputs):
        file = "<stdin>" if str(source.path) == STDIN else escape_halves(str(source.path))
        line = 0
        try:
            for line, row in _read_source(source, encoding):
                yield file, line, RecordError(file, line, row) if isinstance(row, str) else row
        except (OSError, UnicodeDecodeError, csv.Error, InputError) as error:
            yield file, line, FileError(file, line, f"{_explain(error)}; nothing was read from here on")


def _check_encoding(encoding: str) -> None:
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):
        raise InputError(f"unknown encoding {encoding!r}: try utf-8, utf-16, cp1252 or latin-1") from None


def _read_source(source: Source, encoding: str) -> Iterator[Row]:
    if str(source.path) == STDIN:
        yield from read_jsonl(sys.stdin.buffer, encoding)
        return
    with source.path.open("rb") as stream:
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
    """Read one JSON object a line; blank lines are passed over."""
    # A byte that is not of the encoding becomes a lone surrogate: only its own line is lost.
    for number, line in enumerate(_decode_lines(stream, encoding, errors="surrogateescape"), start=1):
        if line.isspace():
            continue
        if not is_unicode(line):
            yield number, f"not {encoding}: name the encoding, for example --encoding cp1252"
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            yield number, f"not a JSON object{column}"
        else:
            yield number, record if isinstance(record, dict) else "not a JSON object"


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
