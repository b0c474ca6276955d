"""A trained model: a pipeline with its manifest, and the folder both live in.

::

    models/NAME/model.joblib   the pipeline: hashes and weights, no readable word
    models/NAME/manifest.json  format, id, labels, versions, config, thresholds, hashes, metrics
    models/NAME/seen.npz       fingerprints of the training texts, to find test cases among them
    models/NAME/README.md      the model card

Loading reads the manifest first, checks format, versions and hash, and then unpickles through
a closed list of classes (`tipnlp.unpickling`): a file that asks for anything else is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline

from tipnlp.card import write_card
from tipnlp.cases import LABELS, Case
from tipnlp.errors import ModelFormatError, ModelVersionError, OutputError, UnsafeModelError, UsageError
from tipnlp.lexicon import fingerprint_lexicon
from tipnlp.seen import SeenTexts
from tipnlp.tokens import TokenBatch
from tipnlp.unpickling import load_closed

# Raise when a model of the old format would be read wrongly; say here what changed.
# 2: limits of familiar text in the manifest, fingerprints of the training texts in the folder.
FORMAT = 2

MODEL_FILE, MANIFEST_FILE, SEEN_FILE, CARD_FILE = "model.joblib", "manifest.json", "seen.npz", "README.md"

# Libraries whose minor version decides what the pipeline computes.
BOUND_LIBRARIES = ("scikit-learn", "spacy")
NOTED_LIBRARIES = ("tipnlp", "joblib", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is, in plain data.

    Attributes:
        format: the number of the folder's format.
        id: the beginning of the SHA-256 of `model.joblib`.
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


@dataclass(frozen=True)
class Model:
    """A pipeline from cases to calibrated probabilities, with its manifest.

    `seen` are the fingerprints of its training texts; a loaded model leaves them in its folder (`load_seen`).
    """

    pipeline: Pipeline
    manifest: Manifest
    seen: SeenTexts | None = None

    @property
    def features(self) -> FeatureUnion:
        """The step from tokens to a sparse matrix."""
        return self.pipeline["features"]

    @property
    def classifier(self) -> LogisticRegression:
        """The step from a sparse matrix to log-odds."""
        return self.pipeline["classify"]

    @property
    def columns(self) -> list[int]:
        """The place of each of `LABELS` among the classes of the classifier."""
        return [list(self.classifier.classes_).index(label) for label in LABELS]

    def read_batch(self, cases: Sequence[Case | str]) -> TokenBatch:
        """Return the tokens of `n` cases."""
        batch: TokenBatch = self.pipeline["preprocess"].transform(cases)
        return batch

    @cached_property
    def coefficients(self) -> list[NDArray[np.float64]]:
        """The weights of each family of features, shape `(features, 3)`, columns in the order of `LABELS`."""
        ordered = self.classifier.coef_[self.columns].T
        ends = np.cumsum([len(family.hashes_) for _, family in self.features.transformer_list])
        return [np.ascontiguousarray(part) for part in np.split(ordered, ends[:-1])]

    @property
    def intercepts(self) -> NDArray[np.float64]:
        """What the model adds to every text, in the order of `LABELS`."""
        intercepts: NDArray[np.float64] = self.classifier.intercept_[self.columns]
        return intercepts

    def score_batch(self, batch: TokenBatch) -> NDArray[np.float64]:
        """Return calibrated log-odds, shape `(n, 3)`, columns in the order of `LABELS`.

        They are those of the pipeline, without making its matrix.
        """
        scores = np.tile(self.intercepts, (len(batch), 1))
        for (_, family), coefficients in zip(self.features.transformer_list, self.coefficients, strict=True):
            scores += family.score(batch, coefficients)
        return scores

    def predict_probabilities(self, cases: Sequence[Case | str]) -> NDArray[np.float64]:
        """Return calibrated probabilities, shape `(n, 3)`, columns in the order of `LABELS`."""
        probabilities: NDArray[np.float64] = softmax(self.score_batch(self.read_batch(cases)), axis=1)
        return probabilities


def list_versions() -> dict[str, str]:
    """Return the versions of the libraries a model depends on."""
    return {name: version(name) for name in (*BOUND_LIBRARIES, *NOTED_LIBRARIES)}


def save_model(model: Model, folder: Path, *, force: bool = False) -> Model:
    """Write a model folder, complete or not at all; return the model with id and hash filled in.

    Raises:
        OutputError: the folder exists and `force` is not given, or is not a model folder.
        UsageError: the model has no fingerprints of its training texts.
    """
    if model.seen is None:
        raise UsageError("only a model that was just trained can be saved: copy the folder of a loaded one")
    if folder.exists() and not force:
        raise OutputError.from_existing(folder)
    if folder.exists() and not (folder / MANIFEST_FILE).is_file() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not a model folder: --force replaces models only")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        temporary = Path(name) / folder.name
        temporary.mkdir(mode=0o755)
        joblib.dump(model.pipeline, temporary / MODEL_FILE)
        model.seen.save(temporary / SEEN_FILE)
        digest, seen_digest = hash_file(temporary / MODEL_FILE), hash_file(temporary / SEEN_FILE)
        saved = replace(model, manifest=replace(model.manifest, id=digest[:12], sha256=digest, seen_sha256=seen_digest))
        text = json.dumps(asdict(saved.manifest), ensure_ascii=False, indent=2, sort_keys=True)
        (temporary / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
        (temporary / CARD_FILE).write_text(write_card(asdict(saved.manifest)), encoding="utf-8")
        if folder.exists():
            shutil.move(folder, Path(name) / "replaced")
        temporary.rename(folder)
    return saved


def load_model(folder: str | Path) -> Model:
    """Load a model folder.

    Raises:
        ModelFormatError: it is not a model folder, or of another format.
        ModelVersionError: it was made with versions that may give other results.
        UnsafeModelError: `model.joblib` was changed, or asks for classes that no model needs.
    """
    path = Path(folder)
    manifest = read_manifest(path)
    check_versions(path, manifest)
    pipeline = load_closed(_check_file(path / MODEL_FILE, manifest.sha256))
    if not isinstance(pipeline, Pipeline):
        raise UnsafeModelError(f"{path / MODEL_FILE}: holds a {type(pipeline).__name__}, not a pipeline")
    return Model(pipeline, manifest)


def load_seen(folder: str | Path) -> SeenTexts:
    """Load the fingerprints of the texts that a model was trained on.

    Raises:
        ModelFormatError: it is not a model folder, or of another format.
        UnsafeModelError: the file was changed, or holds something else.
    """
    path = Path(folder)
    file = _check_file(path / SEEN_FILE, read_manifest(path).seen_sha256)
    try:
        return SeenTexts.load(file)
    except (ValueError, OSError) as error:
        raise UnsafeModelError(f"{file}: refused: {error}") from None


def _check_file(file: Path, digest: str) -> Path:
    """Return the path of a file of a model folder, when it is the one that was saved."""
    if not file.is_file():
        raise ModelFormatError(f"{file.parent}: {file.name} is missing")
    if hash_file(file) != digest:
        raise UnsafeModelError(f"{file}: differs from the hash in {MANIFEST_FILE}: it was changed since it was saved")
    return file


def read_manifest(folder: Path) -> Manifest:
    """Read what a model is, without loading it.

    Raises:
        ModelFormatError: there is no manifest, or not one of this format.
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
    return Manifest(**{**known, "labels": LABELS})


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


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
