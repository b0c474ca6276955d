"""Everything tipnlp raises.

::

    TipnlpError
    ├── UsageError            wrong options or files that do not fit together
    ├── InputError            a file or a record that cannot be read
    │   └── RecordError       one record, with its file and line
    │       └── FileError     what follows in a file that cannot be read to its end
    ├── OutputError           a target that must not or cannot be written
    ├── CorpusError           labelled data that cannot be trained on or evaluated
    ├── LexiconError          a faulty concept lexicon
    ├── WorkerError           a process that works for us has died
    ├── ModelError            a model folder that cannot be used
    │   ├── ModelFormatError  not a model folder, or of another format
    │   ├── ModelVersionError made with versions that may give other results
    │   └── UnsafeModelError  changed since it was saved, or asks for unknown code
    ├── ClusterError          a cluster that cannot be used, or was lost
    └── MissingExtraError     an optional library is not installed

Messages name files, lines, case ids and the way out; never the text of a case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class TipnlpError(Exception):
    """Base of every error that tipnlp raises on purpose."""


class UsageError(TipnlpError):
    """Options or files that do not fit together."""


class InputError(TipnlpError):
    """A file that cannot be read."""


class RecordError(InputError):
    """One record that cannot be used; the others can."""

    def __init__(self, file: str, line: int, reason: str, case_id: str | None = None) -> None:
        self.file = file
        self.line = line
        self.reason = reason
        self.case_id = case_id
        place = f"{file}:{line}" if line else file
        name = f" (case {case_id})" if case_id else ""
        super().__init__(f"{place}: {reason}{name}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Come whole from one process to another."""
        return type(self), (self.file, self.line, self.reason, self.case_id)


class FileError(RecordError):
    """The rest of a file that cannot be read to its end; `line` is the last that was read, 0 when there is none."""


class OutputError(TipnlpError):
    """A target that must not or cannot be written."""

    @classmethod
    def from_existing(cls, path: Path) -> OutputError:
        """Build the error for a target that is already there."""
        return cls(f"{path} exists: choose another name, or pass --force to replace it")


class CorpusError(TipnlpError):
    """Labelled data that cannot be trained on or evaluated."""


class LexiconError(TipnlpError):
    """A faulty concept lexicon."""


class WorkerError(TipnlpError):
    """A process that works for us has died."""


class ModelError(TipnlpError):
    """A model folder that cannot be used."""


class ModelFormatError(ModelError):
    """Not a model folder, or one of another format."""


class ModelVersionError(ModelError):
    """A model made with versions that may give other results."""


class UnsafeModelError(ModelError):
    """A model that was changed since it was saved, or that asks for unknown code."""


class ClusterError(TipnlpError):
    """A cluster that cannot be used, or was lost on the way."""


class MissingExtraError(TipnlpError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"this needs {library}: pip install 'tipnlp[{extra}]'")
