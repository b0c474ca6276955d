"""Two models on the same cases: McNemar's test by hand, paired bootstrap, the command."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CORPUS, SMALL, Run, write_jsonl
from tipnlp.cases import LABELS, Case
from tipnlp.comparison import Change, Comparison, compare_predictions
from tipnlp.errors import CorpusError
from tipnlp.model import Model, load_model, save_model
from tipnlp.pipeline import TrainingConfig
from tipnlp.prediction import predict_cases
from tipnlp.reading import read_cases
from tipnlp.report import format_comparison
from tipnlp.training import train_model

F, S, N = LABELS
LABEL = st.sampled_from(LABELS)


def compare(triples: list[tuple[str, str, str]], groups: list[str] | None = None) -> Comparison:
    cases = [
        Case(id=str(i), text="t", label=gold, group=groups[i] if groups else None)
        for i, (gold, _, _) in enumerate(triples)
    ]
    return compare_predictions(cases, [a for _, a, _ in triples], [b for _, _, b in triples])


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (1, 0), (0, 5), (0, 6), (3, 9), (9, 3), (10, 10), (5, 18), (40, 20)]
)
def test_mcnemar_by_hand(only_first: int, only_second: int) -> None:
    found = compare([(F, F, S)] * only_first + [(F, S, F)] * only_second + [(N, N, N)] * 5 + [(S, F, N)] * 2)
    split = only_first + only_second
    tail = sum(comb(split, k) for k in range(min(only_first, only_second) + 1)) / 2**split
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(min(1, 2 * tail))
    assert found.is_evident == (2 * tail < 0.05)


@settings(deadline=None, max_examples=30)
@given(pairs=st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=25))
def test_models_that_agree_do_not_differ(pairs: list[tuple[str, str]]) -> None:
    found = compare([(gold, label, label) for gold, label in pairs])
    assert (found.only_first, found.only_second, found.p_value, found.changes) == (0, 0, 1.0, ())
    for difference in found.differences:
        assert difference.first == difference.second
        assert not difference.is_evident
        if difference.interval:
            assert (difference.interval.low, difference.interval.high) == (0, 0)


@settings(deadline=None, max_examples=30)
@given(triples=st.lists(st.tuples(LABEL, LABEL, LABEL), min_size=1, max_size=25))
def test_other_way_round_is_the_mirror_image(triples: list[tuple[str, str, str]]) -> None:
    found, turned = compare(triples), compare([(gold, b, a) for gold, a, b in triples])
    assert found.p_value == turned.p_value
    assert (found.only_first, found.only_second) == (turned.only_second, turned.only_first)
    for one, other in zip(found.differences, turned.differences, strict=True):
        assert (one.first, one.second) == (other.second, other.first)
        assert one.is_evident == other.is_evident
        if one.interval and other.interval:
            assert one.interval.low == pytest.approx(-other.interval.high, abs=1e-9)


def test_perfect_model_is_evidently_better() -> None:
    gold = [F, S, N] * 20
    turned = {F: S, S: N, N: F}
    found = compare([(g, turned[g] if i % 3 else g, g) for i, g in enumerate(gold * 2)])
    assert found.is_evident
    macro, *precisions = found.differences
    assert macro.name == "macro-F1"
    assert macro.second == 1
    assert macro.is_evident
    assert [d.name for d in precisions] == [f"precision of {label}" for label in LABELS]
    assert "b is right more often." in format_comparison(found, "a", "b")


def test_evident_only_where_the_precision_differs() -> None:
    # The second model mends what the first wrongly calls forced labour.
    triples = [(N, F, N)] * 25 + [(F, F, F)] * 30 + [(S, S, S)] * 30 + [(N, N, N)] * 30
    macro, forced, sex, non = compare(triples).differences
    assert (forced.first, forced.second) == (pytest.approx(30 / 55), 1)
    assert macro.is_evident
    assert forced.is_evident
    assert not sex.is_evident
    assert not non.is_evident


def test_whole_groups_are_drawn() -> None:
    triples = [(F, S, F)] * 12 + [(N, N, N), (S, S, S), (F, F, F)] * 6
    alone = compare(triples).differences[0]
    together = compare(triples, ["one"] * 12 + [f"g{i}" for i in range(18)]).differences[0]
    assert alone.interval is not None
    assert together.interval is not None
    assert together.interval.high - together.interval.low > alone.interval.high - alone.interval.low
    assert alone.is_evident
    assert not together.is_evident


def test_label_that_one_model_never_gives_has_no_interval() -> None:
    found = compare([(F, F, F), (S, F, S), (N, N, N)])
    sex = found.differences[2]
    assert (sex.first, sex.second, sex.interval, sex.is_evident) == (None, 1, None, False)
    assert "-" in format_comparison(found, "a", "b")


def test_changes_are_listed_in_the_order_of_the_cases() -> None:
    found = compare([(F, F, F), (S, F, S), (N, N, F), (F, S, N)])
    assert found.changes == (Change("1", S, F, S), Change("2", N, N, F), Change("3", F, S, N))
    lines = format_comparison(found, "a", "b").splitlines()[-3:]
    assert [line.split()[-1] for line in lines] == ["mended", "broken", N]


def test_long_list_of_changes_is_cut_unless_all_are_asked_for() -> None:
    found = compare([(F, S, F)] * 14)
    short, long = (format_comparison(found, "a", "b", every_change=every) for every in (False, True))
    assert "and 4 more (--all)" in short
    assert short.count("mended") == 10
    assert long.count("mended") == 14
    assert "more (--all)" not in long


def test_nothing_to_compare_on() -> None:
    with pytest.raises(CorpusError, match="nothing to compare on"):
        compare_predictions([], [], [])


@pytest.fixture(scope="module")
def lesser(small_corpus: list[Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on every other case of the small corpus."""
    folder = tmp_path_factory.mktemp("lesser") / "model"
    save_model(train_model(small_corpus[::2], TrainingConfig(folds=2)).model, folder)
    return folder


