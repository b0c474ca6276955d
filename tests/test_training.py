"""Grouped folds, calibration, and clear words for a corpus that cannot be trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from tipnlp.cases import LABELS, Case
from tipnlp.errors import CorpusError, UsageError
from tipnlp.folds import find_temperature, predict_out_of_fold, split_folds
from tipnlp.pipeline import TrainingConfig, build_pipeline, fit_pipeline, read_config
from tipnlp.training import TrainedModel, train_model

F, S, N = LABELS


def make_cases(counts: dict[str, int], group: str | None = None) -> list[Case]:
    return [
        Case(id=f"{label}-{i}", text=f"{label} text {i}", label=label, lang="en", group=group)
        for label, count in counts.items()
        for i in range(count)
    ]


def test_model_learns_what_it_is_shown(trained: TrainedModel, small_corpus: list[Case]) -> None:
    probabilities = trained.model.predict_probabilities(small_corpus)
    right = [LABELS[i] == case.label for i, case in zip(probabilities.argmax(axis=1), small_corpus, strict=True)]
    assert np.mean(right) > 0.9
    assert trained.evaluation.macro_f1 > trained.evaluation.majority_macro_f1 + 0.1
    assert trained.evaluation.n == len(small_corpus)


def test_folds_keep_groups_together_and_hold_every_case_out_once(small_corpus: list[Case]) -> None:
    cases = [replace(case, group=f"g{i // 3}") for i, case in enumerate(small_corpus)]
    folds = split_folds(cases, TrainingConfig())
    held = np.concatenate([test for _, test in folds])
    assert sorted(held) == list(range(len(cases)))
    for train, test in folds:
        assert not {cases[i].group for i in train} & {cases[i].group for i in test}


def test_out_of_fold_scores_never_come_from_the_case_itself(small_corpus: list[Case]) -> None:
    config = TrainingConfig()
    labels = np.array([case.label for case in small_corpus])
    found = predict_out_of_fold(small_corpus, config)
    train, test = split_folds(small_corpus, config)[2]
    alone = fit_pipeline(build_pipeline(config), [small_corpus[i] for i in train], labels[train], config)
    order = [list(alone.classes_).index(label) for label in LABELS]
    scores = alone.decision_function([small_corpus[i] for i in test])[:, order]
    assert np.allclose(found.probabilities[test], softmax(scores / found.temperature, axis=1))


def test_a_group_counts_as_one_case() -> None:
    config = TrainingConfig(min_groups=1, group_weight=1, word_pairs=0, subwords=0, concepts=0, concept_pairs=0)
    cases = make_cases({F: 2, S: 2, N: 2})
    doubled = [replace(case, id=f"{case.id}-{k}", group=case.id) for case in cases for k in range(3)]
    once, thrice = (
        fit_pipeline(build_pipeline(config), part, np.array([c.label for c in part]), config)
        for part in (cases, doubled)
    )
    assert np.allclose(once.predict_proba(cases), thrice.predict_proba(cases), atol=1e-3)


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(trained: TrainedModel, small_corpus: list[Case]) -> None:
    two = train_model(small_corpus, jobs=2).evaluation
    assert two.confusion == trained.evaluation.confusion
    assert two.macro_f1_interval == trained.evaluation.macro_f1_interval
    assert two.confidence is not None
    assert trained.evaluation.confidence is not None
    assert two.confidence.brier == pytest.approx(trained.evaluation.confidence.brier)


def test_features_of_one_group_only_are_not_kept() -> None:
    texts = ["secretword common", "secretword common", "other common"]
    cases = [Case(id=str(i), text=t, lang="en", group=g) for i, (t, g) in enumerate(zip(texts, "aab", strict=True))]
    pipeline = build_pipeline(TrainingConfig(words=1, word_pairs=0, subwords=0, concepts=0, concept_pairs=0))
    pipeline.fit(cases, ["x", "y", "x"])
    assert pipeline[:-1].transform(cases).shape == (3, 1)


def test_temperature_is_found_again() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3)) * 2
    chances = np.exp(log_softmax(honest, axis=1))
    gold = np.array([rng.choice(3, p=p) for p in chances])
    assert find_temperature(honest * 3, gold) == pytest.approx(3, rel=0.1)
    assert find_temperature(honest, gold) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        (make_cases({F: 3, S: 3, N: 3}) + make_cases({F: 1}), "ids used more than once: forced_labour-0"),
        (make_cases({F: 3}), "no case is labelled sex_trafficking"),
        (make_cases({F: 3, S: 3, N: 1}), "of one group .non_trafficking-0."),
        (make_cases({F: 3, S: 3}) + make_cases({N: 2}, group="same"), "non_trafficking-0, non_trafficking-1"),
        ([*make_cases({F: 3, S: 3, N: 3}), Case(id="odd", text="t", label="maybe")], "odd"),
        ([], "no case is labelled"),
    ],
)
def test_corpus_that_cannot_be_trained_on(cases: list[Case], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        train_model(cases)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(CorpusError) as caught:
        train_model(make_cases({F: 2}) * 2)
    assert str(caught.value).count("\n") == 3


def test_two_groups_a_label_are_enough() -> None:
    assert train_model(make_cases({F: 2, S: 2, N: 2})).evaluation.n == 6


def test_config_file_and_options(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("folds = 3\nregularization = 1\nwords = 0.5\n", encoding="utf-8")
    assert read_config(path, seed=7, folds=None) == TrainingConfig(folds=3, seed=7, regularization=1.0, words=0.5)


@pytest.mark.parametrize("text", ["fold = 3", "folds = 'x'", "folds = true", "folds = 2.5", "= 3"])
def test_faulty_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"c\.toml"):
        read_config(path)
