"""A trained model: a pipeline with its manifest, saved to a folder and loaded from it.

Loading reads the manifest first, checks format, versions and hash, and then unpickles through
a closed list of classes (`tipnlp.unpickling`): a file that asks for anything else is refused.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from tipnlp.card import write_card
from tipnlp.cases import LABELS, Case
from tipnlp.errors import OutputError, UnsafeModelError, UsageError
from tipnlp.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    SEEN_FILE,
    Manifest,
    check_file,
    check_model,
    hash_file,
    read_manifest,
    shorten_fingerprint,
)
from tipnlp.seen import SeenTexts
from tipnlp.tokens import TokenBatch
from tipnlp.unpickling import load_closed
from tipnlp.weighting import FeatureFamilies


@dataclass(frozen=True)
class Model:
    """A pipeline from cases to calibrated probabilities, with its manifest.

    `seen` are the fingerprints of its training texts; a loaded model leaves them in its folder (`load_seen`).
    """

    pipeline: Pipeline
    manifest: Manifest
    seen: SeenTexts | None = None

    @property
    def features(self) -> FeatureFamilies:
        """The step from tokens to a sparse matrix."""
        families: FeatureFamilies = self.pipeline["features"]
        return families

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
        manifest = replace(model.manifest, sha256=digest, seen_sha256=seen_digest)
        saved = replace(model, manifest=replace(manifest, id=shorten_fingerprint(manifest)))
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
    manifest = check_model(path)
    pipeline = load_closed(path / MODEL_FILE)
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
    file = check_file(path / SEEN_FILE, read_manifest(path).seen_sha256)
    try:
        return SeenTexts.load(file)
    except (ValueError, OSError) as error:
        raise UnsafeModelError(f"{file}: refused: {error}") from None
