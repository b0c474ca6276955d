"""From labelled cases to a model: checks, grouped folds, calibration, evaluation."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, Pipeline

from tipnlp.cases import LABELS, Case
from tipnlp.corpus import is_labelled, pair_repeated_ids
from tipnlp.decision import DEFAULT_THRESHOLDS, decide_cases
from tipnlp.errors import CorpusError, UsageError
from tipnlp.evaluation import Evaluation, evaluate_predictions
from tipnlp.features import ConceptPairs, Concepts, Subwords, WordPairs, Words
from tipnlp.lexicon import fingerprint_lexicon
from tipnlp.manifest import FORMAT, Manifest, list_versions
from tipnlp.model import Model
from tipnlp.preprocess import Preprocessor, resolve_language
from tipnlp.promise import Promise, choose_thresholds
from tipnlp.screening import Candidates, Familiarity, measure_familiarity, screen_cases, set_limits
from tipnlp.seen import fingerprint_texts

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The places of the cases that are trained on, and of those that are held out."""

# A temperature outside of this range means that the folds were useless; it is not searched further.
TEMPERATURES = (0.05, 20.0)
LISTED_IDS = 5


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


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model and what was found out of fold.

    Attributes:
        model: the model, trained on all cases.
        evaluation: every case judged by a model that has not seen its group.
        promises: how each label's threshold was found; empty where no precision was asked for.
    """

    model: Model
    evaluation: Evaluation
    promises: tuple[Promise, ...]


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What models that have not seen a case's group say of it.

    Attributes:
        scores: log-odds, not calibrated, shape `(n, 3)`, columns in the order of `LABELS`.
        familiarity: how much of the text they know.
    """

    scores: NDArray[np.float64]
    familiarity: Familiarity


@dataclass(frozen=True, slots=True)
class CalibratedOutOfFold:
    """What models that have not seen a case's group say of it, as probabilities.

    Attributes:
        cases: the cases that were judged: all of them, unless there are more than `TrainingConfig.max_judged`.
        probabilities: calibrated by one temperature, shape `(n, 3)`, columns in the order of `LABELS`.
        temperature: what the log-odds were divided by.
        familiarity: how much of the text the models know.
    """

    cases: Sequence[Case]
    probabilities: NDArray[np.float64]
    temperature: float
    familiarity: Familiarity


FAMILIES = {
    "words": Words,
    "word_pairs": WordPairs,
    "subwords": Subwords,
    "concepts": Concepts,
    "concept_pairs": ConceptPairs,
}


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
    classifier = LogisticRegression(C=config.regularization, class_weight="balanced", max_iter=2000)
    return Pipeline([("preprocess", Preprocessor()), ("features", FeatureUnion(families)), ("classify", classifier)])


def fit_pipeline(
    pipeline: Pipeline, cases: Sequence[Case], labels: NDArray[np.str_], config: TrainingConfig
) -> Pipeline:
    """Fit a pipeline; cases about the same facts share their weight."""
    sizes = Counter(case.facts for case in cases)
    weights = np.array([sizes[case.facts] ** -config.group_weight for case in cases])
    fitted: Pipeline = pipeline.fit(cases, labels, classify__sample_weight=weights)
    return fitted


