"""A run that can be gone on with: predictions are set aside line by line until the last is there.

::

    .NAME.part       the lines written so far, one JSON object each
    .NAME.part.json  what the run is: model, input, options

Both stand beside the target NAME and are gone when it is complete. After a crash the lines that are
whole are kept, and the run goes on behind them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tipnlp.errors import OutputError, TipnlpError, UsageError, WorkerError
from tipnlp.reading import STDIN, find_sources
from tipnlp.writing import JSONL, check_target, open_writer, refuse_existing, write_text


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What must be the same for a run to be gone on with.

    Attributes:
        model: the fingerprint of the model.
        inputs: path, size and time of change (nanoseconds) of every input file.
        options: what else decides the output.
    """

    model: str
    inputs: Sequence[tuple[str, int, int]]
    options: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the description as text; two runs are the same when it is."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


class OpenRun:
    """The lines of a run, while it is under way."""

    def __init__(self, stream: IO[bytes], done: int) -> None:
        self._stream = stream
        self.done = done
        """How many lines an earlier try has left."""

    def write(self, line: bytes) -> None:
        """Add one line, without its end."""
        self._stream.write(line + b"\n")


def describe_run(model: str, inputs: Sequence[str], options: Mapping[str, Any]) -> RunDescription:
    """Describe a run over input files.

    Raises:
        InputError: a file is missing, or of an unknown kind.
    """
    files = [source.path for source in find_sources(inputs)]
    stats = [(str(path), path.stat()) if str(path) != STDIN else (STDIN, None) for path in files]
    listed = [(name, stat.st_size, stat.st_mtime_ns) if stat else (name, 0, 0) for name, stat in stats]
    return RunDescription(model, listed, dict(options))


@contextmanager
def open_run(target: Path, run: RunDescription, *, resume: bool = False, force: bool = False) -> Iterator[OpenRun]:
    """Yield an open run, and put its lines in place of the target when all went well.

    What a crash leaves, ours or that of a worker, can be gone on with; any other error leaves nothing.

    Raises:
        UsageError: an earlier run to the same target was another one, or standard input was to be resumed.
        OutputError: the target exists, or an earlier run is unfinished, and neither `force` nor `resume` is given.
    """
    check_target(target)
    part, note = _name_parts(target)
    if resume and any(name == STDIN for name, _, _ in run.inputs):
        raise UsageError("standard input cannot be read a second time: --resume needs files")
    refuse_existing(target, force=force)
    done = _prepare_part(part, note, run, resume=resume, force=force)
    try:
        with part.open("ab") as stream:
            yield OpenRun(stream, done)
        _finish_run(part, target, force=force)
        note.unlink()
    except WorkerError:
        raise
    except TipnlpError:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        raise


def _name_parts(target: Path) -> tuple[Path, Path]:
    part = target.with_name(f".{target.name}.part")
    return part, part.with_name(f"{part.name}.json")


def _prepare_part(part: Path, note: Path, run: RunDescription, *, resume: bool, force: bool) -> int:
    """Return how many whole lines are kept from an earlier try."""
    if part.exists() and note.exists() and resume:
        if note.read_text(encoding="utf-8") != run.to_json():
            raise UsageError(
                f"{part}: the unfinished run had another model, other input or other options:"
                " repeat it as it was, or start afresh with --force and without --resume"
            )
        return _cut_last_line(part)
    if part.exists() and not (force or resume):
        raise OutputError(f"{part}: a run is unfinished: go on with --resume, or start afresh with --force")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"")
        write_text(note, run.to_json(), force=True)
    except OSError as error:
        raise OutputError(f"{part}: {error.strerror}") from None
    return 0


def _cut_last_line(part: Path) -> int:
    """Cut off what stands behind the last end of a line; return the number of lines."""
    with part.open("rb+") as stream:
        lines = end = 0
        for line in stream:
            if line.endswith(b"\n"):
                lines += 1
                end += len(line)
        stream.truncate(end)
    return lines


def _finish_run(part: Path, target: Path, *, force: bool) -> None:
    if target.suffix.lower() == JSONL:
        part.chmod(0o644)
        part.replace(target)
        return
    with open_writer(target, force=force) as write, part.open("rb") as stream:
        for record in map(json.loads, stream):
            write(record)
    part.unlink()
