"""The settings of training, and the untrained pipeline that they make."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from tipnlp.cases import Case
from tipnlp.errors import UsageError
from tipnlp.features import ConceptPairs, Concepts, Subwords, WordPairs, Words
from tipnlp.preprocess import Preprocessor
from tipnlp.weighting import FeatureFamilies

FAMILIES = {
    "words": Words,
    "word_pairs": WordPairs,
    "subwords": Subwords,
    "concepts": Concepts,
    "concept_pairs": ConceptPairs,
}


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What training can be told; the defaults are those of the default model.

    Attributes:
        folds: how many grouped folds the out-of-fold probabilities come from.
        seed: of the folds.
        min_groups: a feature is kept when it occurs in at least this many groups.
        regularization: C of the logistic regression; larger fits the corpus closer.
        max_judged: with more cases than this, only as many folds are judged as it takes to have so many out of fold.
        min_precision: what each label's threshold must keep, with 95 % confidence; 0: no promise is made.
        group_weight: a case of a group of `n` counts `n ** -group_weight`: at 1 the group counts as one case in all.
        words, word_pairs, subwords, concepts, concept_pairs: the weight of each family; 0 leaves it out.
    """

    folds: int = 5
    seed: int = 0
    min_groups: int = 2
    regularization: float = 2.0
    max_judged: int = 20_000
    min_precision: float = 0.0
    group_weight: float = 1.5
    words: float = 1.0
    word_pairs: float = 1.0
    subwords: float = 1.0
    concepts: float = 0.25
    concept_pairs: float = 0.5


def read_config(path: Path | None, **options: Any) -> TrainingConfig:
    """Read a TOML file of `TrainingConfig` fields; options that are not None win over it.

    Raises:
        UsageError: the file cannot be read, or names a field that does not exist.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    table.update({name: value for name, value in options.items() if value is not None})
    types = {name: type(default) for name, default in asdict(TrainingConfig()).items()}
    for name, value in table.items():
        if name not in types:
            raise UsageError(f"{path}: unknown setting {name!r}; there are {', '.join(types)}")
        if not isinstance(value, (int, types[name])) or isinstance(value, bool):
            raise UsageError(f"{path}: {name} must be a {types[name].__name__}")
    return TrainingConfig(**{name: types[name](value) for name, value in table.items()})


def build_pipeline(config: TrainingConfig) -> Pipeline:
    """Return the untrained pipeline from cases to labels."""
    weights = {name: getattr(config, name) for name in FAMILIES}
    families = [
        (name, FAMILIES[name](min_groups=config.min_groups, weight=weight))
        for name, weight in weights.items()
        if weight
    ]
    # Six steps of Newton come nearer to the minimum than forty of L-BFGS, in less time.
    classifier = LogisticRegression(C=config.regularization, class_weight="balanced", solver="newton-cg", max_iter=2000)
    return Pipeline([("preprocess", Preprocessor()), ("features", FeatureFamilies(families)), ("classify", classifier)])


def fit_pipeline(
    pipeline: Pipeline, cases: Sequence[Case], labels: NDArray[np.str_], config: TrainingConfig
) -> Pipeline:
    """Fit a pipeline; cases about the same facts share their weight."""
    sizes = Counter(case.facts for case in cases)
    weights = np.array([sizes[case.facts] ** -config.group_weight for case in cases])
    fitted: Pipeline = pipeline.fit(cases, labels, classify__sample_weight=weights)
    return fitted
