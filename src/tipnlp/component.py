"""A spaCy component that puts the three probabilities of a text into `doc.cats`.

::

    nlp = spacy.blank("en")
    nlp.add_pipe("tipnlp", config={"model": "models/default"})
    nlp("They took his passport and paid him nothing.").cats

spaCy finds it by its entry point: where tipnlp is installed, nothing has to be imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacy.language import Language
from spacy.tokens import Doc

from tipnlp.cases import LABELS, Case
from tipnlp.errors import ModelFormatError
from tipnlp.language import LANGUAGES

if TYPE_CHECKING:
    from tipnlp.model import Model

DEFAULT_MODEL = "models/default"
BATCH = 256


class CaseClassifier:
    """The component: texts of spaCy's documents through a tipnlp model.

    Args:
        model: the model folder.
        lang: the language of the texts; detected for each text when it is not one of ours.
    """

    def __init__(self, model: str, lang: str | None) -> None:
        self.lang = lang if lang in LANGUAGES else None
        self._use_model(model)

    def __call__(self, doc: Doc) -> Doc:
        """Classify one document."""
        self._classify([doc])
        return doc

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = BATCH) -> Iterator[Doc]:
        """Classify documents, `batch_size` at once."""
        docs = iter(stream)
        while batch := list(islice(docs, batch_size)):
            self._classify(batch)
            yield from batch

    def to_disk(self, path: str | Path, *, exclude: Sequence[str] = ()) -> None:
        """Write where the model is; the model itself stays in its folder."""
        Path(path).write_text(json.dumps({"model": self.model}, ensure_ascii=False) + "\n", encoding="utf-8")

    def from_disk(self, path: str | Path, *, exclude: Sequence[str] = ()) -> CaseClassifier:
        """Read where the model is, and load it where it is another one.

        A model that has moved: `spacy.load(folder, exclude=["tipnlp"])`, then `add_pipe` with its new place.

        Raises:
            ModelFormatError: the file is not one that `to_disk` wrote, or names no model folder.
        """
        try:
            model = json.loads(Path(path).read_text(encoding="utf-8"))["model"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelFormatError(f"{path}: does not name a model ({type(error).__name__})") from None
        if model != self.model:
            self._use_model(str(model))
        return self

    def _use_model(self, model: str) -> None:
        # spaCy imports this module for every pipeline, ours or not: scikit-learn waits until it is needed.
        from tipnlp.model import load_model

        self._loaded: Model = load_model(model)
        self.model = model

    def _classify(self, docs: Sequence[Doc]) -> None:
        probabilities = self._loaded.predict_probabilities([Case(id="", text=doc.text, lang=self.lang) for doc in docs])
        for doc, row in zip(docs, probabilities.tolist(), strict=True):
            doc.cats.update(zip(LABELS, row, strict=True))


@Language.factory("tipnlp", default_config={"model": DEFAULT_MODEL}, assigns=["doc.cats"])
def create_component(nlp: Language, name: str, model: str) -> Any:
    """Make the component of a pipeline.

    Raises:
        ModelError: `model` is not a model folder, or not one that can be used here.
    """
    return CaseClassifier(model, nlp.lang)
