"""What is measured side by side: ways of working through the same texts, ours and those of other tools."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import fasttext
import joblib
import numpy as np
import spacy
from data import ROOT, load_corpus
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from spacy.training import Example

from growth import run_tipnlp
from tipnlp.cases import LABELS, Case
from tipnlp.model import load_model
from tipnlp.prediction import WINDOW, predict_cases

Pass = Callable[[], object]

MODEL = ROOT / "models" / "default"
TEXTS, MANY = "texts.jsonl", "many.jsonl"

# How far a model is trained makes no difference to its speed.
SPACY_EPOCHS = 2
BAG_OF_WORDS = {
    "@architectures": "spacy.TextCatBOW.v3",
    "exclusive_classes": True,
    "length": 262_144,
    "ngram_size": 1,
    "no_output_layer": False,
}

WARM_UP = ""
FIRST, CORE = "tipnlp core, memory empty", "tipnlp core"
WHOLE, DETECT = "tipnlp predictions", "tipnlp predictions, languages detected"
EXPLAINED = "tipnlp predictions, explained"
COMMAND, COMMAND_2 = "tipnlp command", "tipnlp command, two processes"
SKLEARN, TEXTCAT = "scikit-learn TF-IDF", "spaCy textcat, bag of words"
FASTTEXT, FASTTEXT_SMALL = "fastText", "fastText, 50 dimensions and 500,000 buckets"
SPACY_FIRST, SPACY = "bare spaCy tokens, first pass", "bare spaCy tokens"
JSON, SPLIT = "limit: json.loads of the lines", "limit: str.split of the texts"


@dataclass(frozen=True, slots=True)
class Contender:
    """A way of working through all texts.

    Attributes:
        rows: what the table calls each pass, in order; a warm-up is left out of it.
        load: makes everything ready in a folder of texts and models; returns the pass to time.
        train: leaves a model in the folder, once.
        texts: the file of the folder that a pass works through.
        cores: how many it runs on.
        option: of `tipnlp predict`, that it cannot do without.
    """

    rows: tuple[str, ...]
    load: Callable[[Path], Pass]
    train: Callable[[Path], None] | None = None
    texts: str = TEXTS
    cores: int = 1
    option: str = ""


def read_texts(folder: Path) -> list[str]:
    """Return the texts to work through."""
    with (folder / TEXTS).open("rb") as lines:
        return [json.loads(line)["text"] for line in lines]


def read_english(folder: Path) -> list[Case]:
    """Return the texts as cases whose language is known."""
    return [Case(id=str(number), text=text, lang="en") for number, text in enumerate(read_texts(folder))]


def load_core(folder: Path) -> Pass:
    """From cases to probabilities, window by window; lexicon and language are loaded, no word is remembered."""
    model, cases = load_model(MODEL), read_english(folder)
    model.predict_probabilities([Case(id="", text=".", lang="en")])
    windows = [cases[start : start + WINDOW] for start in range(0, len(cases), WINDOW)]
    return lambda: [model.predict_probabilities(window) for window in windows]


def load_predictions(folder: Path, lang: str | None = "en", *, explain: bool = False) -> Pass:
    """From cases to predictions: probabilities, screening, decision, perhaps the evidence."""
    model = load_model(MODEL)
    cases = [replace(case, lang=lang) for case in read_english(folder)]
    return lambda: exhaust(predict_cases(model, cases, explain=explain))


def load_command(folder: Path, *options: str) -> Pass:
    """From file to file, start-up included."""
    return lambda: run_tipnlp("predict", folder / MANY, "-o", folder / "out.jsonl", "--force", *options)


def train_sklearn(folder: Path) -> None:
    """Train TF-IDF of words, word pairs and character n-grams with logistic regression."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    classifier = LogisticRegression(C=10, max_iter=2000, class_weight="balanced")
    corpus = load_corpus()
    pipeline = make_pipeline(make_union(words, characters), classifier)
    joblib.dump(pipeline.fit([c.text for c in corpus], [c.label for c in corpus]), folder / "sklearn.joblib")


def load_sklearn(folder: Path) -> Pass:
    """From texts to probabilities, all at once."""
    return partial(joblib.load(folder / "sklearn.joblib").predict_proba, read_texts(folder))


