"""Predictions for any number of cases, in windows of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import NDArray
from scipy.special import softmax

from tipnlp.cases import LABELS, Case
from tipnlp.decision import decide_cases
from tipnlp.errors import WorkerError
from tipnlp.explanation import LISTED_TERMS, Explanation, explain_batch
from tipnlp.model import Model, load_model, read_manifest
from tipnlp.preprocess import resolve_language
from tipnlp.screening import Candidates, measure_familiarity, screen_cases
from tipnlp.writing import encode_record

# Enough texts for numpy to pay, few enough to stay small in memory.
WINDOW = 256

# With several processes, cases are sent to them in tasks of this size, so many for each at a time.
TASK, TASKS_AHEAD = 512, 32

# Digits of a probability that are written: more would claim more than a model knows.
DIGITS = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one case.

    Attributes:
        case: the case, as it was read.
        label: the most likely label.
        decision: the label, or `review`.
        reason: why review; empty when decided.
        probabilities: of each label in the order of `LABELS`; they sum to 1.
        lang: the language the text was read in.
        model: the id of the model.
        explanation: why the case got its label, where that was asked for.
    """

    case: Case
    label: str
    decision: str
    reason: str
    probabilities: Mapping[str, float]
    lang: str
    model: str
    explanation: Explanation | None = None

    def to_record(self, *, with_text: bool = False, terms: int = LISTED_TERMS) -> dict[str, Any]:
        """Return the prediction as one record; input columns of the same name get the prefix `input_`.

        Args:
            with_text: whether the text of the case comes out.
            terms: how many terms for and against are listed as evidence, where the case was explained.
        """
        record: dict[str, Any] = {
            "id": self.case.id,
            "label": self.label,
            "decision": self.decision,
            "reason": self.reason,
            "probabilities": self.probabilities,
            "lang": self.lang,
            "model": self.model,
        }
        if self.explanation:
            record["evidence"] = self.explanation.to_record(terms)
        for name, value in self.case.columns.items():
            if name not in ("id", "lang"):
                record[f"input_{name}" if name in record else name] = value
        return {**record, "text": self.case.text} if with_text else record


def list_probabilities(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Return the probabilities of `n` predictions, shape `(n, 3)`, columns in the order of `LABELS`."""
    rows = [[prediction.probabilities[label] for label in LABELS] for prediction in predictions]
    return np.array(rows, dtype=np.float64).reshape(-1, len(LABELS))


def predict_cases(
    model: Model, cases: Iterable[Case], window: int = WINDOW, *, explain: bool = False
) -> Iterator[Prediction]:
    """Predict cases one after another, reading `window` of them at a time."""
    stream = iter(cases)
    while batch := list(islice(stream, window)):
        yield from predict_window(model, batch, explain=explain)


def predict_lines(
    folder: Path, cases: Iterable[Case], *, explain: bool = False, with_text: bool = False, jobs: int = 1
) -> Iterator[bytes]:
    """Predict cases as lines of JSON, in order, in one or several processes.

    A bounded number of cases is under way at any time, however many there are.

    Args:
        folder: the model; every process loads it for itself.
        cases: any number of cases.
        explain: whether the evidence is added.
        with_text: whether the text of the cases comes out.
        jobs: how many processes work.

    Raises:
        ModelError: the model cannot be used.
        WorkerError: a process has died.
    """
    stream = iter(cases)
    tasks = iter(lambda: list(islice(stream, TASK if jobs > 1 else WINDOW)), [])
    sha256 = read_manifest(folder).sha256
    load_cached(folder, sha256)
    work = partial(encode_predictions, folder, sha256, explain=explain, with_text=with_text)
    if jobs == 1:
        yield from chain.from_iterable(map(work, tasks))
        return
    try:
        with Parallel(n_jobs=jobs, return_as="generator") as parallel:
            # Parallel reads ahead as fast as it can: it is fed in portions, so that memory stays bounded.
            while portion := list(islice(tasks, jobs * TASKS_AHEAD)):
                yield from chain.from_iterable(parallel(delayed(work)(task) for task in portion))
    except TerminatedWorkerError:
        raise WorkerError(
            "a worker process has died, perhaps for lack of memory: try fewer processes (-j), and go on with --resume"
        ) from None


def encode_predictions(folder: Path, sha256: str, cases: list[Case], *, explain: bool, with_text: bool) -> list[bytes]:
    """Predict some cases as lines of JSON with the model of this process."""
    predictions = predict_cases(load_cached(folder, sha256), cases, explain=explain)
    return [encode_record(prediction.to_record(with_text=with_text)) for prediction in predictions]


@lru_cache(maxsize=1)
def load_cached(folder: Path, sha256: str) -> Model:  # noqa: ARG001 - a folder with other content is another model
    """Load a model once a process."""
    return load_model(folder)


def predict_window(model: Model, cases: list[Case], *, explain: bool = False) -> Iterator[Prediction]:
    """Predict a list of cases at once."""
    cases = [resolve_language(case) for case in cases]
    batch = model.read_batch(cases)
    probabilities = softmax(model.score_batch(batch), axis=1)
    candidates = Candidates(
        texts=[case.text for case in cases],
        languages=batch.languages,
        labels=[LABELS[i] for i in probabilities.argmax(axis=1)],
        familiarity=measure_familiarity(model.features, batch),
        limits=model.manifest.limits,
    )
    decisions = decide_cases(probabilities, model.manifest.thresholds, screen_cases(candidates))
    explanations = explain_batch(model, batch, cases, candidates.labels) if explain else [None] * len(cases)
    for case, row, found, explanation in zip(cases, probabilities, decisions, explanations, strict=True):
        yield Prediction(
            case=case,
            label=found.label,
            decision=found.decision,
            reason=found.reason,
            probabilities={label: round(float(p), DIGITS) for label, p in zip(LABELS, row, strict=True)},
            lang=case.lang or "",
            model=model.manifest.id,
            explanation=explanation,
        )
