"""What an unfinished run leaves beside its target NAME, and who may go on with it.

::

    .NAME.part       the lines written so far, one JSON object each
    .NAME.part.json  the note: what the run is, whether it may replace NAME, what NAME will be

One process at a time holds a part. A part without a whole line is nothing that anybody would miss.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tipnlp.errors import OutputError, UsageError
from tipnlp.reading import STDIN
from tipnlp.writing import remove_leftovers, write_text

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
class Note:
    """What stands in the note.

    Attributes:
        run: the description of the run.
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


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a run, its note, and the target that it stands beside."""

    target: Path

    @property
    def path(self) -> Path:
        """Where the lines are."""
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def note(self) -> Path:
        """Where the note is."""
        return self.target.with_name(f".{self.target.name}.part.json")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes from it; leave nothing when something goes wrong and no line is there.

        Raises:
            OutputError: another process has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            lock_file(stream, self.path)
            remove_leftovers(self.target)
            remove_leftovers(self.note)
            try:
                yield
            except BaseException:
                if not self.has_line():
                    self.remove()
                raise

    def has_line(self) -> bool:
        """Return whether a whole line is there."""
        if not self.path.exists():
            return False
        with self.path.open("rb") as stream:
            return stream.readline().endswith(b"\n")

    def find_begun(self, run: RunDescription, *, resume: bool, force: bool) -> Note | None:
        """Return the note of the run that is to be gone on with, where one was begun.

        Raises:
            UsageError: it was another run.
            OutputError: its note is lost, or its lines would be thrown away unasked.
        """
        record = run.to_record()
        found = Note.read(self.note) if resume else None
        if found and found.run == record:
            return found
        if not self.has_line() or (force and not resume):
            return None
        if not resume:
            raise OutputError(f"{self.path}: a run is unfinished: {run.way_on}, or start afresh with --force")
        if found is None:
            raise OutputError(
                f"{self.path}: {self.note.name}, which says of what run it is, is missing or damaged:"
                " start afresh with --force and without --resume"
            )
        others = [words for name, words in DIFFERENCES.items() if found.run.get(name) != record[name]]
        raise UsageError(
            f"{self.path}: the unfinished run had {' and '.join(others)}:"
            " repeat it as it was, or start afresh with --force and without --resume"
        )

    def cut_last_line(self) -> tuple[int, str | None]:
        """Cut off what stands behind the last end of a line; return the number of lines, and the id in the last."""
        lines, end, last = 0, 0, b""
        with self.path.open("rb+") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    lines, end, last = lines + 1, end + len(line), line
            stream.truncate(end)
        return lines, json.loads(last)["id"] if lines else None

    def empty(self) -> tuple[int, None]:
        """Throw away what is there; return what `cut_last_line` would."""
        self.path.write_bytes(b"")
        return 0, None

    def remove(self) -> None:
        """Remove the lines, then the note, which tells what they are as long as they are there."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def lock_file(stream: IO[bytes], path: Path) -> None:
    """Keep other processes from a file that is open, until it is closed.

    Raises:
        OutputError: another process has it.
    """
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
