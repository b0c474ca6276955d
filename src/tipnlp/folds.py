"""Labelled cases judged by models that have not seen their group: checks, grouped folds, calibration."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from tipnlp.cases import LABELS, Case, resolve_languages
from tipnlp.corpus import is_labelled, pair_repeated_ids
from tipnlp.errors import CorpusError
from tipnlp.pipeline import TrainingConfig, build_pipeline, fit_pipeline
from tipnlp.screening import Familiarity, measure_familiarity

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The places of the cases that are trained on, and of those that are held out."""

# A temperature outside of this range means that the folds were useless; it is not searched further.
TEMPERATURES = (0.05, 20.0)
LISTED_IDS = 5


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


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """Which cases are judged by models that are trained on which others.

    Attributes:
        cases: all labelled cases, their languages filled in.
        labels: of the cases.
        folds: those that are judged.
        config: how the models are trained.
    """

    cases: Sequence[Case]
    labels: NDArray[np.str_]
    folds: Sequence[Fold]
    config: TrainingConfig

    def list_tasks(self) -> list[Any]:
        """Return the work of each fold, for `joblib.Parallel`."""
        pipeline = build_pipeline(self.config)
        return [delayed(_predict_fold)(pipeline, self.cases, self.labels, self.config, *fold) for fold in self.folds]

    def calibrate(self, parts: Sequence[OutOfFold]) -> CalibratedOutOfFold:
        """Turn what the tasks returned into probabilities.

        They are calibrated by one temperature, found on the log-odds of all folds (Guo et al., "On
        calibration of modern neural networks", 2017).
        """
        held_out = np.concatenate([places for _, places in self.folds])
        order = np.argsort(held_out)
        judged = [self.cases[i] for i in held_out[order].tolist()]
        scores = np.concatenate([part.scores for part in parts])[order]
        temperature = find_temperature(scores, index_labels(judged))
        familiarity = Familiarity.join([part.familiarity for part in parts])[order]
        return CalibratedOutOfFold(judged, softmax(scores / temperature, axis=1), temperature, familiarity)


def plan_folds(cases: Sequence[Case], config: TrainingConfig) -> FoldPlan:
    """Check cases and split them into folds.

    Raises:
        CorpusError: the cases cannot be trained on; all faults are named at once.
    """
    check_cases(cases)
    cases = resolve_languages(cases)
    labels = np.array([case.label for case in cases])
    return FoldPlan(cases, labels, take_folds(split_folds(cases, config), config.max_judged), config)


def predict_out_of_fold(
    cases: Sequence[Case], config: TrainingConfig | None = None, jobs: int = 1
) -> CalibratedOutOfFold:
    """Judge every labelled case by a model that has not seen its group.

    Args:
        cases: labelled cases with distinct ids, at least two groups a label.
        config: settings; the defaults are those of the default model.
        jobs: how many folds are trained at the same time.

    Raises:
        CorpusError: the cases cannot be trained on; all faults are named at once.
    """
    plan = plan_folds(cases, config or TrainingConfig())
    return plan.calibrate(Parallel(n_jobs=jobs)(plan.list_tasks()))


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


def take_folds(folds: Sequence[Fold], enough: int) -> list[Fold]:
    """Return the first folds that hold out `enough` cases together, or all of them."""
    held_out = np.cumsum([len(places) for _, places in folds])
    return list(folds[: int(np.searchsorted(held_out, enough)) + 1])


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
