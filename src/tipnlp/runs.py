"""A run that can be gone on with: predictions are set aside line by line until the last is there.

::

    .NAME.part       the lines written so far, one JSON object each
    .NAME.part.json  what the run is: model, tipnlp, input, options; whether it may replace NAME; what NAME will be

Both stand beside the target NAME and are gone when it is complete. Whatever goes wrong, the lines that are whole are
kept, and the run goes on behind them; where there is none yet, nothing is left. One process at a time has a part.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tipnlp.cases import escape_halves
from tipnlp.errors import InputError, OutputError, RecordError, UsageError
from tipnlp.reading import READERS, STDIN, RawRecord, Sieve, Source
from tipnlp.writing import (
    JSONL,
    check_target,
    guard_disk,
    refuse_existing,
    remove_leftovers,
    replace_file,
    write_table,
    write_text,
)

if sys.platform != "win32":
    import fcntl


@dataclass(frozen=True, slots=True)
class RunDescription:
    """What must be the same for a run to be gone on with.

    Attributes:
        model: the fingerprint of the model.
        tipnlp: the version that predicts.
        inputs: path, size and time of change (nanoseconds) of every input file.
        options: what else decides the output.
    """

    model: str
    tipnlp: str
    inputs: Sequence[tuple[str, int, int]]
    options: Mapping[str, Any]

    @property
    def reads_stdin(self) -> bool:
        """Whether standard input is read, which cannot be done twice."""
        return any(name == STDIN for name, _, _ in self.inputs)

    @property
    def way_on(self) -> str:
        """What to do when the run was broken off."""
        if self.reads_stdin:
            return "standard input cannot be read a second time, so rename it to keep its lines"
        return "go on with --resume"

    def to_record(self) -> dict[str, Any]:
        """Return it as it comes back from a file."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return record


# How a difference between two runs is told.
DIFFERENCES = {
    "model": "another model",
    "tipnlp": "another version of tipnlp",
    "inputs": "other input",
    "options": "other options",
}


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The target of a run and what stands beside it."""

    target: Path

    @property
    def part(self) -> Path:
        """The lines written so far."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def note(self) -> Path:
        """What the run is."""
        return self.target.with_name(f".{self.target.name}.part.json")


@dataclass(frozen=True, slots=True)
class Note:
    """What the run is, as it stands in a file.

    Attributes:
        run: its description.
        forced: whether it may replace the target.
        result: size and time of change of the complete output, known from just before it gets its name.
    """

    run: Mapping[str, Any]
    forced: bool
    result: Sequence[int] | None = None

    def save(self, path: Path) -> None:
        """Write it."""
        write_text(path, json.dumps(asdict(self), ensure_ascii=False), force=True)

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """Read it; return nothing when there is none, or it is damaged."""
        try:
            note = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return note if isinstance(note.run, dict) else None


@dataclass(slots=True)
class OpenRun:
    """The lines of a run, while it is under way.

    Attributes:
        stream: where they go.
        done: how many an earlier try has left.
        last_id: the case of the last of these.
        force: whether files that belong to the output may be replaced.
    """

    stream: IO[bytes]
    done: int = 0
    last_id: str | None = None
    force: bool = False

    def write(self, line: bytes) -> None:
        """Add one line, without its end."""
        self.stream.write(line + b"\n")

    def pass_over(self, records: Iterator[RawRecord], sieve: Sieve) -> Iterator[RawRecord]:
        """Leave out the records that an earlier try has done; they are read again, for their rejects.

        Raises:
            InputError: they are not those that it has done.
        """
        done = islice(sieve.sift(record.build() for record in records), self.done)
        last = deque(done, maxlen=1)
        if self.last_id is not None and [case.id for case in last] != [self.last_id]:
            raise InputError(
                "the input does not give the cases again that are done: was a file unreadable then, or is one now?"
            )
        yield from records


def describe_run(model: str, sources: Sequence[Source], options: Mapping[str, Any]) -> RunDescription:
    """Describe a run over input files."""
    listed = [(STDIN, 0, 0) if str(s.path) == STDIN else (escape_halves(str(s.path)), *_stamp(s.path)) for s in sources]
    return RunDescription(model, version("tipnlp"), listed, dict(options))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def check_places(inputs: Sequence[str], sources: Sequence[Source], targets: Sequence[Path]) -> None:
    """See that what is written takes the place of nothing that is read, now or by the next run.

    Raises:
        UsageError: two targets are one, or a target is an input, or lies in an input folder.
    """
    if len({target.resolve() for target in targets}) < len(targets):
        raise UsageError(f"{targets[0]} is named for the output and for the rejects: name two files")
    folders = [Path(given).resolve() for given in inputs if Path(given).is_dir()]
    for target in targets:
        if target.exists() and any(str(s.path) != STDIN and s.path.samefile(target) for s in sources):
            raise UsageError(f"{target} is an input: choose another name for what is written")
        readable = target.suffix.lower() in READERS
        if readable and any(target.resolve().is_relative_to(folder) for folder in folders):
            raise UsageError(f"{target} lies in an input folder, and would be read as cases: choose another place")


@contextmanager
def open_stdout(*, resume: bool = False) -> Iterator[OpenRun]:
    """Yield a run whose lines go to standard output.

    Raises:
        UsageError: it was to be resumed.
    """
    if resume:
        raise UsageError("what went to standard output cannot be gone on with: --resume needs a file (-o)")
    yield OpenRun(sys.stdout.buffer)
    sys.stdout.flush()


