"""The default model on texts it must not decide, and on real cases where they are at hand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from conftest import CORPUS, REAL, ROOT, Run, read_jsonl
from tipnlp.cases import LABELS, REVIEW, Case
from tipnlp.evaluation import Evaluation, evaluate_predictions
from tipnlp.explanation import explain_cases
from tipnlp.manifest import MANIFEST_FILE
from tipnlp.model import Model, load_model
from tipnlp.prediction import Prediction, list_probabilities, predict_cases
from tipnlp.reading import read_cases

DEFAULT = ROOT / "models" / "default"
REAL_FILES = [REAL / "cases.jsonl", REAL / "releases.jsonl"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DEFAULT / MANIFEST_FILE).is_file(), reason="models/default is not trained: make train"),
]
needs_real = pytest.mark.skipif(not all(path.is_file() for path in REAL_FILES), reason="the real cases are not here")


@pytest.fixture(scope="module")
def default_model() -> Model:
    return load_model(DEFAULT)


@pytest.fixture(scope="module")
def real_predictions(default_model: Model) -> list[Prediction]:
    return list(predict_cases(default_model, read_cases(REAL_FILES, labelled=True)))


@pytest.fixture(scope="module")
def real_evaluation(real_predictions: list[Prediction]) -> Evaluation:
    return evaluate_predictions(
        [p.case for p in real_predictions],
        [p.label for p in real_predictions],
        [p.decision for p in real_predictions],
        (),
        list_probabilities(real_predictions),
    )


def test_unlike_texts_go_to_review(default_model: Model) -> None:
    records = read_jsonl(Path(__file__).parent / "data" / "unlike.jsonl")
    cases = [Case(id=record["id"], text=record["text"]) for record in records]
    reviewed: dict[str, list[bool]] = defaultdict(list)
    for record, prediction in zip(records, predict_cases(default_model, cases), strict=True):
        reviewed[record["kind"]].append(prediction.decision == REVIEW)
    assert len(records) >= 260
    assert np.mean([each for found in reviewed.values() for each in found]) >= 0.9
    assert {kind: share for kind, found in reviewed.items() if (share := np.mean(found)) < 0.7} == {}


def test_behaviour_is_checked_by_the_command(run: Run) -> None:
    done = run("check-model", "-m", DEFAULT, "--require", 0.9)
    assert done.exit_code == 0, done.stderr


def test_explanations_of_the_corpus_sum_to_the_log_odds(default_model: Model) -> None:
    everything = list(read_cases([CORPUS], labelled=True))
    cases = everything[:: len(everything) // 100][:100]
    labels = [LABELS[i % 3] for i in range(len(cases))]
    logs = np.log(default_model.predict_probabilities(cases))
    for row, label, found in zip(logs, labels, explain_cases(default_model, cases, labels), strict=True):
        expected = row[LABELS.index(label)] - row.mean()
        assert found.intercept + sum(c.value for c in found.contributions) == pytest.approx(expected, abs=1e-6)


@needs_real
def test_few_real_cases_go_to_review(real_evaluation: Evaluation) -> None:
    assert 1 - (real_evaluation.decided.value or 0) <= 0.15


@needs_real
def test_real_cases_are_labelled_well_and_the_model_knows_how_well(real_evaluation: Evaluation) -> None:
    assert real_evaluation.macro_f1 >= 0.85
    assert real_evaluation.confidence is not None
    assert real_evaluation.confidence.calibration_error <= 0.08


@needs_real
def test_promised_precision_is_kept_on_real_cases(default_model: Model, real_evaluation: Evaluation) -> None:
    promised = float(default_model.manifest.config["min_precision"])
    if not promised:
        pytest.skip("the default model was trained without --min-precision")
    precision = {s.label: s.decided.value for s in real_evaluation.scores if s.decided.n}
    assert precision
    assert {label: value for label, value in precision.items() if (value or 0) < promised} == {}
