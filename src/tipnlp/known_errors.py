"""What a model is known to get wrong: the confusion matrix of an evaluation, or of its own training."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS
from tipnlp.errors import InputError, ModelFormatError
from tipnlp.manifest import MANIFEST_FILE, read_manifest


@dataclass(frozen=True, slots=True)
class KnownErrors:
    """Labelled cases by gold label (row) and predicted label (column), and in words where they are from."""

    confusion: NDArray[np.int64]
    source: str


def read_errors(path: Path) -> KnownErrors:
    """Read known errors from a file of `tipnlp evaluate --json`, or a model folder (out of fold).

    Raises:
        InputError: the file holds no confusion matrix.
        ModelFormatError: the folder is not a model folder.
    """
    if path.is_dir():
        manifest = read_manifest(path)
        return KnownErrors(np.array(manifest.metrics["confusion"]), f"model {manifest.id} out of fold")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        confusion = np.array(metrics["confusion"], dtype=np.int64)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: no confusion matrix in it: give a file of 'tipnlp evaluate --json'") from None
    if confusion.shape != (len(LABELS), len(LABELS)):
        raise InputError(f"{path}: the confusion matrix is not {len(LABELS)} by {len(LABELS)}")
    return KnownErrors(confusion, str(path))


def find_errors(path: Path | None, folder: Path, models: Set[str]) -> KnownErrors | None:
    """Return the errors in `path`; without one those of the model in `folder` if `models` names it alone."""
    if path is not None:
        return read_errors(path)
    if not (folder / MANIFEST_FILE).is_file():
        return None
    try:
        return read_errors(folder) if {read_manifest(folder).id} == models else None
    except ModelFormatError:
        return None
