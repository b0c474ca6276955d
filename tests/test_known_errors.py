"""Where known errors come from, and which files hold none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tipnlp.errors import InputError, ModelFormatError
from tipnlp.known_errors import find_errors, read_errors
from tipnlp.manifest import MANIFEST_FILE
from tipnlp.model import Model

CONFUSION = [[5, 1, 0], [0, 7, 2], [1, 0, 9]]


def write_confusion(confusion: object, name: str = "m.json") -> Path:
    path = Path(name)
    path.write_text(json.dumps({"n": 25, "confusion": confusion}), encoding="utf-8")
    return path


def test_errors_of_a_model_are_those_out_of_fold(model: Model, model_folder: Path) -> None:
    found = read_errors(model_folder)
    assert np.array_equal(found.confusion, model.manifest.metrics["confusion"])
    assert found.confusion.sum() == model.manifest.corpus["cases"]
    assert found.source == f"model {model.manifest.id} out of fold"


def test_errors_of_an_evaluation() -> None:
    found = read_errors(write_confusion(CONFUSION))
    assert found.confusion.tolist() == CONFUSION
    assert found.source == "m.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"n": 25}', "no confusion matrix"),
        ('{"confusion": [[1, 2, 3], [4, 5]]}', "no confusion matrix"),
        ('{"confusion": "none"}', "no confusion matrix"),
        ('{"confusion": null}', "no confusion matrix"),
        ("[1, 2]", "no confusion matrix"),
        ("{", "no confusion matrix"),
        ("", "no confusion matrix"),
        ('{"confusion": [[1, 2], [3, 4]]}', "not 3 by 3"),
        ('{"confusion": 5}', "not 3 by 3"),
    ],
)
def test_file_without_a_confusion_matrix(content: str, message: str) -> None:
    Path("m.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=rf"m\.json: .*{message}"):
        read_errors(Path("m.json"))


def test_missing_file_binary_file_and_folder_without_a_model() -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: No such file"):
        read_errors(Path("nowhere.json"))
    Path("binary.json").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="no confusion matrix"):
        read_errors(Path("binary.json"))
    with pytest.raises(ModelFormatError, match="not a model folder"):
        read_errors(Path())


def test_named_file_is_used_whatever_made_the_predictions(model_folder: Path) -> None:
    found = find_errors(write_confusion(CONFUSION), model_folder, {"somebody else's"})
    assert found is not None
    assert found.source == "m.json"


def test_default_model_is_used_only_for_its_own_predictions(model: Model, model_folder: Path) -> None:
    mine = model.manifest.id
    found = find_errors(None, model_folder, {mine})
    assert found is not None
    assert found.source == f"model {mine} out of fold"
    for models in (set(), {"other"}, {mine, "other"}):
        assert find_errors(None, model_folder, models) is None
    assert find_errors(None, Path("nowhere"), {mine}) is None


def test_unreadable_default_model_is_no_error_unless_it_is_asked_for(model: Model, model_folder: Path) -> None:
    (model_folder / MANIFEST_FILE).write_text("{}", encoding="utf-8")
    assert find_errors(None, model_folder, {model.manifest.id}) is None
    with pytest.raises(ModelFormatError):
        find_errors(model_folder, model_folder, {model.manifest.id})
