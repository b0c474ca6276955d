"""What the benches share: the corpus to train on, the texts to test on, and how results are told."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from tipnlp.cases import Case, resolve_languages
from tipnlp.reading import read_cases

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "corpus"
PAIRS = ROOT / "bench" / "pairs.jsonl"
REAL = [ROOT.parent / "shared" / "real" / f"{name}.jsonl" for name in ("cases", "releases")]
STREAM = ROOT.parent / "shared" / "real" / "stream.jsonl"
TABLES = ROOT / "bench" / "tables"
LANGUAGES = ("en", "fr", "de")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class TestSet:
    """Labelled texts to test on, and contrast pairs that no model was trained on."""

    cases: list[Case]
    pairs: list[Case]

    def score(self, predicted: Sequence[str], predicted_pairs: Sequence[str]) -> dict[str, float]:
        """Return macro-F1 over all, by language and by file, and the share of pairs with both members right.

        The releases hold no forced labour: there a release called forced labour adds a label with an F1 of 0.
        """
        gold, found = np.array([c.label for c in self.cases]), np.array(predicted)
        languages = np.array([c.lang for c in self.cases])
        long = np.array([c.genre == "da_release" for c in self.cases])
        parts = {"all": np.ones(len(gold), dtype=bool), **{code: languages == code for code in LANGUAGES}}
        parts |= {"retold": ~long, "releases": long}
        scores = {
            name: float(f1_score(gold[part], found[part], average="macro", zero_division=0.0))
            for name, part in parts.items()
            if part.any()
        }
        return {**scores, "pairs": score_pairs(self.pairs, predicted_pairs)}


def score_pairs(pairs: Sequence[Case], predicted: Sequence[str]) -> float:
    """Return the share of contrast pairs of which both members got their label."""
    right: dict[str, bool] = defaultdict(lambda: True)
    for case, label in zip(pairs, predicted, strict=True):
        right[case.facts] &= case.label == label
    return sum(right.values()) / len(right)


def mark_pairs(cases: Sequence[Case]) -> NDArray[np.bool_]:
    """Return which cases are of a contrast pair: the labels within their group differ."""
    labels: dict[str, set[str | None]] = defaultdict(set)
    for case in cases:
        labels[case.facts].add(case.label)
    return np.array([len(labels[case.facts]) > 1 for case in cases])


def load_corpus() -> list[Case]:
    """Return the training cases."""
    return resolve_languages(list(read_cases([CORPUS], labelled=True)))


def load_tests() -> TestSet:
    """Return the real texts where they are at hand, else none, and the pairs set aside."""
    real = [path for path in REAL if path.exists()]
    cases = resolve_languages(list(read_cases(real, labelled=True))) if real else []
    return TestSet(cases, resolve_languages(list(read_cases([PAIRS], labelled=True))))


def load_texts() -> list[str]:
    """Return the texts to measure speed on: the unlabelled stream where it is at hand, else the corpus."""
    return [case.text for case in read_cases([STREAM if STREAM.exists() else CORPUS])]


def use_one_thread() -> None:
    """Let every process started from now on compute with one thread."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def format_rows(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Return named scores as a Markdown table."""
    names = list(rows[0][1])
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {name} | " + " | ".join(f"{scores[n]:.3f}" for n in names) + " |" for name, scores in rows]
    return "\n".join(lines)


def save_table(name: str, text: str) -> None:
    """Print a table and keep it as the latest."""
    TABLES.mkdir(exist_ok=True)
    (TABLES / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(text)
