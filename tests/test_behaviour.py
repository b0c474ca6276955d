"""Behavioural checks: the texts that come with the package, what is caught, and the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Run
from tipnlp.behaviour import (
    CHECKS,
    EVIDENCE,
    KINDS,
    SLOT,
    TOLERANCE,
    Evidence,
    Probe,
    Template,
    check_behaviour,
    expand_behaviour,
    fill_template,
    format_behaviour,
    load_behaviour,
    parse_rows,
)
from tipnlp.cases import LABELS, Case
from tipnlp.errors import LexiconError
from tipnlp.language import LANGUAGES, detect_languages

every_language = pytest.mark.parametrize("lang", LANGUAGES)


@dataclass(frozen=True)
class Planted:
    """A model that gives the probability of forced labour that a function of the text says; the rest is no case."""

    judge: Callable[[str], float]

    def predict_probabilities(self, cases: Sequence[Case | str]) -> NDArray[np.float64]:
        shares = [self.judge(case.text) for case in cases if isinstance(case, Case)]
        return np.array([[share, 0.0, 1 - share] for share in shares])


def list_probes(lang: str) -> list[Probe]:
    return list(expand_behaviour(load_behaviour(lang)))


@every_language
def test_every_text_fills_without_leftovers(lang: str) -> None:
    probes = list_probes(lang)
    for text in {text for probe in probes for text in (probe.before, probe.after)}:
        assert not set("{}[]|") & set(text)
        assert not re.search(r"\s\s|\.\.|,,| [.,]", text)
        assert text[0].isupper()
        assert text.rstrip('"').endswith(".")


@every_language
def test_there_is_enough_of_everything(lang: str) -> None:
    behaviour = load_behaviour(lang)
    labels = [template.label for template in behaviour.templates]
    assert len(labels) >= 12
    assert all(abs(labels.count(label) - len(labels) / 3) <= 1 for label in LABELS)
    assert len(behaviour.evidence) >= 8
    for kind in KINDS:
        names = [next(iter(row.values())) for row in behaviour.fillers[kind]]
        assert len(names) == len(set(names)) >= 2
        assert sum(kind in template.kinds for template in behaviour.templates) >= 6
    assert len(behaviour.fillers["nationality"]) >= 150


@every_language
def test_every_column_is_used(lang: str) -> None:
    behaviour = load_behaviour(lang)
    agreeing = {row.get("form", "") for row in behaviour.fillers["gender"]}
    asked = {(kind, column.lower()) for t in behaviour.templates for kind, column in SLOT.findall(t.text)}
    for kind in KINDS:
        columns = set(behaviour.fillers[kind][0])
        assert columns - agreeing == {column for asked_kind, column in asked if asked_kind == kind} - agreeing


@every_language
def test_texts_read_as_their_language(lang: str) -> None:
    texts = {text for probe in list_probes(lang) if probe.check in ("gender", EVIDENCE) for text in (probe.before,)}
    assert len(texts) >= 12
    assert {text for text, code in zip(texts, detect_languages(list(texts)), strict=True) if code != lang} == set()


@every_language
def test_only_the_slot_changes(lang: str) -> None:
    behaviour = load_behaviour(lang)
    for probe in list_probes(lang):
        assert probe.before != probe.after
        if probe.check == EVIDENCE:
            assert len(probe.after) < len(probe.before)
    for entry in behaviour.evidence:
        assert entry.passage in entry.complete
        assert entry.passage not in entry.reduced
        assert len(entry.reduced) < len(entry.complete) - len(entry.passage) + 1


def test_slots_agree_and_begin_sentences() -> None:
    template = Template(
        "x", "fr", LABELS[0], "{gender.Article} {gender.noun} {nationality.{gender.form}}, {city.name}."
    )
    rows = {kind: load_behaviour("fr").fillers[kind] for kind in KINDS}
    woman = next(row for row in rows["gender"] if row["noun"] == "femme")
    man = next(row for row in rows["gender"] if row["noun"] == "homme")
    pole = next(row for row in rows["nationality"] if row["masculine"] == "polonais")
    chosen = {"nationality": pole, "city": {"name": "Metz"}}
    assert fill_template(template, {**chosen, "gender": woman}) == "Une femme polonaise, Metz."
    assert fill_template(template, {**chosen, "gender": man}) == "Un homme polonais, Metz."
    assert template.kinds == ("nationality", "gender", "city")


def test_marked_passage_goes_with_its_space() -> None:
    entry = Evidence("x", "en", "He worked. [[His passport was taken.]] He ate.")
    assert entry.complete == "He worked. His passport was taken. He ate."
    assert entry.reduced == "He worked. He ate."


@pytest.mark.parametrize("slot", ["{planet.name}", "{city.colour}"])
def test_unknown_slot_names_file_and_template(slot: str) -> None:
    template = Template("harbour", "en", LABELS[0], f"A man came to {slot}.")
    with pytest.raises(LexiconError, match=r"checks/en.toml: harbour: no filler \{"):
        fill_template(template, {"city": {"name": "Leeds"}})


def test_uneven_row_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        parse_rows("noun | subject\nwoman | she\nman")


def test_blind_model_passes_everything() -> None:
    report = check_behaviour(Planted(lambda text: 0.7))
    assert report.failures == ()
    assert all(report.measure_check(check, lang).value == 1 for check in CHECKS for lang in LANGUAGES)
    assert report.list_below(1) == []
    # It calls everything forced labour.
    templates = [template for lang in LANGUAGES for template in load_behaviour(lang).templates]
    variants = [template.label for template in templates for _ in range(1 + ("gender" in template.kinds))]
    assert (report.right.hits, report.right.n) == (variants.count(LABELS[0]), len(variants))
    assert "failure" not in format_behaviour(report, "Model x")


def test_planted_word_is_caught_and_nothing_else() -> None:
    report = check_behaviour(Planted(lambda text: 0.9 if "Kenyan" in text else 0.2))
    carriers = [t for t in load_behaviour("en").templates if "{nationality.adjective}" in t.text]
    found = {(o.probe.check, o.probe.lang, o.probe.item, o.probe.change.split(" (")[0]) for o in report.failures}
    assert found == {("nationality", "en", template.id, "Romanian -> Kenyan") for template in carriers}
    # Where the template has a gender, with each of the two.
    assert len(report.failures) == sum(1 + ("gender" in template.kinds) for template in carriers)
    share = report.measure_check("nationality", "en")
    assert share.n - share.hits == len(report.failures)
    assert report.measure_check("nationality", "de").value == 1
    shown = format_behaviour(report, "Model x")
    assert "Romanian -> Kenyan: non_trafficking 0.80 -> forced_labour 0.90" in shown
    (side,) = {json.dumps(f["after"]["probabilities"]) for f in report.to_dict()["failures"]}
    assert json.loads(side) == {"forced_labour": 0.9, "sex_trafficking": 0.0, "non_trafficking": 0.1}


def test_planted_gender_is_caught_in_every_gendered_template() -> None:
    report = check_behaviour(Planted(lambda text: 0.9 if " woman " in f" {text} " else 0.2), list_probes("en"))
    assert {o.probe.check for o in report.failures} == {"gender"}


def test_a_bias_that_shows_with_one_gender_only_is_caught() -> None:
    report = check_behaviour(
        Planted(lambda text: 0.9 if " woman " in text and "Leeds" not in text else 0.2), list_probes("en")
    )
    caught = [o.probe.change for o in report.failures if o.probe.check == "city"]
    assert caught
    assert all(change.endswith("(woman)") for change in caught)


def test_model_that_fears_less_evidence_is_caught() -> None:
    longer = {probe.before for probe in list_probes("lb") if probe.check == EVIDENCE}
    report = check_behaviour(Planted(lambda text: 0.6 if text in longer else 0.6 + 2 * TOLERANCE), list_probes("lb"))
    assert {o.probe.check for o in report.failures} == {EVIDENCE}
    assert report.measure_check(EVIDENCE, "lb").hits == 0
    assert report.list_below(0.5) == [EVIDENCE]


@pytest.mark.parametrize(("rise", "passes"), [(-0.5, True), (0.0, True), (TOLERANCE / 2, True), (TOLERANCE * 2, False)])
def test_a_small_rise_is_noise_and_a_label_may_change(rise: float, passes: bool) -> None:
    probe = Probe(EVIDENCE, "en", "x", "without a passage", "with", "without")
    report = check_behaviour(Planted(lambda text: 0.6 if text == "with" else 0.6 + rise), [probe])
    assert [outcome.passed for outcome in report.outcomes] == [passes]


def test_long_lists_are_cut_unless_all_are_asked_for() -> None:
    report = check_behaviour(Planted(lambda text: len(text) % 2), list_probes("en"))
    cut, whole = format_behaviour(report, "M"), format_behaviour(report, "M", show_all=True)
    assert f"{len(report.failures) - 20} more: --all shows them" in cut
    assert "more: --all" not in whole
    assert whole.count("\n  ") - cut.count("\n  ") == len(report.failures) - 21


def test_each_text_is_predicted_once() -> None:
    seen: list[str] = []
    check_behaviour(Planted(lambda text: bool(seen.append(text)) or 0.5), list_probes("fr"))
    assert len(seen) == len(set(seen)) > 1000


def test_command_end_to_end(run: Run, model_folder: Path) -> None:
    result = run("check-model", "-m", model_folder, "--json", "report.json", "--require", "1")
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert set(report["checks"]) == set(CHECKS)
    rows = [line.split() for line in result.stdout.splitlines()]
    for check, shares in report["checks"].items():
        assert set(shares["by_language"]) == set(LANGUAGES)
        assert sum(share["n"] for share in shares["by_language"].values()) == shares["all"]["n"]
        assert [check, "all", f"{shares['all']['value']:.3f}"] in [row[:3] for row in rows]
    # A model of 144 cases is not steady: this is what the command is for.
    missed = {check for check, shares in report["checks"].items() if shares["all"]["value"] < 1}
    assert missed
    assert result.exit_code == 1
    assert {line.split()[1].rstrip(":") for line in result.stderr.splitlines()} == missed
    failed = sum(shares["all"]["n"] - shares["all"]["hits"] for shares in report["checks"].values())
    assert len(report["failures"]) == failed
    assert all(failure["before"]["text"] != failure["after"]["text"] for failure in report["failures"])

    refused = run("check-model", "-m", model_folder, "--json", "report.json")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--force" in refused.stderr
    relaxed = run("check-model", "-m", model_folder, "--json", "report.json", "--force", "--require", "0")
    assert (relaxed.exit_code, relaxed.stderr) == (0, "")
    assert relaxed.stdout == result.stdout


def test_missing_model_is_wrong_use(run: Run) -> None:
    result = run("check-model", "-m", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
