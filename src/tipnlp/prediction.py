"""Predictions for any number of cases, in windows of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from tipnlp.cases import LABELS, Case, resolve_languages
from tipnlp.decision import decide_cases
from tipnlp.explanation import LISTED_TERMS, Explanation, explain_batch
from tipnlp.model import Model
from tipnlp.screening import Candidates, measure_familiarity, screen_cases

# Enough texts for numpy to pay, few enough to stay small in memory.
WINDOW = 512

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


def predict_window(model: Model, cases: list[Case], *, explain: bool = False) -> Iterator[Prediction]:
    """Predict a list of cases at once."""
    cases = resolve_languages(cases)
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
    for case, row, found, explanation in zip(cases, probabilities.tolist(), decisions, explanations, strict=True):
        yield Prediction(
            case=case,
            label=found.label,
            decision=found.decision,
            reason=found.reason,
            probabilities={label: round(p, DIGITS) for label, p in zip(LABELS, row, strict=True)},
            lang=case.lang or "",
            model=model.manifest.id,
            explanation=explanation,
        )
