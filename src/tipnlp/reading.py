"""Reading cases from files: one row reader a format, all of them streaming."""

from __future__ import annotations

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
from typing import Any, BinaryIO, NamedTuple

from tipnlp.cases import Case, build_case, is_unicode
from tipnlp.errors import InputError, MissingExtraError, RecordError

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


class LocatedCase(NamedTuple):
    """A case and where it was read."""

    file: str
    line: int
    case: Case


def read_cases(
    inputs: Sequence[str | Path],
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
        on_reject: called for each record that cannot be used; without it the first one raises.

    Raises:
        InputError: a file is missing, or of an unknown kind, or cannot be decoded.
        RecordError: a record cannot be used and there is no `on_reject`.
    """
    located = read_located_cases(inputs, labelled=labelled, encoding=encoding, on_reject=on_reject)
    return map(itemgetter(2), located)


def read_located_cases(
    inputs: Sequence[str | Path],
    *,
    labelled: bool = False,
    encoding: str = DEFAULT_ENCODING,
    on_reject: RejectHandler | None = None,
) -> Iterator[LocatedCase]:
    """Read cases as `read_cases` does, each with its file and line.

    Args and errors are those of `read_cases`.
    """
    for file, rows in _open_inputs(inputs, encoding):
        for line, row in rows:
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                yield LocatedCase(file, line, build_case(row, labelled=labelled))
            except ValueError as error:
                case_id = row.get("id") if isinstance(row, Mapping) else None
                reject = RecordError(file, line, str(error), str(case_id) if case_id else None)
                if on_reject is None:
                    raise reject from None
                on_reject(reject)


def read_records(inputs: Sequence[str | Path], *, encoding: str = DEFAULT_ENCODING) -> Iterator[Mapping[str, Any]]:
    """Read records as they are, for example predictions, from the same kinds of files.

    Raises:
        InputError: a file cannot be read.
        RecordError: a record cannot be read.
    """
    for file, rows in _open_inputs(inputs, encoding):
        for line, row in rows:
            if isinstance(row, str):
                raise RecordError(file, line, row)
            yield row


def _open_inputs(inputs: Sequence[str | Path], encoding: str) -> Iterator[tuple[str, Iterable[Row]]]:
    for source in find_sources(inputs):
        if str(source.path) == STDIN:
            yield "<stdin>", read_jsonl(sys.stdin.buffer, encoding)
        else:
            yield str(source.path), _read_file(source, encoding)


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """List the files behind the inputs; files of a folder come sorted by name.

    Raises:
        InputError: an input is missing or of a kind that is not read.
    """
    sources: list[Source] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in READERS and p.is_file())
            if not inside:
                raise InputError(f"{path}: no case files in this folder (looked for {' '.join(READERS)})")
            sources.extend(Source(p, p.relative_to(path).as_posix()) for p in inside)
        elif str(given) == STDIN or path.suffix.lower() in READERS:
            sources.append(Source(path, path.name))
        else:
            raise InputError(f"{path}: unknown kind of file, expected {' '.join(READERS)} or a folder")
    for source in sources:
        if str(source.path) != STDIN and not source.path.is_file():
            raise InputError(f"{source.path}: no such file")
    return sources


def _read_file(source: Source, encoding: str) -> Iterator[Row]:
    reader = READERS[source.path.suffix.lower()]
    try:
        with source.path.open("rb") as stream:
            yield from reader(stream, encoding, source.name)
    except OSError as error:
        raise InputError(f"{source.path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source.path}: not {error.encoding}: name its encoding, for example --encoding cp1252"
        ) from None
    except LookupError:
        raise InputError(f"unknown encoding {encoding!r}: try utf-8, utf-16, cp1252 or latin-1") from None
    except csv.Error as error:
        raise InputError(f"{source.path}: {error}") from None


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
    except ArrowException as error:
        raise InputError(f"{name}: not a Parquet file that can be read ({type(error).__name__})") from None


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
