"""How right `tipnlp` is on real text, side by side with other tools, and how that grows with the corpus.

    python bench/accuracy.py            # needs the extra `bench`

All tools are trained on the same corpus and tested on the same texts in one run, each with the settings
its own documentation shows for text classification. fastText and spaCy are seeded and run on one thread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import fasttext
import numpy as np
import spacy
from data import TestSet, format_rows, load_corpus, load_tests, save_table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from spacy.training import Example

from tipnlp.cases import LABELS, Case
from tipnlp.pipeline import TrainingConfig, build_pipeline, fit_pipeline
from tipnlp.statistics import average_f1, find_percentiles, resample_confusions

Predict = Callable[[Sequence[Case]], list[str]]
SHARES = (0.25, 0.5, 1.0)
DRAWS = 2
SPACY_EPOCHS = 8


def train_tipnlp(corpus: Sequence[Case]) -> Predict:
    """Train the default pipeline."""
    config = TrainingConfig()
    pipeline = fit_pipeline(build_pipeline(config), corpus, np.array([c.label for c in corpus]), config)
    return lambda cases: list(pipeline.predict(cases))


def train_tfidf(corpus: Sequence[Case], *vectorizers: TfidfVectorizer) -> Predict:
    """Train TF-IDF features with logistic regression."""
    classifier = LogisticRegression(C=10, max_iter=2000, class_weight="balanced")
    pipeline = make_pipeline(make_union(*vectorizers), classifier)
    pipeline.fit([c.text for c in corpus], [c.label for c in corpus])
    return lambda cases: list(pipeline.predict([c.text for c in cases]))


def train_words(corpus: Sequence[Case]) -> Predict:
    """Train on TF-IDF of words."""
    return train_tfidf(corpus, TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True))


def train_characters(corpus: Sequence[Case]) -> Predict:
    """Train on TF-IDF of words and of character n-grams."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return train_tfidf(corpus, words, TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True))


def train_fasttext(corpus: Sequence[Case]) -> Predict:
    """Train fastText with word pairs and subwords."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        lines = [f"__label__{c.label} {' '.join(c.text.lower().split())}" for c in corpus]
        path.write_text("\n".join(lines), encoding="utf-8")
        options = {"epoch": 50, "lr": 0.5, "wordNgrams": 2, "minn": 3, "maxn": 5, "dim": 50, "bucket": 500_000}
        model = fasttext.train_supervised(str(path), thread=1, seed=0, verbose=0, **options)

    def predict(cases: Sequence[Case]) -> list[str]:
        # The wrapper's own predict breaks with numpy 2; the binding below it does not.
        return [model.f.predict(" ".join(c.text.lower().split()), 1, 0.0, "strict")[0][1][9:] for c in cases]

    return predict


def train_spacy(corpus: Sequence[Case]) -> Predict:
    """Train the text categoriser that spaCy adds by default."""
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("xx")
    categorizer = nlp.add_pipe("textcat")
    for label in LABELS:
        categorizer.add_label(label)
    examples = [
        Example.from_dict(nlp.make_doc(c.text), {"cats": {label: float(label == c.label) for label in LABELS}})
        for c in corpus
    ]
    optimizer = nlp.initialize(lambda: examples[:500])
    rng = np.random.default_rng(0)
    for _ in range(SPACY_EPOCHS):
        for part in np.array_split(rng.permutation(len(examples)), max(len(examples) // 32, 1)):
            nlp.update([examples[i] for i in part], sgd=optimizer)
    return lambda cases: [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(c.text for c in cases)]


TOOLS: dict[str, Callable[[Sequence[Case]], Predict]] = {
    "tipnlp": train_tipnlp,
    "scikit-learn TF-IDF words 1-2": train_words,
    "scikit-learn TF-IDF words 1-2 + char_wb 3-5": train_characters,
    "fastText wordNgrams 2, subwords 3-5": train_fasttext,
    "spaCy textcat (its default)": train_spacy,
}


def measure_interval(tests: TestSet, predicted: Sequence[str]) -> dict[str, float]:
    """Return the bootstrap interval of macro-F1 over all texts."""
    gold = np.array([LABELS.index(c.label or "") for c in tests.cases])
    found = np.array([LABELS.index(label) for label in predicted])
    draws = resample_confusions(gold, found, np.arange(len(gold)), len(LABELS))
    interval = find_percentiles(average_f1(draws))
    return {"low": interval.low, "high": interval.high}


def compare_tools(corpus: Sequence[Case], tests: TestSet) -> str:
    """Return the table of tools."""
    rows = []
    for name, train in TOOLS.items():
        predict = train(corpus)
        found = predict(tests.cases)
        scores = tests.score(found, predict(tests.pairs))
        rows.append((name, {"all": scores.pop("all"), **measure_interval(tests, found), **scores}))
        print(name, {key: round(value, 3) for key, value in rows[-1][1].items()})
    return format_rows(rows)


def measure_growth(corpus: Sequence[Case], tests: TestSet) -> str:
    """Return the learning curve of tipnlp: the mean of some draws of a share of the groups."""
    rng = np.random.default_rng(0)
    groups = sorted({c.facts for c in corpus})
    rows = []
    for share in SHARES:
        runs = []
        for _ in range(DRAWS if share < 1 else 1):
            chosen = set(rng.choice(groups, int(share * len(groups)), replace=False).tolist())
            predict = train_tipnlp([c for c in corpus if c.facts in chosen])
            runs.append(tests.score(predict(tests.cases), predict(tests.pairs)))
        rows.append((f"{share:.0%} of the groups", {key: float(np.mean([r[key] for r in runs])) for key in runs[0]}))
        print(rows[-1])
    return format_rows(rows)


def main() -> None:
    """Compare, measure the growth, print and keep the tables."""
    corpus, tests = load_corpus(), load_tests()
    head = f"{len(corpus)} training cases, {len(tests.cases)} real texts, {len(tests.pairs) // 2} pairs; macro-F1\n"
    save_table(
        "accuracy", f"{head}\n{compare_tools(corpus, tests)}\n\nLearning curve\n\n{measure_growth(corpus, tests)}"
    )


if __name__ == "__main__":
    main()