def train_fasttext(folder: Path, name: str, **options: Any) -> None:
    """Train fastText with word pairs and subwords."""
    lines = [f"__label__{c.label} {' '.join(c.text.lower().split())}" for c in load_corpus()]
    (folder / "fasttext.txt").write_text("\n".join(lines), encoding="utf-8")
    features = {"wordNgrams": 2, "minn": 3, "maxn": 5}
    file = str(folder / "fasttext.txt")
    model = fasttext.train_supervised(file, thread=1, seed=0, verbose=0, epoch=5, lr=0.5, **features, **options)
    model.save_model(str(folder / name))


def load_fasttext(folder: Path, name: str) -> Pass:
    """From a list of lines to the probabilities of all labels."""
    # It warns of a change of years ago.
    with redirect_stderr(io.StringIO()):
        model = fasttext.load_model(str(folder / name))
    return partial(model.predict, [text.replace("\n", " ") for text in read_texts(folder)], k=len(LABELS))


def train_textcat(folder: Path) -> None:
    """Train spaCy's text categoriser with its architecture for speed."""
    nlp = spacy.blank("en")
    categorizer = nlp.add_pipe("textcat", config={"model": BAG_OF_WORDS})
    for label in LABELS:
        categorizer.add_label(label)
    examples = [
        Example.from_dict(nlp.make_doc(c.text), {"cats": {label: float(label == c.label) for label in LABELS}})
        for c in load_corpus()
    ]
    optimizer = nlp.initialize(lambda: examples[:500])
    rng = np.random.default_rng(0)
    for _ in range(SPACY_EPOCHS):
        for part in np.array_split(rng.permutation(len(examples)), max(len(examples) // 32, 1)):
            nlp.update([examples[i] for i in part], sgd=optimizer)
    nlp.to_disk(folder / "textcat")


def load_textcat(folder: Path) -> Pass:
    """From texts to the categories of documents."""
    nlp, texts = spacy.load(folder / "textcat"), read_texts(folder)
    return lambda: [doc.cats for doc in nlp.pipe(texts)]


def load_spacy(folder: Path) -> Pass:
    """From texts to documents of tokens, and nothing else."""
    nlp, texts = spacy.blank("en"), read_texts(folder)
    return lambda: exhaust(nlp.tokenizer.pipe(texts))


def load_json(folder: Path) -> Pass:
    """From a file to records."""
    return partial(read_texts, folder)


def load_split(folder: Path) -> Pass:
    """From texts to chunks between white space."""
    texts = read_texts(folder)
    return lambda: exhaust(map(str.split, texts))


def exhaust(items: Iterable[object]) -> None:
    """Go through all items and keep none."""
    deque(items, maxlen=0)


def contend_fasttext(row: str, **options: Any) -> Contender:
    """Return fastText with some options, as a contender."""
    name = f"{row}.bin"
    return Contender((WARM_UP, row), partial(load_fasttext, name=name), partial(train_fasttext, name=name, **options))


CONTENDERS = {
    "core": Contender((FIRST, CORE), load_core),
    "predictions": Contender((WARM_UP, WHOLE), load_predictions),
    "detection": Contender((WARM_UP, DETECT), partial(load_predictions, lang=None)),
    "explained": Contender((WARM_UP, EXPLAINED), partial(load_predictions, explain=True)),
    "command": Contender((COMMAND,), load_command, texts=MANY),
    "command2": Contender(
        (COMMAND_2,), lambda folder: load_command(folder, "--jobs", "2"), texts=MANY, cores=2, option="--jobs"
    ),
    "sklearn": Contender((WARM_UP, SKLEARN), load_sklearn, train_sklearn),
    "fasttext": contend_fasttext(FASTTEXT),
    "fasttext-small": contend_fasttext(FASTTEXT_SMALL, dim=50, bucket=500_000),
    "textcat": Contender((WARM_UP, TEXTCAT), load_textcat, train_textcat),
    "spacy": Contender((SPACY_FIRST, SPACY), load_spacy),
    "json": Contender((WARM_UP, JSON), load_json),
    "split": Contender((WARM_UP, SPLIT), load_split),
}
