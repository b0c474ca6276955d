"""Which features earn their place: trained on `corpus/`, tested out of fold, on real texts and on pairs set aside.

    python bench/ablation.py

Each row changes one thing of the default settings. `corpus` is macro-F1 out of fold on the cases of
the corpus that are not contrast pairs; the other columns are on texts that no row was trained on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from data import format_rows, load_corpus, load_tests, mark_pairs, save_table
from sklearn.metrics import f1_score

from tipnlp.cases import LABELS
from tipnlp.folds import predict_out_of_fold
from tipnlp.pipeline import TrainingConfig, build_pipeline, fit_pipeline

# Three folds say as much about a row as five, in half of the time.
DEFAULT = replace(TrainingConfig(), folds=3)
ROWS = {
    "default": {},
    "words only": {"word_pairs": 0, "subwords": 0, "concepts": 0, "concept_pairs": 0},
    "no concepts at all": {"concepts": 0, "concept_pairs": 0},
    "no concept pairs": {"concept_pairs": 0},
    "no subwords": {"subwords": 0},
    "concepts and pairs weighted 1": {"concepts": 1.0, "concept_pairs": 1.0},
    "concepts only": {"words": 0, "word_pairs": 0, "subwords": 0, "concepts": 1.0, "concept_pairs": 1.0},
    "groups weighted by size": {"group_weight": 0.0},
    "groups weighted 1/size": {"group_weight": 1.0},
    "C = 10": {"regularization": 10.0},
    "features of 3 groups and more": {"min_groups": 3},
}


def main() -> None:
    """Train and test every row, print the table and keep it."""
    corpus, tests = load_corpus(), load_tests()
    labels = np.array([case.label for case in corpus])
    single = ~mark_pairs(corpus)
    rows = []
    for name, changes in ROWS.items():
        config = replace(DEFAULT, **changes)
        out_of_fold = np.array(LABELS)[predict_out_of_fold(corpus, config).probabilities.argmax(axis=1)]
        pipeline = fit_pipeline(build_pipeline(config), corpus, labels, config)
        found = tests.score(pipeline.predict(tests.cases), pipeline.predict(tests.pairs))
        corpus_f1 = float(f1_score(labels[single], out_of_fold[single], average="macro"))
        rows.append((name, {"corpus": corpus_f1, **found}))
        print(name, {key: round(value, 3) for key, value in rows[-1][1].items()})
    title = f"{len(corpus)} training cases, {len(tests.cases)} real texts, {len(tests.pairs) // 2} pairs; macro-F1\n"
    save_table("ablation", title + "\n" + format_rows(rows))


if __name__ == "__main__":
    main()
