"""What a model is, in plain data: read and checked without loading it, or the libraries it needs.

::

    models/NAME/model.joblib   the pipeline: hashes and weights, no readable word
    models/NAME/manifest.json  format, id, labels, versions, config, thresholds, hashes, metrics
    models/NAME/seen.npz       fingerprints of the training texts, to find test cases among them
    models/NAME/README.md      the model card
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tipnlp.cases import LABELS
from tipnlp.errors import ModelFormatError, ModelVersionError, UnsafeModelError
from tipnlp.lexicon import fingerprint_lexicon

# Raise when a model of the old format would be read wrongly; say here what changed.
# 2: limits of familiar text in the manifest, fingerprints of the training texts in the folder.
# 3: subwords add up token by token.
# 4: the id stands for the whole of what predictions depend on, thresholds among it.
FORMAT = 4

MODEL_FILE, MANIFEST_FILE, SEEN_FILE, CARD_FILE = "model.joblib", "manifest.json", "seen.npz", "README.md"

# Libraries whose minor version decides what the pipeline computes.
BOUND_LIBRARIES = ("scikit-learn", "spacy")
NOTED_LIBRARIES = ("tipnlp", "joblib", "numpy", "scipy")

# What predictions depend on: two models that differ in one of these are two models.
DECISIVE = ("format", "labels", "lexicon", "thresholds", "limits", "sha256")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is, in plain data.

    Attributes:
        format: the number of the folder's format.
        id: the beginning of the fingerprint.
        labels: the labels, in the order of the probabilities.
        versions: of Python libraries at training.
        lexicon: the fingerprint of the concept lexicon.
        config: the training configuration.
        thresholds: for each label the least probability that decides; None: always review.
        limits: by language, how much unseen text is still familiar (see `tipnlp.screening`).
        temperature: what the log-odds were divided by to calibrate them.
        corpus: hash, number of cases and groups, cases by language and label.
        metrics: the out-of-fold evaluation.
        date: the day of training.
        sha256: of `model.joblib`.
        seen_sha256: of `seen.npz`.
    """

    format: int
    id: str
    labels: tuple[str, ...]
    versions: Mapping[str, str]
    lexicon: str
    config: Mapping[str, Any]
    thresholds: Mapping[str, float | None]
    limits: Mapping[str, Mapping[str, float]]
    temperature: float
    corpus: Mapping[str, Any]
    metrics: Mapping[str, Any]
    date: str
    sha256: str
    seen_sha256: str

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all that predictions depend on."""
        text = json.dumps({name: getattr(self, name) for name in DECISIVE}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def list_versions() -> dict[str, str]:
    """Return the versions of the libraries a model depends on."""
    return {name: version(name) for name in (*BOUND_LIBRARIES, *NOTED_LIBRARIES)}


def read_manifest(folder: Path) -> Manifest:
    """Read what a model is, without loading it.

    Raises:
        ModelFormatError: there is no manifest, or not one of this format.
        UnsafeModelError: it was changed.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise ModelFormatError(
            f"{folder}: not a model folder (no {MANIFEST_FILE}); train one with 'tipnlp train CORPUS -o {folder}'"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ModelFormatError(
                f"{folder}: model format {data['format']}, this tipnlp reads {FORMAT}: train it again with this version"
            )
        known = {field.name: data[field.name] for field in fields(Manifest)}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFormatError(f"{path}: not a manifest ({type(error).__name__}: {error})") from None
    if tuple(known["labels"]) != LABELS:
        raise ModelFormatError(f"{folder}: labels {known['labels']}, this tipnlp has {list(LABELS)}")
    manifest = Manifest(**{**known, "labels": LABELS})
    if manifest.id != shorten_fingerprint(manifest):
        raise UnsafeModelError(f"{path}: does not fit its id: it was changed since it was saved")
    return manifest


def shorten_fingerprint(manifest: Manifest) -> str:
    """Return the id of a model."""
    return manifest.fingerprint[:12]


def check_model(folder: Path) -> Manifest:
    """Return what a model is, when it can be loaded here as it was saved, as far as can be told without loading it.

    Raises:
        ModelFormatError: it is not a model folder, or of another format.
        ModelVersionError: it was made with versions that may give other results.
        UnsafeModelError: `model.joblib` was changed.
    """
    manifest = read_manifest(folder)
    check_versions(folder, manifest)
    check_file(folder / MODEL_FILE, manifest.sha256)
    return manifest


def check_versions(folder: Path, manifest: Manifest) -> None:
    """Raise `ModelVersionError` where a library or the lexicon differs in a way that may change results."""
    here = list_versions()
    for name in BOUND_LIBRARIES:
        there = manifest.versions.get(name, "unknown")
        if there.split(".")[:2] != here[name].split(".")[:2]:
            raise ModelVersionError(
                f"{folder}: trained with {name} {there}, here is {here[name]}:"
                f" train it again, or install {name} {there}"
            )
    if manifest.lexicon != fingerprint_lexicon():
        raise ModelVersionError(
            f"{folder}: trained with another concept lexicon (tipnlp {manifest.versions.get('tipnlp')}): train it again"
        )


def check_file(file: Path, digest: str) -> Path:
    """Return the path of a file of a model folder, when it is the one that was saved."""
    if not file.is_file():
        raise ModelFormatError(f"{file.parent}: {file.name} is missing")
    if hash_file(file) != digest:
        raise UnsafeModelError(f"{file}: differs from the hash in {MANIFEST_FILE}: it was changed since it was saved")
    return file


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