def train_model(cases: Sequence[Case], config: TrainingConfig | None = None, jobs: int = 1) -> TrainedModel:
    """Train a model on labelled cases.

    The probabilities are calibrated by the temperature of the out-of-fold log-odds, divided into the weights.

    Args:
        cases: labelled cases with distinct ids, at least two groups a label.
        config: settings; the defaults are those of the default model.
        jobs: how many folds are trained at the same time.

    Raises:
        CorpusError: the cases cannot be trained on; all faults are named at once.
    """
    config = config or TrainingConfig()
    cases = [resolve_language(case) for case in cases]
    found = predict_out_of_fold(cases, config, jobs)
    languages = [case.lang or "" for case in found.cases]
    gold = index_labels(found.cases)
    promises = choose_thresholds(found.probabilities, gold, config.min_precision) if config.min_precision else []
    thresholds = {promise.label: promise.threshold for promise in promises} or dict(DEFAULT_THRESHOLDS)
    limits = set_limits(found.familiarity, languages)
    likeliest = [LABELS[i] for i in found.probabilities.argmax(axis=1)]
    candidates = Candidates([case.text for case in found.cases], languages, likeliest, found.familiarity, limits)
    decisions = decide_cases(found.probabilities, thresholds, screen_cases(candidates))
    evaluation = evaluate_predictions(
        found.cases, [d.label for d in decisions], [d.decision for d in decisions], ["lang"], found.probabilities
    )
    pipeline = fit_pipeline(build_pipeline(config), cases, np.array([case.label for case in cases]), config)
    settle_weights(pipeline[-1], found.temperature)
    manifest = Manifest(
        format=FORMAT,
        id="",
        labels=LABELS,
        versions=list_versions(),
        lexicon=fingerprint_lexicon(),
        config=asdict(config),
        thresholds=thresholds,
        limits=limits,
        temperature=found.temperature,
        corpus=describe_corpus(cases),
        metrics=evaluation.to_dict(),
        date=date_today(),
        sha256="",
        seen_sha256="",
    )
    seen = fingerprint_texts([case.text for case in cases])
    return TrainedModel(Model(pipeline, manifest, seen), evaluation, tuple(promises))


def settle_weights(classifier: LogisticRegression, temperature: float) -> None:
    """Divide weights by the temperature, and centre them: log-odds are then against all labels together.

    What is common to all labels changes no probability. It is fitted in single precision, and kept in double.
    """
    for name in ("coef_", "intercept_"):
        weights = getattr(classifier, name).astype(np.float64)
        setattr(classifier, name, (weights - weights.mean(axis=0)) / temperature)


def predict_out_of_fold(
    cases: Sequence[Case], config: TrainingConfig | None = None, jobs: int = 1
) -> CalibratedOutOfFold:
    """Judge every labelled case by a model that has not seen its group.

    The probabilities are calibrated by one temperature, found on the log-odds of all folds (Guo et
    al., "On calibration of modern neural networks", 2017).

    Args:
        cases: labelled cases with distinct ids, at least two groups a label.
        config: settings; the defaults are those of the default model.
        jobs: how many folds are trained at the same time.

    Raises:
        CorpusError: the cases cannot be trained on; all faults are named at once.
    """
    config = config or TrainingConfig()
    check_cases(cases)
    cases = [resolve_language(case) for case in cases]
    labels = np.array([case.label for case in cases])
    folds = take_folds(split_folds(cases, config), config.max_judged)
    found = predict_folds(build_pipeline(config), cases, labels, folds, config, jobs)
    judged = [cases[i] for i in np.sort(np.concatenate([held_out for _, held_out in folds])).tolist()]
    temperature = find_temperature(found.scores, index_labels(judged))
    return CalibratedOutOfFold(judged, softmax(found.scores / temperature, axis=1), temperature, found.familiarity)


def take_folds(folds: Sequence[Fold], enough: int) -> list[Fold]:
    """Return the first folds that hold out `enough` cases together, or all of them."""
    held_out = np.cumsum([len(places) for _, places in folds])
    return list(folds[: int(np.searchsorted(held_out, enough)) + 1])


def index_labels(cases: Sequence[Case]) -> NDArray[np.int64]:
    """Return the place of each case's label in `LABELS`."""
    return np.array([LABELS.index(case.label or "") for case in cases], dtype=np.int64)


def check_cases(cases: Sequence[Case]) -> None:
    """Raise `CorpusError` naming every fault that makes training impossible or its figures wrong."""
    faults = [*_find_duplicate_ids(cases), *_find_missing_labels(cases), *_find_small_labels(cases)]
    if faults:
        raise CorpusError("cannot train on these cases:\n" + "\n".join(f"  {fault}" for fault in faults))


def _find_duplicate_ids(cases: Sequence[Case]) -> list[str]:
    twice = list(dict.fromkeys(cases[place].id for place, _ in pair_repeated_ids(cases)))
    return [f"ids used more than once: {_list_some(twice)}"] if twice else []


def _find_missing_labels(cases: Sequence[Case]) -> list[str]:
    missing = [case.id for case in cases if not is_labelled(case)]
    return [f"cases without a label out of {', '.join(LABELS)}: {_list_some(missing)}"] if missing else []