@contextmanager
def open_run(target: Path, run: RunDescription, *, resume: bool = False, force: bool = False) -> Iterator[OpenRun]:
    """Yield an open run, and put its lines in place of the target when all went well.

    Raises:
        UsageError: an earlier run to the same target was another one, or standard input was to be resumed.
        OutputError: the target exists, or an earlier run is unfinished, and neither `force` nor `resume` is given;
            or the target cannot be written, or another process is writing it.
        MissingExtraError: the library that writes the target is not installed.
    """
    check_target(target)
    if resume and run.reads_stdin:
        raise UsageError("standard input cannot be read a second time: --resume needs files")
    refuse_existing(target, force=force or resume)
    files = RunFiles(target)
    with guard_disk(files.part), _hold_part(files):
        found = _find_begun(files, run, resume=resume, force=force)
        force = force or (found is not None and found.forced)
        if found and target.exists() and found.result == list(_stamp(target)):
            # Killed when only part and note were left to be removed: the input is read again for its rejects alone.
            with files.part.open("ab") as stream:
                yield OpenRun(stream, done=sys.maxsize, force=True)
            files.part.unlink(missing_ok=True)
        else:
            _refuse_target(target, force=force)
            done, last_id = _cut_last_line(files.part) if found else _start_afresh(files.part)
            note = Note(run.to_record(), force)
            note.save(files.note)
            with _settle_failure(files, run, resumed=found is not None), guard_disk(target):
                with files.part.open("ab") as stream:
                    # Rejects that are there are those of the earlier try, or it could not have begun.
                    yield OpenRun(stream, done, last_id, force=force or done > 0)
                _name_result(files, note)
        files.note.unlink(missing_ok=True)


@contextmanager
def _hold_part(files: RunFiles) -> Iterator[None]:
    """Keep other processes from a part; leave nothing when something goes wrong and no line is there.

    Raises:
        OutputError: another process has it.
    """
    part = files.part
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as stream:
        _lock_file(stream, part)
        remove_leftovers(files.target)
        remove_leftovers(files.note)
        try:
            yield
        except BaseException:
            if not _has_line(part):
                part.unlink(missing_ok=True)
                files.note.unlink(missing_ok=True)
            raise


def _lock_file(stream: IO[bytes], path: Path) -> None:
    if sys.platform == "win32":
        # There a file that is open cannot be renamed, and one that is not cannot be locked.
        stream.close()
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held = False
    except OSError:
        # A disk that knows no locks.
        held = True
    else:
        # The process that had the lock may have given the file its final name meanwhile.
        held = path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat())
    if not held:
        raise OutputError(f"{path}: another process is writing to it: wait for its end")


def _has_line(part: Path) -> bool:
    """Return whether a whole line is there."""
    if not part.exists():
        return False
    with part.open("rb") as stream:
        return stream.readline().endswith(b"\n")


def _find_begun(files: RunFiles, run: RunDescription, *, resume: bool, force: bool) -> Note | None:
    """Return the note of the run that is to be gone on with, where one was begun.

    Raises:
        UsageError: it was another run.
        OutputError: its note is lost, or its lines would be thrown away unasked.
    """
    record = run.to_record()
    found = Note.read(files.note) if resume else None
    if found and found.run == record:
        return found
    if not _has_line(files.part) or (force and not resume):
        return None
    if not resume:
        raise OutputError(f"{files.part}: a run is unfinished: {run.way_on}, or start afresh with --force")
    if found is None:
        raise OutputError(
            f"{files.part}: {files.note.name}, which says of what run it is, is missing or damaged:"
            " start afresh with --force and without --resume"
        )
    others = [words for name, words in DIFFERENCES.items() if found.run.get(name) != record[name]]
    raise UsageError(
        f"{files.part}: the unfinished run had {' and '.join(others)}:"
        " repeat it as it was, or start afresh with --force and without --resume"
    )


def _refuse_target(target: Path, *, force: bool) -> None:
    """Raise `OutputError` where the target is there and must not be replaced."""
    if target.exists() and not force:
        raise OutputError(f"{target} exists: move it away, or pass --force along with --resume to replace it")


def _start_afresh(part: Path) -> tuple[int, None]:
    part.write_bytes(b"")
    return 0, None


def _cut_last_line(part: Path) -> tuple[int, str | None]:
    """Cut off what stands behind the last end of a line; return the number of lines, and the id in the last."""
    lines, end, last = 0, 0, b""
    with part.open("rb+") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                lines, end, last = lines + 1, end + len(line), line
        stream.truncate(end)
    return lines, json.loads(last)["id"] if lines else None


@contextmanager
def _settle_failure(files: RunFiles, run: RunDescription, *, resumed: bool) -> Iterator[None]:
    """Add to an error what becomes of the lines that are done."""
    try:
        yield
    except RecordError as error:
        # `--strict`: the input will be put right, and is another one then.
        if resumed:
            error.add_note(f"what is done is kept in {files.part}: {run.way_on}, without --strict")
        else:
            files.part.unlink()
        raise
    except Exception as error:
        if _has_line(files.part):
            error.add_note(f"what is done is kept in {files.part}: {run.way_on}")
        raise


def _name_result(files: RunFiles, note: Note) -> None:
    """Give the lines the name of the target, as they are or as a table.

    The note says before what will be there: a run that is killed in between can tell its own output.
    """
    target, part = files.target, files.part
    _refuse_target(target, force=note.forced)
    ending = check_target(target)
    if ending == JSONL:
        replace(note, result=_stamp(part)).save(files.note)
        part.replace(target)
        return
    with replace_file(target, force=note.forced) as temporary:
        with part.open("rb") as lines:
            write_table(temporary, ending, lines)
        replace(note, result=_stamp(temporary)).save(files.note)
    part.unlink()
