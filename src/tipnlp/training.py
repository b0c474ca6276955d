"""From labelled cases to a model, with what it can do out of fold."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from tipnlp.cases import LABELS, Case
from tipnlp.decision import DEFAULT_THRESHOLDS, decide_cases
from tipnlp.evaluation import Evaluation, evaluate_predictions
from tipnlp.folds import index_labels, plan_folds
from tipnlp.lexicon import fingerprint_lexicon
from tipnlp.manifest import FORMAT, Manifest, list_versions
from tipnlp.model import Model
from tipnlp.pipeline import TrainingConfig, build_pipeline, fit_pipeline
from tipnlp.promise import Promise, choose_thresholds
from tipnlp.screening import Candidates, screen_cases, set_limits
from tipnlp.seen import fingerprint_texts


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
    plan = plan_folds(cases, config)
    cases = plan.cases
    whole = delayed(fit_pipeline)(build_pipeline(config), cases, plan.labels, config)
    *parts, pipeline = Parallel(n_jobs=jobs)([*plan.list_tasks(), whole])
    found = plan.calibrate(parts)
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
