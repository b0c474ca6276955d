"""A run that can be gone on with: predictions are set aside line by line until the last is there.

Whatever goes wrong, the lines that are whole are kept in the part beside the target (`tipnlp.parts`), and the run
goes on behind them; where there is none yet, nothing is left.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tipnlp.cases import escape_halves
from tipnlp.errors import InputError, OutputError, RecordError, UsageError
from tipnlp.parts import Note, Part, RunDescription
from tipnlp.reading import READERS, STDIN, RawRecord, Sieve, Source
from tipnlp.writing import JSONL, check_target, guard_disk, refuse_existing, replace_file, write_table


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
        last = deque(islice(sieve.sift(record.build() for record in records), self.done), maxlen=1)
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
    part = Part(target)
    with guard_disk(part.path), part.hold():
        found = part.find_begun(run, resume=resume, force=force)
        force = force or (found is not None and found.forced)
        if found and target.exists() and found.result == list(_stamp(target)):
            # Killed when only part and note were left to be removed: the input is read again for its rejects alone.
            with part.path.open("ab") as stream:
                yield OpenRun(stream, done=sys.maxsize, force=True)
            part.remove()
            return
        _refuse_target(target, force=force)
        done, last_id = part.cut_last_line() if found else part.empty()
        note = Note(run.to_record(), force)
        note.save(part.note)
        with _settle_failure(part, run, resumed=found is not None), guard_disk(target):
            with part.path.open("ab") as stream:
                # Rejects that are there are those of the earlier try, or it could not have begun.
                yield OpenRun(stream, done, last_id, force=force or done > 0)
            _name_result(part, note)


def _refuse_target(target: Path, *, force: bool) -> None:
    """Raise `OutputError` where the target is there and must not be replaced."""
    if target.exists() and not force:
        raise OutputError(f"{target} exists: move it away, or pass --force along with --resume to replace it")


@contextmanager
def _settle_failure(part: Part, run: RunDescription, *, resumed: bool) -> Iterator[None]:
    """Add to an error what becomes of the lines that are done: they are kept, if somebody can go on with them."""
    try:
        yield
    except Exception as error:
        # `--strict`: the input will be put right, and then it is another one.
        if isinstance(error, RecordError) and not resumed:
            part.remove()
        if part.has_line():
            error.add_note(f"what is done is kept in {part.path}: {run.way_on}")
        raise


def _name_result(part: Part, note: Note) -> None:
    """Give the lines the name of the target, as they are or as a table, and remove what is left.

    The note says before what will be there: a run that is killed in between can tell its own output.
    """
    target = part.target
    _refuse_target(target, force=note.forced)
    if target.suffix.lower() == JSONL:
        replace(note, result=_stamp(part.path)).save(part.note)
        part.path.replace(target)
        part.note.unlink(missing_ok=True)
        return
    with replace_file(target, force=note.forced) as temporary:
        with part.path.open("rb") as lines:
            write_table(temporary, target.suffix.lower(), lines)
        replace(note, result=_stamp(temporary)).save(part.note)
    part.remove()