@pytest.fixture(scope="module")
def unseen_cases(small_corpus: list[Case]) -> list[Case]:
    """English and German cases that neither model was trained on."""
    trained_on = {case.id for case in small_corpus}
    cases = [c for c in read_cases([CORPUS], labelled=True) if c.id not in trained_on and c.lang in ("en", "de")]
    return cases[:: len(cases) // (5 * SMALL)]


def test_command_end_to_end(run: Run, model: Model, model_folder: Path, lesser: Path, unseen_cases: list[Case]) -> None:
    write_jsonl(Path("test.jsonl"), [{**case.columns, "text": case.text} for case in unseen_cases])
    done = run("compare", lesser, model_folder, "test.jsonl", "--json", "c.json", "--all")
    assert (done.exit_code, done.stderr) == (0, "")
    other = load_model(lesser)
    first, second = ([p.label for p in predict_cases(m, unseen_cases)] for m in (other, model))
    expected = compare_predictions(unseen_cases, first, second)
    found = json.loads(Path("c.json").read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps({"models": [other.manifest.id, model.manifest.id], **expected.to_dict()}))
    assert found["n"] == len(unseen_cases)
    changed = [case.id for case, a, b in zip(unseen_cases, first, second, strict=True) if a != b]
    assert changed
    assert [change["id"] for change in found["changes"]] == changed
    assert all(case_id in done.stdout for case_id in changed)
    assert f"p = {expected.p_value:.3g}" in done.stdout
    assert other.manifest.id in done.stdout
    assert run("compare", lesser, model_folder, "test.jsonl", "--json", "c.json").exit_code == 2


def test_cases_that_either_model_has_seen_stop_the_comparison(
    run: Run, model_folder: Path, lesser: Path, corpus_file: Path
) -> None:
    # The lesser model has seen half of them, the other all: whichever comes first.
    for models in ((lesser, model_folder), (model_folder, lesser)):
        refused = run("compare", *models, corpus_file)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "144 of 144 cases were seen in training" in refused.stderr
    allowed = run("compare", lesser, model_folder, corpus_file, "--allow-leak")
    assert allowed.exit_code == 0
    assert "McNemar" in allowed.stdout
