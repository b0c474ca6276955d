"""The component of spaCy gives what the model gives, and is found without an import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language

from tipnlp.cases import LABELS, Case
from tipnlp.errors import ModelFormatError
from tipnlp.model import Model

TEXTS = [
    "They took his passport and paid him nothing.",
    "Elle a été forcée de se prostituer, l'argent était pour eux.",
    "Der Lohn wurde bezahlt; die Ermittlungen wurden eingestellt.",
    "",
    "  two  \n spaces ",
]


def make_pipeline(folder: Path, language: str = "en") -> Language:
    nlp = spacy.blank(language)
    nlp.add_pipe("tipnlp", config={"model": str(folder)})
    return nlp


def predict_texts(model: Model, language: str | None) -> np.ndarray:
    return model.predict_probabilities([Case(id="", text=text, lang=language) for text in TEXTS])


# Polish is not one of ours: there the language of each text is detected.
@pytest.mark.parametrize(("language", "read_as"), [("en", "en"), ("de", "de"), ("lb", "lb"), ("pl", None)])
def test_cats_are_the_probabilities_of_the_model(
    model: Model, model_folder: Path, language: str, read_as: str | None
) -> None:
    nlp = make_pipeline(model_folder, language)
    expected = predict_texts(model, read_as)
    for docs in ([nlp(text) for text in TEXTS], list(nlp.pipe(TEXTS, batch_size=2))):
        assert [doc.text for doc in docs] == TEXTS
        assert [list(doc.cats) for doc in docs] == [list(LABELS)] * len(TEXTS)
        assert np.allclose([list(doc.cats.values()) for doc in docs], expected)


def test_pipe_predicts_many_at_once(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    predict = Model.predict_probabilities

    def count(self: Model, cases: list[Case]) -> np.ndarray:
        sizes.append(len(cases))
        return predict(self, cases)

    monkeypatch.setattr(Model, "predict_probabilities", count)
    nlp = make_pipeline(model_folder)
    assert len(list(nlp.pipe(TEXTS * 2, batch_size=4))) == 10
    assert sizes == [4, 4, 2]
    assert list(nlp.pipe([])) == []


def test_cats_of_other_components_stay(model_folder: Path) -> None:
    nlp = make_pipeline(model_folder)
    doc = nlp.make_doc(TEXTS[0])
    doc.cats["urgent"] = 1.0
    assert list(nlp(doc).cats) == ["urgent", *LABELS]


def test_nothing_has_to_be_imported_and_other_pipelines_pay_nothing(model_folder: Path) -> None:
    code = (
        "import json, sys, spacy; nlp = spacy.blank('en'); assert 'sklearn' not in sys.modules;"
        "nlp.add_pipe('tipnlp', config={'model': sys.argv[1]});"
        "print(json.dumps(nlp('He kept their passports.').cats))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cats = json.loads(done.stdout)
    assert list(cats) == list(LABELS)
    assert sum(cats.values()) == pytest.approx(1)


@pytest.mark.parametrize("config", [{"model": "nowhere"}, {}])
def test_wrong_folder_is_a_clear_error(config: dict[str, str]) -> None:
    with pytest.raises(ModelFormatError, match=f"{config.get('model', 'models/default')}: not a model folder"):
        spacy.blank("en").add_pipe("tipnlp", config=config)


def test_saved_pipeline_keeps_the_path_only(model_folder: Path) -> None:
    nlp = make_pipeline(model_folder, "fr")
    nlp.to_disk("saved")
    assert json.loads(Path("saved/tipnlp").read_text(encoding="utf-8")) == {"model": str(model_folder)}
    loaded = spacy.load("saved")
    assert loaded.pipe_names == ["tipnlp"]
    assert loaded(TEXTS[1]).cats == nlp(TEXTS[1]).cats


def test_from_disk_takes_the_saved_model(model: Model, model_folder: Path) -> None:
    make_pipeline(model_folder).to_disk("saved")
    other = make_pipeline(model_folder.rename("moved"))
    with pytest.raises(ModelFormatError, match="not a model folder"):
        other.from_disk("saved")
    Path("moved").rename(model_folder)
    assert other.from_disk("saved").get_pipe("tipnlp").model == str(model_folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", None])
def test_damaged_saved_pipeline(model_folder: Path, content: str | None) -> None:
    make_pipeline(model_folder).to_disk("saved")
    saved = Path("saved/tipnlp")
    saved.unlink() if content is None else saved.write_text(content, encoding="utf-8")
    with pytest.raises(ModelFormatError, match="tipnlp: does not name a model"):
        spacy.load("saved")
