"""Input files as shards: what each becomes, and the record of what is finished.

::

    OUTPUT/_run.json                  model, options, and the parts that are finished
    OUTPUT/.run-TOKEN                 there while a run is under way: without it no worker gives a part its name
    OUTPUT/NAME.jsonl                 the predictions of the input NAME: complete or absent
    OUTPUT/NAME.rejects.jsonl         its records that could not be used, where there are any

NAME is the file's name with its ending, or its path below the input folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tipnlp.errors import InputError, OutputError, UsageError
from tipnlp.reading import DEFAULT_ENCODING, STDIN, Source, find_sources
from tipnlp.writing import guard_disk, name_rejects, write_text

RUN_FILE, MARK_PREFIX = "_run.json", ".run-"

# Raise when a `_run.json` of the old format would be read wrongly.
RUN_FORMAT = 1

# `_run.json` grows with the parts: writing it may take this share of the time, and never more than one write a second.
SAVING_SHARE = 0.05

Stamp = tuple[str, int, int]
"""Path, size and time of change (ns) of an input: what it takes to see that it is the same."""


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """What changes the content of a part: the options of `tipnlp predict`.

    Attributes:
        explain: add the evidence.
        with_text: keep the text.
        encoding: of the input files.
        strict: a file with a record that cannot be used gives no part.
    """

    explain: bool = False
    with_text: bool = False
    encoding: str = DEFAULT_ENCODING
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """What must be the same on the driver and on every worker, so that they predict the same."""

    tipnlp: str
    python: str
    lexicon: str


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a run share.

    Attributes:
        folder: the output.
        mark: the file in it that is there as long as the run is under way.
        model_folder, model: where the model is, and its fingerprint.
        options: what the parts hold.
        host: what every worker must be like.
    """

    folder: str
    mark: str
    model_folder: str
    model: str
    options: ShardOptions
    host: Host


