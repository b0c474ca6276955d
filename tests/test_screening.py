"""What must be reviewed whatever the probabilities say."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from conftest import read_jsonl
from tipnlp.cases import LABELS, REVIEW, Case
from tipnlp.model import Model
from tipnlp.prediction import Prediction, predict_cases, predict_window
from tipnlp.screening import (
    FEWEST_TOKENS,
    FOREIGN,
    NO_EXPLOITATION,
    OUT_OF_SCOPE,
    RULES,
    TOO_LITTLE,
    UNFAMILIAR,
    Candidates,
    Familiarity,
    screen_cases,
    set_limits,
)

F, S, N = LABELS
UNLIKE = Path(__file__).parent / "data" / "unlike.jsonl"

SPANISH = (
    "La inspección de trabajo visitó ayer la explotación agrícola cercana al pueblo y encontró a doce jornaleros que"
    " dormían en un almacén sin agua; llevaban tres meses sin cobrar y el capataz guardaba todos sus documentos."
)
RECIPE = {
    "en": "Heat the butter in a heavy pan, add the chopped onions and stir until golden, then pour in the stock and"
    " let it simmer gently for twenty minutes before adding cream, nutmeg and a handful of parsley.",
    "fr": "Faites fondre le beurre dans une cocotte, ajoutez les oignons émincés et remuez bien,"
    " puis versez le bouillon, laissez mijoter vingt minutes et incorporez la crème, la muscade et le persil.",
    "de": "Die Butter in einem Topf zerlassen, die gehackten Zwiebeln goldgelb andünsten, mit Brühe aufgießen und"
    " zwanzig Minuten köcheln lassen, dann Sahne, Muskat und gehackte Petersilie unterrühren.",
    "lb": "D'Botter an enger Pan schmëlze loossen, déi gehackten Ënnen dobäi ginn a réieren, bis se gëllen sinn, duerno"
    " d'Bouillon drop schëdden an zwanzeg Minutte kächele loossen, da Rahm, Muskat a Péiterséileg drënner réieren.",
}
KIDNEY = {
    "en": "The surgeon removed one of his kidneys in a private clinic after a broker had promised him money, and the"
    " kidney was sold to a patient from abroad.",
    "fr": "Un courtier lui avait promis de l'argent; un rein lui a été prélevé dans une clinique privée puis vendu à un"
    " patient étranger.",
    "de": "Ein Vermittler versprach ihm Geld, in einer Privatklinik wurde ihm eine Niere entnommen und an einen fremden"
    " Patienten verkauft.",
    "lb": "E Vermëttler huet him Suen versprach, an enger Privatklinik gouf him eng Nier erausgeholl an un e Patient"
    " aus dem Ausland verkaaft.",
}
# Threats and confiscated papers, but nobody is said to have worked.
NO_WORK = (
    "The men took her passport, threatened her family, beat her and locked her in a room. Her boss kept her passport"
    " and threatened to beat her again."
)


def predict(model: Model, text: str, lang: str | None = None) -> Prediction:
    (prediction,) = predict_cases(model, [Case(id="a", text=text, lang=lang)])
    return prediction


@pytest.mark.parametrize("lang", RECIPE)
def test_recipe_is_unfamiliar(model: Model, lang: str) -> None:
    prediction = predict(model, RECIPE[lang])
    assert (prediction.lang, prediction.decision, prediction.reason) == (lang, REVIEW, UNFAMILIAR)


@pytest.mark.parametrize("lang", KIDNEY)
def test_removal_of_organs_is_out_of_scope_in_every_language(model: Model, lang: str) -> None:
    prediction = predict(model, KIDNEY[lang])
    assert (prediction.lang, prediction.decision, prediction.reason) == (lang, REVIEW, OUT_OF_SCOPE)


@pytest.mark.parametrize("lang", [None, "en", "fr", "de", "lb"])
def test_spanish_is_not_in_training_whatever_language_the_file_says(model: Model, lang: str | None) -> None:
    prediction = predict(model, SPANISH, lang)
    assert (prediction.decision, prediction.reason) == (REVIEW, FOREIGN)


@pytest.mark.parametrize("text", ["Passport taken.", "The boss kept his passport.", "?", "🙂" * 3])
def test_too_little_text(model: Model, text: str) -> None:
    assert predict(model, text, "en").reason == TOO_LITTLE


def test_text_is_too_little_below_eight_tokens(model: Model) -> None:
    assert FEWEST_TOKENS == 8
    assert predict(model, "the boss kept her passport and wage", "en").reason == TOO_LITTLE
    assert predict(model, "the boss kept her passport and her wage", "en").reason != TOO_LITTLE


def test_trafficking_without_an_exploitation_concept(model: Model) -> None:
    prediction = predict(model, NO_WORK, "en")
    assert prediction.label != N
    assert (prediction.decision, prediction.reason) == (REVIEW, NO_EXPLOITATION)


def test_reason_does_not_touch_label_and_probabilities(model: Model) -> None:
    case = Case(id="a", text=KIDNEY["en"], lang="en")
    prediction = predict(model, case.text, "en")
    expected = model.predict_probabilities([case])[0]
    assert list(prediction.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert prediction.label == LABELS[expected.argmax()]


def test_training_cases_are_not_held_back_as_strange(model: Model, small_corpus: list[Case]) -> None:
    reasons = [p.reason for p in predict_cases(model, small_corpus)]
    assert not {TOO_LITTLE, FOREIGN} & set(reasons)
    assert reasons.count("") > len(small_corpus) / 2


def test_other_languages_and_scraps_always_go_to_review(model: Model) -> None:
    records = [r for r in read_jsonl(UNLIKE) if r["kind"] in ("other_language", "too_little")]
    assert len(records) > 50
    cases = [Case(id=r["id"], text=r["text"]) for r in records]
    reasons = defaultdict(set)
    for record, prediction in zip(records, predict_cases(model, cases), strict=True):
        assert prediction.decision == REVIEW, prediction.case.id
        reasons[record["kind"]].add(prediction.reason)
    assert reasons["other_language"] <= {FOREIGN, TOO_LITTLE}
    assert TOO_LITTLE in reasons["too_little"]


def measure(**columns: list[float]) -> Familiarity:
    """Familiarity of texts that give no reason, but for the columns named."""
    n = len(next(iter(columns.values())))
    plain = {"tokens": 100, "unseen_words": 0, "unseen_pairs": 0, "telling": 10, "exploitation": 3, "out_of_scope": 0}
    return Familiarity(**{name: np.array(columns.get(name, [value] * n)) for name, value in plain.items()})


def screen(familiarity: Familiarity, languages: list[str], labels: list[str]) -> list[str]:
    limits = {"en": {"unseen_words": 0.2, "unseen_pairs": 0.5}}
    texts = ["Two men were arrested by the police in the centre of the city on Monday."] * len(languages)
    return screen_cases(Candidates(texts, languages, labels, familiarity, limits))


def test_first_rule_that_finds_a_case_gives_the_reason() -> None:
    # From left to right one reason less.
    familiarity = measure(
        tokens=[7, 8, 100, 100, 100, 100],
        out_of_scope=[5, 5, 5, 0, 0, 0],
        telling=[1, 1, 1, 1, 10, 10],
        exploitation=[0, 0, 0, 0, 0, 1],
    )
    reasons = screen(familiarity, ["es", "es", "en", "en", "en", "en"], [F] * 6)
    assert reasons == [TOO_LITTLE, FOREIGN, OUT_OF_SCOPE, UNFAMILIAR, NO_EXPLOITATION, ""]
    assert [reason for reason, _ in RULES] == reasons[:-1]


def test_negative_needs_no_exploitation() -> None:
    assert screen(measure(exploitation=[0, 0, 0]), ["en"] * 3, [F, S, N]) == [NO_EXPLOITATION, NO_EXPLOITATION, ""]


def test_a_word_of_organs_among_much_else_is_in_scope() -> None:
    assert screen(measure(out_of_scope=[1, 2], telling=[10, 10]), ["en"] * 2, [F] * 2) == ["", OUT_OF_SCOPE]


def test_share_of_unseen_text_counts_above_the_limit_only() -> None:
    familiarity = measure(unseen_words=[0.2, 0.21, 0, 0], unseen_pairs=[0, 0, 0.5, 0.51])
    assert screen(familiarity, ["en"] * 4, [F] * 4) == ["", UNFAMILIAR, "", UNFAMILIAR]


def test_limits_are_found_for_each_language_by_itself() -> None:
    values = np.linspace(0, 0.4, 1001)
    both = measure(unseen_words=[*values, *(values + 0.5)], unseen_pairs=[*(values / 2), *(values / 4)])
    limits = set_limits(both, ["fr"] * 1001 + ["de"] * 1001)
    assert list(limits) == ["de", "fr"]
    assert limits["fr"] == pytest.approx({"unseen_words": 0.4 * 0.999, "unseen_pairs": 0.2 * 0.999})
    assert limits["de"] == pytest.approx({"unseen_words": 0.5 + 0.4 * 0.999, "unseen_pairs": 0.1 * 0.999})
    above = both.unseen_words[:1001] > limits["fr"]["unseen_words"]
    assert above.sum() == 1


def test_model_has_limits_for_the_languages_of_its_training(model: Model) -> None:
    assert set(model.manifest.limits) == {"en", "fr", "de", "lb"}


def test_no_texts_no_reasons(model: Model) -> None:
    assert screen(measure(tokens=[]), [], []) == []
    assert list(predict_window(model, [])) == []
