"""A model folder: the same bytes, no readable word, and nothing runs when it is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from tipnlp.cases import LABELS, Case
from tipnlp.errors import ModelError, ModelFormatError, ModelVersionError, OutputError, UnsafeModelError
from tipnlp.manifest import MANIFEST_FILE, MODEL_FILE, Manifest, shorten_fingerprint
from tipnlp.model import Model, load_model, save_model
from tipnlp.training import train_model


def change_manifest(folder: Path, **changes: Any) -> None:
    """Change a manifest so that its id fits, as somebody would who means harm."""
    path = folder / MANIFEST_FILE
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({**data, "id": shorten_fingerprint(Manifest(**data))}), encoding="utf-8")


def plant(folder: Path, payload: Any, **options: Any) -> None:
    """Put a payload in the place of the model, with a hash that fits."""
    joblib.dump(payload, folder / MODEL_FILE, **options)
    change_manifest(folder, sha256=hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest())


class Command:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


class Spawn(Command):
    def __reduce__(self) -> Any:
        return subprocess.check_output, (["touch", str(self.target)],)


def test_round_trip_gives_the_same_probabilities(model: Model, model_folder: Path, small_corpus: list[Case]) -> None:
    loaded = load_model(model_folder)
    expected = model.predict_probabilities(small_corpus)
    assert np.array_equal(loaded.predict_probabilities(small_corpus), expected)
    assert expected.shape == (len(small_corpus), len(LABELS))
    assert np.allclose(expected.sum(axis=1), 1)
    assert loaded.manifest == model.manifest


def test_training_twice_gives_the_same_bytes(
    small_corpus: list[Case], model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    for name in ("one", "two"):
        save_model(train_model(small_corpus).model, tmp_path / name)
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1]
    assert json.loads(files[0][MANIFEST_FILE])["date"] == "2020-09-13"
    assert json.loads(files[0][MANIFEST_FILE])["sha256"] == model.manifest.sha256


def test_empty_input(model: Model) -> None:
    assert model.predict_probabilities([]).shape == (0, 3)
    assert model.predict_probabilities([Case(id="", text="...", lang="de")]).shape == (1, 3)


def test_folder_holds_no_readable_word_of_the_cases(model_folder: Path, small_corpus: list[Case]) -> None:
    content = b"".join(path.read_bytes() for path in model_folder.iterdir()).lower()
    words = {word for case in small_corpus for word in case.text.lower().split() if word.isalpha() and len(word) > 9}
    ours = {"trafficking", "sex_trafficking"}
    found = {w for w in words - ours if w.encode() in content or w.encode("utf-16-le") in content}
    assert len(words) > 500
    # Names of libraries, classes and settings, and the sentences of the card, are the only words.
    assert len(found) < 15, sorted(found)


def test_nothing_but_a_model_folder_is_replaced(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "m")
    with pytest.raises(OutputError, match="--force"):
        save_model(model, tmp_path / "m")
    save_model(model, tmp_path / "m", force=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="not a model folder"):
        save_model(model, tmp_path / "precious", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "precious"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": 99}, ModelFormatError, "format 99"),
        ({"labels": ["a", "b"]}, ModelFormatError, "labels"),
        ({"versions": {"scikit-learn": "1.2.0", "spacy": "3.8.0"}}, ModelVersionError, "scikit-learn 1.2.0"),
        ({"lexicon": "0" * 64}, ModelVersionError, "lexicon"),
        ({"sha256": "0" * 64}, UnsafeModelError, "changed since"),
    ],
)
def test_manifest_that_does_not_fit(
    model_folder: Path, changes: dict[str, Any], error: type[ModelError], message: str
) -> None:
    change_manifest(model_folder, **changes)
    with pytest.raises(error, match=message) as caught:
        load_model(model_folder)
    assert "\n" not in str(caught.value)


def test_other_patch_level_loads(model_folder: Path, model: Model) -> None:
    parts = model.manifest.versions["scikit-learn"].split(".")
    other = ".".join([*parts[:2], "99"])
    change_manifest(model_folder, versions={**model.manifest.versions, "scikit-learn": other})
    assert load_model(model_folder).manifest.id == model.manifest.id


def test_models_that_decide_differently_have_different_ids(model: Model, tmp_path: Path) -> None:
    stricter = replace(model, manifest=replace(model.manifest, thresholds=dict.fromkeys(LABELS, 0.9)))
    saved = save_model(stricter, tmp_path / "stricter")
    assert saved.manifest.sha256 == model.manifest.sha256
    assert saved.manifest.id != model.manifest.id
    assert load_model(tmp_path / "stricter").manifest == saved.manifest


def test_changed_thresholds_are_refused(model_folder: Path) -> None:
    path = model_folder / MANIFEST_FILE
    path.write_text(path.read_text(encoding="utf-8").replace('"forced_labour": 0.5', '"forced_labour": 0.1'))
    with pytest.raises(UnsafeModelError, match="changed since"):
        load_model(model_folder)


def test_tampered_file_is_refused(model_folder: Path) -> None:
    content = bytearray((model_folder / MODEL_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (model_folder / MODEL_FILE).write_bytes(content)
    with pytest.raises(UnsafeModelError, match="changed since"):
        load_model(model_folder)


@pytest.mark.parametrize("kind", [Command, Spawn])
@pytest.mark.parametrize("wrap", ["plain", "in a list", "in an array", "in a structured array", "in a pipeline"])
@pytest.mark.parametrize("compress", [0, 3])
def test_command_in_a_pickle_does_not_run(
    model_folder: Path, tmp_path: Path, kind: type[Command], wrap: str, compress: int
) -> None:
    payload = kind(tmp_path / "ran")
    wrapped = {
        "plain": payload,
        "in a list": [1, [payload]],
        "in an array": np.array([payload, None], dtype=object),
        "in a structured array": np.array([(1, payload)], dtype=[("a", int), ("b", object)]),
        "in a pipeline": Pipeline([("preprocess", payload)]),
    }[wrap]
    plant(model_folder, wrapped, compress=compress)
    with pytest.raises(UnsafeModelError) as caught:
        load_model(model_folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_array_of_objects_is_refused_even_when_harmless(model_folder: Path) -> None:
    plant(model_folder, {"a": np.array([None, None], dtype=object)})
    with pytest.raises(UnsafeModelError, match="Python objects"):
        load_model(model_folder)


def test_other_things_than_a_pipeline_are_refused(model_folder: Path) -> None:
    plant(model_folder, {"a": np.arange(3)})
    with pytest.raises(UnsafeModelError, match="not a pipeline"):
        load_model(model_folder)
    (model_folder / MODEL_FILE).write_bytes(pickle.dumps({}, protocol=2)[:-1])
    plant_hash = hashlib.sha256((model_folder / MODEL_FILE).read_bytes()).hexdigest()
    change_manifest(model_folder, sha256=plant_hash)
    with pytest.raises(UnsafeModelError, match="cannot be read"):
        load_model(model_folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "not json"])
def test_broken_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ModelFormatError):
        load_model(tmp_path)


def test_missing_parts(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(ModelFormatError, match="tipnlp train"):
        load_model(tmp_path / "nowhere")
    (model_folder / MODEL_FILE).unlink()
    with pytest.raises(ModelFormatError, match=MODEL_FILE):
        load_model(model_folder)