@dataclass(frozen=True, slots=True)
class Shard:
    """One input file, and the part that is made of it."""

    source: Source
    part: Path
    stamp: Stamp
    job: Job


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a worker says of a shard: its counts, or why there is no part.

    Attributes:
        cases, rejects: records in the part, and those that could not be used.
        size: of the part, in bytes.
        failure: why the file cannot be predicted.
        waiting: the address of the worker, when it has no model yet.
    """

    cases: int = 0
    rejects: int = 0
    size: int = 0
    failure: str = ""
    waiting: str = ""


def name_sources(inputs: Sequence[str], output: Path) -> list[Source]:
    """List the input files, each with a name of its own.

    Raises:
        UsageError: `-`, two files of one name, or an input and the output within one another.
        InputError: an input is missing, or of an unknown kind.
    """
    if STDIN in inputs:
        raise UsageError("- (standard input) cannot be shared out to a cluster: name files or folders")
    folder = output.resolve()
    sources = find_sources(inputs)
    around = [path for path in map(Path, inputs) if path.is_dir() and folder.is_relative_to(path.resolve())]
    # A link in an input folder may lead into the output.
    inside = [source.path for source in sources if source.path.resolve().is_relative_to(folder)]
    for path in (*around, *inside):
        raise UsageError(f"{path} and {output} lie within one another: parts would be read as cases")
    named: dict[str, Source] = {}
    for source in sources:
        other = named.setdefault(source.name, source)
        if other is not source:
            raise UsageError(
                f"{other.path} and {source.path} would both become {source.name}.jsonl: rename one of them"
            )
    return list(named.values())


def build_shard(source: Source, job: Job) -> Shard:
    """Describe the work on one input file.

    Raises:
        InputError: it is gone.
    """
    path = source.path.absolute()
    with guard_disk(path, InputError):
        status = path.stat()
    part = Path(job.folder, f"{source.name}.jsonl")
    return Shard(Source(path, source.name), part, (str(path), status.st_size, status.st_mtime_ns), job)


@dataclass(slots=True)
class RunRecord:
    """`_run.json`: what is made with what, and which parts are finished.

    Attributes:
        folder: the output folder.
        head: format, model, version and options.
        parts: for the name of each finished input its stamp, the counts, and the size of the part.
        stale: names of parts of an earlier run that `force` gives up.
        token: tells this run from every other.
    """

    folder: Path
    head: Mapping[str, Any]
    parts: dict[str, dict[str, Any]]
    stale: Sequence[str] = ()
    token: str = field(default_factory=lambda: uuid4().hex)
    next_save: float = 0.0

    @property
    def mark(self) -> Path:
        """The file that is there as long as the folder is this run's."""
        return self.folder / f"{MARK_PREFIX}{self.token}"

    def holds_folder(self) -> bool:
        """Tell whether no other run has taken the folder over."""
        return self.mark.is_file()

    def is_finished(self, shard: Shard) -> bool:
        """Tell whether the part was finished and is there with its rejects, and its input is still the same."""
        entry = self.parts.get(shard.source.name)
        if entry is None or entry["input"] != list(shard.stamp):
            return False
        with guard_disk(shard.part):
            whole = shard.part.is_file() and shard.part.stat().st_size == entry["size"]
            return whole and (not entry["rejects"] or name_rejects(shard.part).is_file())

    def prepare_folder(self, remaining: Sequence[Shard]) -> None:
        """Take the folder over, and remove what is not finished: a part that is there shall be one to rely on."""
        for shard in remaining:
            self.parts.pop(shard.source.name, None)
        self.save()
        # The mark of an earlier run goes first: whatever its workers still finish gets no name after this.
        with guard_disk(self.mark):
            for path in self.folder.glob(f"{MARK_PREFIX}*"):
                path.unlink(missing_ok=True)
            self.mark.touch()
        stale = [Path(self.folder, f"{name}.jsonl") for name in self.stale]
        for part in (*stale, *(shard.part for shard in remaining)):
            for path in (part, name_rejects(part)):
                with guard_disk(path):
                    path.unlink(missing_ok=True)
        self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Remove the temporary files of workers that were killed."""
        # As `writing.replace_file` names them, and nothing else that may lie here.
        for path in self.folder.rglob(".*.json*.????????.part"):
            with guard_disk(path):
                path.unlink(missing_ok=True)

    @contextmanager
    def keep_saved(self) -> Iterator[None]:
        """Save the record and take the mark away when the work ends, in whatever way."""
        try:
            yield
        finally:
            if self.holds_folder():
                self.save()
                self.mark.unlink()
                self.remove_leftovers()

    def add_part(self, shard: Shard, result: ShardResult) -> None:
        """Take in a finished part."""
        entry = {"input": list(shard.stamp), "cases": result.cases, "rejects": result.rejects, "size": result.size}
        self.parts[shard.source.name] = entry
        if time.monotonic() >= self.next_save and self.holds_folder():
            self.save()

    def save(self) -> None:
        """Write the file."""
        start = time.monotonic()
        content = {**self.head, "parts": self.parts}
        path = self.folder / RUN_FILE
        with guard_disk(path):
            # In ASCII: a file's name may hold bytes that are no UTF-8.
            write_text(path, json.dumps(content, indent=1) + "\n", force=True)
        end = time.monotonic()
        self.next_save = end + max(1.0, (end - start) / SAVING_SHARE)


def open_record(folder: Path, head: Mapping[str, Any], *, resume: bool, force: bool) -> RunRecord:
    """Return the record of the run in a folder; nothing is changed yet.

    Raises:
        UsageError: `resume` and `force` together, or the run was begun with another model or other options.
        OutputError: the folder is not empty, or not one that can be resumed.
    """
    if resume and force:
        raise UsageError("--resume keeps what is finished and --force does it again: choose one")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: a file; the parts of a cluster need a folder")
    with guard_disk(folder):
        fresh = not folder.exists() or not any(folder.iterdir())
    if fresh:
        return RunRecord(folder, head, {})
    if not resume and not force:
        raise OutputError(
            f"{folder} is not empty: --resume finishes the run in it, --force does it again; or choose another folder"
        )
    found = read_record(folder / RUN_FILE)
    if force:
        return RunRecord(folder, head, {}, stale=list(found["parts"]) if found else [])
    if found is None:
        raise OutputError(
            f"{folder}: no {RUN_FILE} that can be read, so there is nothing to resume: choose another folder"
        )
    refuse_other_run(folder, head, found)
    return RunRecord(folder, head, found["parts"])


def refuse_other_run(folder: Path, head: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise `UsageError` when the run in a folder was begun with another model, version or options."""
    for name, value in head.items():
        if found.get(name) != value:
            raise UsageError(
                f"{folder} was begun with another {name} ({found.get(name)}, now {value}):"
                " resume it as it was begun, or choose another folder"
            )


def read_record(path: Path) -> dict[str, Any] | None:
    """Read a `_run.json`; return nothing when there is none, or it is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("parts"), dict) else None
