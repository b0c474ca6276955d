"""Figures by hand on a few cases."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tipnlp.cases import LABELS, REVIEW, Case
from tipnlp.confidence import measure_confidence
from tipnlp.errors import CorpusError
from tipnlp.evaluation import Evaluation, evaluate_predictions
from tipnlp.report import format_evaluation
from tipnlp.statistics import Proportion

F, S, N = LABELS


def evaluate(pairs: list[tuple[str, str]], **options: Any) -> Evaluation:
    langs = options.pop("langs", ["en"] * len(pairs))
    cases = [
        Case(id=str(i), text="t", label=g, lang=lang) for i, ((g, _), lang) in enumerate(zip(pairs, langs, strict=True))
    ]
    labels = [p for _, p in pairs]
    return evaluate_predictions(cases, labels, options.pop("decisions", labels), **options)


PAIRS = [(F, F), (F, F), (F, N), (S, S), (N, S), (N, N)]


def test_figures_by_hand() -> None:
    found = evaluate(PAIRS)
    assert found.confusion == ((2, 0, 1), (0, 1, 0), (0, 1, 1))
    forced, sex, non = found.scores
    assert (forced.precision.hits, forced.precision.n, forced.recall.hits, forced.recall.n) == (2, 2, 2, 3)
    assert forced.f1 == pytest.approx(0.8)
    assert sex.f1 == pytest.approx(2 / 3)
    assert non.f1 == pytest.approx(0.5)
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3 + 0.5) / 3)
    assert found.macro_f1_interval.low <= found.macro_f1 <= found.macro_f1_interval.high
    assert (found.accuracy.hits, found.accuracy.n) == (4, 6)
    assert found.majority_macro_f1 == pytest.approx((2 * 3 / (3 + 6)) / 3)


def test_review_counts_as_undecided_not_as_wrong() -> None:
    found = evaluate(PAIRS, decisions=[F, F, REVIEW, S, REVIEW, N])
    assert (found.decided.hits, found.decided.n) == (4, 6)
    assert (found.decided_right.hits, found.decided_right.n) == (4, 4)


def test_slices_add_up() -> None:
    found = evaluate(PAIRS, langs=["en", "fr", "en", "fr", "de", "de"], by=["lang"])
    parts = found.slices["lang"]
    assert {lang: part.n for lang, part in parts.items()} == {"de": 2, "en": 2, "fr": 2}
    assert sum(part.accuracy.hits for part in parts.values()) == found.accuracy.hits


def test_label_that_occurs_nowhere_has_no_f1() -> None:
    found = evaluate([(N, N), (N, N)])
    assert [score.f1 for score in found.scores] == [None, None, 1.0]
    assert found.macro_f1 == 1.0


def test_column_without_values_and_no_cases() -> None:
    with pytest.raises(CorpusError, match="'genre'"):
        evaluate(PAIRS, by=["genre"])
    with pytest.raises(CorpusError, match="nothing to evaluate"):
        evaluate([])


def test_report_says_precision_in_plain_words() -> None:
    text = format_evaluation(evaluate([(F, F)] * 37 + [(N, F)] * 3 + [(N, N)] * 40), "Test")
    assert "Of 40 cases called forced labour, 37 were (92 %, 95 % interval 80-97 %)." in text
    assert "No case was called sex trafficking" in text


def test_dict_is_plain_json() -> None:
    found = json.loads(json.dumps(evaluate(PAIRS, by=["lang"]).to_dict()))
    assert found["slices"]["lang"]["en"]["n"] == 6
    assert found["by_label"][F]["precision"]["hits"] == 2


def test_precision_where_decided_leaves_out_what_went_to_review() -> None:
    found = evaluate(PAIRS, decisions=[F, REVIEW, REVIEW, S, REVIEW, N])
    assert [score.precision for score in found.scores] == [Proportion(2, 2), Proportion(1, 2), Proportion(1, 2)]
    assert [score.decided for score in found.scores] == [Proportion(1, 1), Proportion(1, 1), Proportion(1, 1)]
    undecided = evaluate(PAIRS, decisions=[REVIEW] * 6)
    assert [score.decided.n for score in undecided.scores] == [0, 0, 0]


def test_label_is_below_a_precision_when_its_interval_begins_below() -> None:
    # The lower ends of Wilson's intervals: 50 of 50: 0.929, 45 of 50: 0.786, none decided: none.
    pairs = [(F, F)] * 50 + [(S, S)] * 45 + [(F, S)] * 5 + [(N, N)] * 10
    decisions = [predicted if predicted != N else REVIEW for _, predicted in pairs]
    found = evaluate(pairs, decisions=decisions)
    below = {least: [score.label for score in found.list_below(least)] for least in (0.0, 0.78, 0.79, 0.92, 0.93)}
    assert below == {0.0: [], 0.78: [], 0.79: [S], 0.92: [S], 0.93: [F, S]}


def test_only_decided_cases_count_against_a_required_precision() -> None:
    pairs = [(F, F)] * 50 + [(N, F)] * 30
    assert evaluate(pairs, decisions=[F] * 50 + [REVIEW] * 30).list_below(0.9) == []
    assert [score.label for score in evaluate(pairs).list_below(0.9)] == [F]


def test_confidence_is_that_of_the_probabilities() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]])
    found = evaluate([(F, F), (N, S), (N, N)], probabilities=probabilities, by=["lang"])
    expected = measure_confidence(probabilities, np.array([0, 2, 2]))
    assert found.confidence == expected
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["confidence"] == json.loads(json.dumps(expected.to_dict()))
    assert plain["slices"]["lang"]["en"]["confidence"] is None
    text = format_evaluation(found, "Test")
    assert "If only the surest cases were decided:" in text
    assert f"Brier score {expected.brier:.3f}" in text


def test_without_probabilities_nothing_is_said_of_confidence() -> None:
    found = evaluate(PAIRS)
    assert found.to_dict()["confidence"] is None
    assert "calibration" not in format_evaluation(found, "Test")


def test_dict_says_what_was_decided_by_label() -> None:
    found = evaluate(PAIRS, decisions=[F, F, REVIEW, S, REVIEW, N]).to_dict()
    assert (found["by_label"][F]["decided"]["hits"], found["by_label"][F]["decided"]["n"]) == (2, 2)
    assert found["by_label"][F]["decided"]["interval"][0] == pytest.approx(0.342, abs=1e-3)
