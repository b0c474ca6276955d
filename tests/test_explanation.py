"""Explanations add up to what the model computes, and point at the right words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Run, read_jsonl, write_jsonl
from tipnlp.cases import LABELS, Case
from tipnlp.explanation import SHOWN_GROUPS, Contribution, Explanation, FoundConcept, check_consistency, explain_cases
from tipnlp.language import LANGUAGES
from tipnlp.model import Model
from tipnlp.prediction import predict_cases
from tipnlp.preprocess import MASK_TEXTS

F, S, N = LABELS
MASKS = frozenset(MASK_TEXTS.values())

# Pieces that are easy to point at wrongly, among words that the model knows.
WORDS = """
The boss kept her passport and never paid her. Elle devait se prostituer jour et nuit; l'argent était pour eux.
Der Chef nahm ihm den Pass weg. Hie krut keng Pai an huet missen am Haus schaffen. No threats were found, he was
free to leave. don't z.B. aujourd'hui d'Fra 15-year-old 17 3.000,50 € 2021 +352691123456 mail@example.org
www.example.org 🙂 👩\u200d👧 « » … -- ( \u0130stanbul straße e\u0301te\u0301 rumänische French passport passport
"""
PIECES = st.sampled_from(WORDS.split())
SPACES = st.sampled_from([" ", " ", " ", "", "  ", "\u00a0", "\n\n\t", "\u2009", "\r\n", "\x1c"])
TEXTS = st.lists(st.tuples(SPACES, PIECES | st.text(max_size=6)), max_size=30).map(
    lambda parts: "".join(space + piece for space, piece in parts)
)


def explain(model: Model, text: str, label: str = F, lang: str = "en") -> Explanation:
    (found,) = explain_cases(model, [Case(id="a", text=text, lang=lang)], [label])
    return found


def sum_parts(found: Explanation) -> float:
    return found.intercept + sum(c.value for c in found.contributions)


def read_log_odds(model: Model, case: Case, label: str) -> float:
    logs = np.log(model.predict_probabilities([case])[0])
    return float(logs[LABELS.index(label)] - logs.mean())


def assert_points_at_its_words(contribution: Contribution, text: str) -> None:
    assert contribution.spans
    for start, end in contribution.spans:
        assert 0 <= start < end <= len(text)
        passage = text[start:end].lower()
        if contribution.kind == "word" and contribution.term not in MASKS:
            assert passage == contribution.term
        if contribution.kind == "phrase":
            words = (r"\S+" if word in MASKS else re.escape(word) for word in contribution.term.split(" "))
            assert re.fullmatch(r"\s*".join(words), passage)


def assert_record_adds_up(record: dict[str, Any]) -> None:
    listed = sum(entry["value"] for name in ("for", "against") for entry in record[name])
    assert record["intercept"] + listed + record["rest"] == pytest.approx(record["log_odds"], abs=1e-6)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_contributions_sum_to_the_log_odds_on_the_corpus(model: Model, small_corpus: list[Case], lang: str) -> None:
    cases = [case for case in small_corpus if case.lang == lang][::2]
    labels = [LABELS[i % 3] for i in range(len(cases))]
    for case, label, found in zip(cases, labels, explain_cases(model, cases, labels), strict=True):
        assert found.label == label
        assert found.log_odds == pytest.approx(read_log_odds(model, case, label), abs=1e-6)
        assert sum_parts(found) == pytest.approx(found.log_odds, abs=1e-6)
        assert len(found.contributions) > 20
        for contribution in found.contributions:
            assert_points_at_its_words(contribution, case.text)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, lang=st.sampled_from(LANGUAGES), label=st.sampled_from(LABELS), terms=st.integers(1, 6))
def test_every_text_is_explained_to_the_last_digit(model: Model, text: str, lang: str, label: str, terms: int) -> None:
    found = explain(model, text, label, lang)
    expected = read_log_odds(model, Case(id="a", text=text, lang=lang), label)
    assert sum_parts(found) == pytest.approx(expected, abs=1e-6)
    for contribution in found.contributions:
        assert_points_at_its_words(contribution, text)
    assert all(0 <= c.span[0] < c.span[1] <= len(text) for c in found.concepts)
    assert_record_adds_up(found.to_record(terms))


def test_text_without_a_token_is_the_intercept_alone(model: Model) -> None:
    found = explain(model, " \u00a0\n")
    assert (found.contributions, found.concepts) == ((), ())
    assert found.log_odds == pytest.approx(found.intercept)


@pytest.mark.parametrize("terms", [1, 3, 10, 1000])
def test_record_lists_the_strongest_and_adds_up(model: Model, small_corpus: list[Case], terms: int) -> None:
    for found in explain_cases(model, small_corpus[:10], [S] * 10):
        record = found.to_record(terms)
        assert_record_adds_up(record)
        assert [len(record["for"]), len(record["against"])] == [
            min(terms, len(found.supporting)),
            min(terms, len(found.opposing)),
        ]
        assert all(entry["value"] >= 0 for entry in record["for"])
        assert all(entry["value"] <= 0 for entry in record["against"])
        sizes = [abs(c.value) for c in found.contributions]
        assert sizes == sorted(sizes, reverse=True)
        assert record["for"][0]["term"] == found.supporting[0].term
        assert (record["rest"] == pytest.approx(0, abs=1e-4)) == (terms == 1000)


def test_the_same_explanation_twice(model: Model, small_corpus: list[Case]) -> None:
    first, second = (explain_cases(model, small_corpus[:20], [F] * 20) for _ in range(2))
    assert first == second


def test_explanation_does_not_depend_on_neighbours(model: Model, small_corpus: list[Case]) -> None:
    cases = small_corpus[::12]
    together = explain_cases(model, cases, [N] * len(cases))
    for case, found in zip(cases, together, strict=True):
        (alone,) = explain_cases(model, [case], [N])
        assert alone.concepts == found.concepts
        values = {(c.kind, c.term): (c.spans, c.value) for c in found.contributions}
        assert values.keys() == {(c.kind, c.term) for c in alone.contributions}
        for c in alone.contributions:
            spans, value = values[c.kind, c.term]
            assert c.spans == spans
            assert c.value == pytest.approx(value, abs=1e-9)


def test_labels_are_explained_against_each_other(model: Model, small_corpus: list[Case]) -> None:
    case = small_corpus[0]
    by_label = explain_cases(model, [case] * 3, LABELS)
    assert [found.label for found in by_label] == list(LABELS)
    assert sum(found.log_odds for found in by_label) == pytest.approx(0, abs=1e-6)
    strongest = max(by_label, key=lambda found: found.log_odds)
    assert strongest.label == LABELS[model.predict_probabilities([case])[0].argmax()]


def test_repeated_word_is_one_term_with_all_its_places(model: Model) -> None:
    text = "Passport, passport and\u00a0PASSPORT 🙂 passport."
    (word,) = [c for c in explain(model, text).contributions if (c.kind, c.term) == ("word", "passport")]
    assert [text[start:end] for start, end in word.spans] == ["Passport", "passport", "PASSPORT", "passport"]


def test_masked_words_are_named_by_their_mask_alone(model: Model) -> None:
    text = "Write to anna@example.org or call 691123456, she is French and owes 25.000 euros."
    words = {c.term: c for c in explain(model, text).contributions if c.kind == "word"}
    assert "<origin>" in words
    assert [text[start:end] for start, end in words["<origin>"].spans] == ["French"]
    assert not {"anna@example.org", "691123456", "french", "25.000"} & words.keys()


def test_concepts_are_grouped_in_the_order_of_a_file_note_and_negated_ones_flagged(model: Model) -> None:
    text = "He worked in a factory. The boss kept her passport. He never beat them. One of his kidneys was removed."
    found = explain(model, text)
    assert list(found.elements) == [group for group in SHOWN_GROUPS if group in found.elements]
    names = {group: [(c.name, c.negated) for c in concepts] for group, concepts in found.elements.items()}
    assert ("violence", True) in names["means"]
    assert ("document_retention", False) in names["indicator"]
    assert ("factory_work", False) in names["exploitation"]
    assert "organ_removal" in [name for name, _ in names["out_of_scope"]]
    assert "role" not in names
    assert "role" in {c.group for c in found.concepts}
    (kept,) = found.elements["indicator"]
    assert "kept her passport" in text[slice(*kept.span)]
    assert {"concept": "violence", "span": list(found.elements["means"][0].span), "negated": True} in (
        found.to_record()["concepts"]["means"]
    )


def name_concepts(*names: tuple[str, str], negated: bool = False) -> list[FoundConcept]:
    return [FoundConcept(name, group, (0, 1), negated) for group, name in names]


WORK, SEX = ("exploitation", "factory_work"), ("exploitation", "prostitution")
THREAT, PAPERS = ("means", "threat"), ("indicator", "document_retention")


@pytest.mark.parametrize(
    ("label", "names", "note"),
    [
        (F, [], "labelled forced labour, no exploitation concept found"),
        (F, [THREAT, PAPERS], "labelled forced labour, no exploitation concept found"),
        (F, [WORK], "labelled forced labour, neither means nor indicator found"),
        (F, [WORK, THREAT], ""),
        (F, [WORK, PAPERS], ""),
        (S, [WORK, THREAT], "labelled sex trafficking, no concept of sexual exploitation found"),
        (S, [SEX], "labelled sex trafficking, neither means nor indicator found"),
        (S, [SEX, THREAT], ""),
        (N, [], ""),
        (N, [WORK, THREAT], ""),
        (N, [WORK, THREAT, PAPERS], "labelled non trafficking, yet means, indicators and exploitation were found"),
    ],
)
def test_note_says_what_does_not_fit_together(label: str, names: list[tuple[str, str]], note: str) -> None:
    assert check_consistency(label, name_concepts(*names)) == note
    assert Explanation(label, 0, 0, (), tuple(name_concepts(*names))).note == note


def test_negated_concepts_are_no_evidence() -> None:
    concepts = (*name_concepts(WORK), *name_concepts(THREAT, negated=True))
    assert Explanation(F, 0, 0, (), concepts).note == "labelled forced labour, neither means nor indicator found"


def test_prediction_is_explained_for_its_own_label(model: Model, small_corpus: list[Case]) -> None:
    plain = list(predict_cases(model, small_corpus[:30], window=7))
    explained = list(predict_cases(model, small_corpus[:30], window=7, explain=True))
    for without, prediction in zip(plain, explained, strict=True):
        assert without.explanation is None
        assert "evidence" not in without.to_record()
        assert prediction.explanation is not None
        assert prediction.explanation.label == prediction.label == without.label
        record = prediction.to_record(terms=2)
        assert len(record["evidence"]["for"]) <= 2
        assert_record_adds_up(record["evidence"])


def test_spans_are_of_the_text_as_it_came_in(run: Run, model_folder: Path) -> None:
    text = "  \n🙂 The boss\u00a0\u00a0kept his passport, his wage and his telephone.  "
    write_jsonl(Path("in.jsonl"), [{"id": "a", "text": text, "lang": "en"}])
    run("predict", "in.jsonl", "-m", model_folder, "--explain", "--with-text", "-o", "out.jsonl")
    (record,) = read_jsonl(Path("out.jsonl"))
    assert record["text"] == text
    words = [e for name in ("for", "against") for e in record["evidence"][name] if e["kind"] == "word"]
    assert words
    for entry in words:
        assert {text[start:end].lower() for start, end in entry["spans"]} == {entry["term"]}