def _find_small_labels(cases: Sequence[Case]) -> list[str]:
    groups: dict[str, set[str]] = defaultdict(set)
    members: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        if case.label in LABELS:
            groups[case.label].add(case.facts)
            members[case.label].append(case.id)
    faults = []
    for label in LABELS:
        if not groups[label]:
            faults.append(f"no case is labelled {label}: every label needs cases of at least two groups")
        elif len(groups[label]) < 2:
            faults.append(
                f"all cases labelled {label} are of one group ({_list_some(members[label])}): at least two are needed"
            )
    return faults


def _list_some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - LISTED_IDS} more" if len(ids) > LISTED_IDS else ""
    return ", ".join(ids[:LISTED_IDS]) + more


def split_folds(cases: Sequence[Case], config: TrainingConfig) -> list[Fold]:
    """Split cases into folds that keep groups together and every label in every training part.

    With fewer groups in a label than folds, there are as many folds as groups.
    """
    labels = np.array([case.label for case in cases])
    strata = np.array([f"{case.label} {case.lang}" for case in cases])
    groups = np.array([case.facts for case in cases])
    fewest = min(len(set(groups[labels == label])) for label in LABELS)
    folds = min(config.folds, fewest)
    common = Counter(strata)
    strata = np.array([s if common[s] >= folds else label for s, label in zip(strata, labels, strict=True)])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=config.seed)
    found = list(splitter.split(labels, strata if min(Counter(strata).values()) >= folds else labels, groups))
    if any(len(set(labels[train])) < len(LABELS) for train, _ in found):
        raise CorpusError("a fold would be left without a label: give more groups of cases of the rarest label")
    return found


def predict_folds(
    pipeline: Pipeline,
    cases: Sequence[Case],
    labels: NDArray[np.str_],
    folds: Sequence[Fold],
    config: TrainingConfig,
    jobs: int = 1,
) -> OutOfFold:
    """Return what models that have not seen its group say of every case held out, in the order of the cases."""
    parts = Parallel(n_jobs=jobs)(delayed(_predict_fold)(pipeline, cases, labels, config, *fold) for fold in folds)
    places = np.argsort(np.concatenate([held_out for _, held_out in folds]))
    scores = np.concatenate([part.scores for part in parts])
    return OutOfFold(scores[places], Familiarity.join([part.familiarity for part in parts])[places])


def _predict_fold(
    pipeline: Pipeline,
    cases: Sequence[Case],
    labels: NDArray[np.str_],
    config: TrainingConfig,
    train: NDArray[np.int64],
    held_out: NDArray[np.int64],
) -> OutOfFold:
    fitted = fit_pipeline(clone(pipeline), [cases[i] for i in train], labels[train], config)
    order = [list(fitted.classes_).index(label) for label in LABELS]
    batch = fitted["preprocess"].transform([cases[i] for i in held_out])
    scores: NDArray[np.float64] = fitted[1:].decision_function(batch)[:, order]
    return OutOfFold(scores, measure_familiarity(fitted["features"], batch))


def find_temperature(scores: NDArray[np.float64], gold: NDArray[np.int64]) -> float:
    """Return the number to divide log-odds by so that their probabilities have the least log loss."""

    def measure_loss(log_temperature: float) -> float:
        logs = log_softmax(scores / np.exp(log_temperature), axis=1)
        return float(-logs[np.arange(len(gold)), gold].mean())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(measure_loss, bounds=(low, high), method="bounded").x))


def describe_corpus(cases: Sequence[Case]) -> dict[str, Any]:
    """Return hash and counts of the cases, for the manifest: no text."""
    digest = hashlib.sha256()
    for case in cases:
        entry = [case.id, case.text, case.label, case.lang, case.group]
        digest.update(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(LABELS, 0))
    for case in cases:
        counts[case.lang or "-"][case.label or "-"] += 1
    groups = {case.facts for case in cases}
    by_language = {language: counts[language] for language in sorted(counts)}
    return {"sha256": digest.hexdigest(), "cases": len(cases), "groups": len(groups), "by_language": by_language}


def date_today() -> str:
    """Return the day of training; `SOURCE_DATE_EPOCH` sets it for reproducible builds."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return now.date().isoformat()
