"""HTML reports: what they say, what they keep to themselves, and that they stand alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from tipnlp.cases import LABELS, REVIEW, Case
from tipnlp.charts import draw_confusion, draw_precision_recall, draw_tally
from tipnlp.errors import MissingExtraError
from tipnlp.evaluation import Evaluation, evaluate_predictions
from tipnlp.explanation import Contribution, Explanation, FoundConcept, explain_cases
from tipnlp.html import render_evaluation, render_explanations, render_tally
from tipnlp.model import Model
from tipnlp.prediction import Prediction, list_probabilities, predict_cases
from tipnlp.quantification import Estimate
from tipnlp.statistics import Interval
from tipnlp.tally import COLUMNS, Tally

FL, ST, NT = LABELS
HOSTILE = "<script>alert('&amp;')</script>\"'><img src=x onerror=alert(1)>"
SVG = re.compile(r"<svg .*?</svg>", re.DOTALL)


class Page(HTMLParser):
    """What a browser would make of a page, as far as the tests ask.

    Attributes:
        tags: every element of the page.
        addresses: every value of an attribute that can load or lead somewhere.
        texts: the text of each element of class `text`.
        marks: for each of these the marked passages: classes, title, text.
        words: the text of the page outside style sheets, white space as one space.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.marks: list[list[tuple[str, str, str]]] = []
        self._depth = 0
        self._open = ""
        self._said: list[str] = []
        self.feed(source)
        self.words = " ".join("".join(self._said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self._open = tag
        self.addresses += [values[name] for name in ("src", "href", "xlink:href", "action") if name in values]
        if self._depth:
            self._depth += 1
            self.marks[-1].append((values.get("class", ""), values.get("title", ""), ""))
        elif values.get("class") == "text":
            self._depth = 1
            self.texts.append("")
            self.marks.append([])

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        self._depth = max(0, self._depth - 1)

    def handle_data(self, data: str) -> None:
        if self._open != "style":
            self._said.append(data)
        if self._depth:
            self.texts[-1] += data
        if self._depth > 1:
            classes, title, text = self.marks[-1][-1]
            self.marks[-1][-1] = (classes, title, text + data)


def predict_by_hand(
    case_id: str, gold: str, label: str, *, sure: float = 0.9, decided: bool = True, text: str = "secret story"
) -> Prediction:
    rest = round((1 - sure) / 2, 4)
    return Prediction(
        case=Case(id=case_id, text=text, label=gold, lang="en", country="LU" if gold == FL else "FR"),
        label=label,
        decision=label if decided else REVIEW,
        reason="" if decided else "low confidence",
        probabilities={name: sure if name == label else rest for name in LABELS},
        lang="en",
        model="0123456789ab",
    )


def evaluate(predictions: Sequence[Prediction], *by: str, known: bool = True) -> Evaluation:
    return evaluate_predictions(
        [p.case for p in predictions],
        [p.label for p in predictions],
        [p.decision for p in predictions],
        by,
        list_probabilities(predictions) if known else None,
    )


@pytest.fixture
def predictions() -> list[Prediction]:
    """42 of 53 called forced labour are; some are undecided, two of them rightly labelled."""
    return [
        *(predict_by_hand(f"fl-{i}", FL, FL, sure=0.95 - i / 200) for i in range(42)),
        *(predict_by_hand(f"miss-{i}", NT, FL, sure=0.5 + i / 100) for i in range(11)),
        *(predict_by_hand(f"st-{i}", ST, ST, sure=0.8) for i in range(9)),
        *(predict_by_hand(f"nt-{i}", NT, NT, sure=0.7) for i in range(8)),
        predict_by_hand("unsure-wrong", ST, NT, sure=0.45, decided=False),
        predict_by_hand("unsure-right-1", ST, ST, sure=0.45, decided=False),
        predict_by_hand("unsure-right-2", NT, NT, sure=0.45, decided=False),
    ]


def explain_by_hand(
    contributions: Sequence[Contribution] = (), concepts: Sequence[FoundConcept] = (), log_odds: float = 1.0
) -> Explanation:
    intercept = log_odds - sum(c.value for c in contributions)
    return Explanation(FL, log_odds, intercept, tuple(contributions), tuple(concepts))


def tally_by_hand(year: str, *counts: int) -> Tally:
    return Tally("year", year, dict(zip(COLUMNS, counts, strict=True)))


def attach(predictions: Sequence[Prediction], explanations: Sequence[Explanation]) -> list[Prediction]:
    return [replace(p, explanation=e) for p, e in zip(predictions, explanations, strict=True)]


def assert_stands_alone(source: str) -> None:
    page = Page(source)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert all(address.startswith("#") for address in page.addresses)
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", source))
    assert "@import" not in source
    namespaces = re.compile(r'xmlns(:\w+)?="[^"]*"')
    assert not re.search(r"https?://", namespaces.sub("", source))
    ids = re.findall(r'\bid="([^"]*)"', source)
    assert len(ids) == len(set(ids))
    used, defined = set(re.findall(r"var\((--\w+)", source)), set(re.findall(r"(--\w+):", source))
    assert used <= defined


def test_headline_is_in_plain_words_with_n_and_interval(predictions: list[Prediction]) -> None:
    words = Page(render_evaluation(evaluate(predictions), predictions)).words
    assert "Of 53 cases called forced labour, 42 were (79 %, 95 % interval 67-88 %)." in words
    assert "70 of 73 cases were decided, 3 sent to review" in words
    assert "Of 8 cases called not trafficking, 8 were" in words
    assert "Too few to judge: the interval is wider than 30 points." in words
    assert "always calling the most frequent label: 0.24" in words
    assert "It gives no verdict" in words


def test_every_error_is_listed_decided_ones_first_and_the_surest_before(predictions: list[Prediction]) -> None:
    source = render_evaluation(evaluate(predictions), predictions)
    listed = re.findall(r'<th scope="row" class="wrap">([^<]*)</th>', source)
    assert listed == [*(f"miss-{i}" for i in reversed(range(11))), "unsure-wrong"]
    assert "11 cases decided wrongly, then 1 sent to review" in Page(source).words
    assert "2 more went to review although the likeliest label is right" in Page(source).words


def test_text_of_cases_is_there_only_when_asked_for(predictions: list[Prediction]) -> None:
    evaluation = evaluate(predictions)
    assert "secret story" not in render_evaluation(evaluation, predictions)
    told = Page(render_evaluation(evaluation, predictions, with_text=True))
    assert told.texts == ["secret story"] * 12


def test_no_errors_are_reported_as_such() -> None:
    right = [predict_by_hand(f"{label}-{i}", label, label) for label in LABELS for i in range(4)]
    words = Page(render_evaluation(evaluate(right), right)).words
    assert "No errors: the likeliest label of every case is right." in words


def test_label_that_was_never_called_is_named() -> None:
    few = [predict_by_hand("only", FL, ST, sure=1.0)]
    words = Page(render_evaluation(evaluate(few), few)).words
    assert "No case was called forced labour: nothing can be said of its precision." in words
    assert "Of 1 case called sex trafficking, 0 was" in words


def test_parts_about_confidence_need_probabilities(predictions: list[Prediction]) -> None:
    full = render_evaluation(evaluate(predictions), predictions)
    assert "Expected calibration error" in full
    assert "Reliability diagram" in full
    assert len(SVG.findall(full)) == 4
    bare = render_evaluation(evaluate(predictions, known=False), predictions)
    assert "alibration" not in bare
    assert len(SVG.findall(bare)) == 2


def test_slice_is_marked_where_its_accuracy_leaves_out_that_of_all(predictions: list[Prediction]) -> None:
    source = render_evaluation(evaluate(predictions, "country", "lang"), predictions)
    rows = {row.split("<")[0]: row for row in re.findall(r'<tr><th scope="row">(\w\w</th>.*?)</tr>', source)}
    assert "▲ higher" in rows["LU"]
    assert "▼ lower" in rows["FR"]
    assert "▲" not in rows["en"]
    assert "▼" not in rows["en"]


def test_hostile_text_stays_text() -> None:
    wrong = [predict_by_hand(HOSTILE, FL, ST, text=HOSTILE), predict_by_hand("b", NT, NT, text=HOSTILE)]
    wrong[0].case.extra["office"] = HOSTILE  # type: ignore[index]
    evaluated = render_evaluation(evaluate(wrong, "office"), wrong, with_text=True)
    assert Page(evaluated).texts == [HOSTILE]
    odd = [Contribution("word", HOSTILE, 0.5, ((0, 8),))]
    explained = render_explanations([replace(p, explanation=explain_by_hand(odd)) for p in wrong])
    assert Page(explained).texts == [HOSTILE] * 2
    counts = dict(zip(COLUMNS, (4, 2, 5, 1), strict=True))
    estimates = {FL: Estimate(4.5, 3, 6)}
    tallied = render_tally([Tally("office", HOSTILE, counts, estimates, estimates)], HOSTILE)
    for source in (evaluated, explained, tallied):
        assert_stands_alone(source)
        assert HOSTILE in Page(source).words


def test_pages_stand_alone_and_are_the_same_every_time(predictions: list[Prediction]) -> None:
    explanations = [explain_by_hand()] * len(predictions)
    for render in (
        lambda: render_evaluation(evaluate(predictions, "lang"), predictions, with_text=True),
        lambda: render_explanations(attach(predictions, explanations)),
        lambda: render_tally([tally_by_hand("2020", 3, 1, 4, 1)], "model 0123456789ab out of fold"),
    ):
        assert_stands_alone(render())
        assert render() == render()


def test_charts_are_sound_and_say_what_they_show(predictions: list[Prediction]) -> None:
    charts = SVG.findall(render_evaluation(evaluate(predictions), predictions))
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img"
        assert root.get("aria-label") == root[0].text
        assert "<text" in chart
    assert "of 42 forced labour, 42 called forced labour" in charts[0]
    assert "of 20 not trafficking, 11 called forced labour" in charts[0]


def test_chart_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib as mpl

    # To read the backend is to load pyplot.
    names = [name for name in mpl.rcParams if name != "backend"]
    before = {name: mpl.rcParams[name] for name in names}
    draw_confusion([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert {name: mpl.rcParams[name] for name in names} == before
    assert "matplotlib.pyplot" not in sys.modules


def test_label_without_a_case_has_no_curve() -> None:
    chart = draw_precision_recall(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]), np.array([0, 1]))
    assert "sex trafficking (1.00)" in chart
    assert "not trafficking" not in chart


def test_chart_of_years_says_its_counts_and_draws_its_intervals() -> None:
    counts = [{FL: 4, ST: 2, NT: 5, REVIEW: 1}, {FL: 6, ST: 1, NT: 7, REVIEW: 0}]
    bare = draw_tally(["2020", "2021"], counts)
    chart = draw_tally(["2020", "2021"], counts, [{FL: Interval(3, 6)}, {FL: Interval(5, 8.5)}])
    assert "2021: 6 forced labour, 1 sex trafficking, 7 not trafficking, 0 to review" in chart
    assert chart.count("<path") > bare.count("<path")


def test_tally_page_shows_sentences_tables_notes_and_chart() -> None:
    first = replace(tally_by_hand("2020", 4, 2, 5, 1), expected={FL: Estimate(4.5, 3, 6)})
    page = Page(render_tally([first, tally_by_hand("2021", 6, 1, 7, 0)], "m.json"))
    for said in (
        "Investigations by year",
        first.sentence,
        "2021",
        "2020 forced labour",
        "4.5",
        "3-6",
        "errs as m.json",
    ):
        assert said in page.words
    assert page.tags.count("table") == 2
    assert page.tags.count("svg") == 1
    assert page.tags.count("figure") == 1


def test_tally_page_has_no_notes_without_estimates_and_no_chart_of_hidden_counts() -> None:
    known = tally_by_hand("2020", 40, 20, 50, 10)
    bare = Page(render_tally([known]))
    assert "expected:" not in bare.words
    assert bare.tags.count("table") == 1
    hidden = replace(tally_by_hand("2021", 40, 2, 50, 10), below=5, expected={FL: Estimate(41.7, 38, 45)})
    page = Page(render_tally([known, hidden]))
    assert "svg" not in page.tags
    assert "<5" in page.words
    assert "41.7" not in page.words
    assert "No investigations" in Page(render_tally([])).words


@pytest.fixture(scope="module")
def explained(model: Model, small_corpus: list[Case]) -> tuple[list[Prediction], list[Explanation]]:
    cases = [*small_corpus[::6], Case(id="lines", text=" <b>Line</b> one &amp;\n\n\ttwo — «Pass» 🙂 weg\n", lang="de")]
    predictions = list(predict_cases(model, cases))
    return predictions, explain_cases(model, [p.case for p in predictions], [p.label for p in predictions])


def test_marked_text_is_the_text_and_concepts_lie_where_they_were_found(
    explained: tuple[list[Prediction], list[Explanation]],
) -> None:
    predictions, explanations = explained
    page = Page(render_explanations(attach(predictions, explanations)))
    assert page.texts == [p.case.text for p in predictions]
    seen = 0
    for prediction, explanation, marks in zip(predictions, explanations, page.marks, strict=True):
        for group, concepts in explanation.elements.items():
            for name in {c.name for c in concepts}:
                title = name.replace("_", " ") + " ("
                places = {at for c in concepts if c.name == name for at in range(*c.span)}
                told = [text for _, titles, text in marks if any(t.startswith(title) for t in titles.split("; "))]
                marked = "".join(told)
                assert marked == "".join(prediction.case.text[at] for at in sorted(places)), (group, name)
                seen += 1
    assert seen > 20


def test_marks_add_up_what_terms_contribute() -> None:
    text = "Her boss kept the passport.\nShe was free."
    prediction = predict_by_hand("one", FL, FL, text=text)
    explanation = explain_by_hand(
        [
            Contribution("word", "passport", 1.0, ((18, 26),)),
            Contribution("phrase", "the passport", 1.0, ((14, 26),)),
            Contribution("word", "free", -0.8, ((36, 40),)),
            # Shared by two places: too little at each to be seen.
            Contribution("word", "e", 0.3, ((28, 31), (32, 35))),
        ],
        [FoundConcept("document_retention", "indicator", (9, 26), False), FoundConcept("x_y", "act", (36, 40), True)],
    )
    source = render_explanations(attach([prediction], [explanation]))
    assert Page(source).marks[0] == [
        ("concept", "document retention (ILO indicators)", "kept "),
        ("for-2 concept", "document retention (ILO indicators)", "the "),
        ("for-5 concept", "document retention (ILO indicators)", "passport"),
        ("against-2 negated", "x y (Act, negated)", "free"),
    ]
    assert "<dt>ILO indicators</dt><dd>document retention</dd>" in source
    assert "<dt>Act</dt><dd>not: x y</dd>" in source


def test_printed_parts_sum_to_the_log_odds(explained: tuple[list[Prediction], list[Explanation]]) -> None:
    page = Page(render_explanations(attach(*explained)))
    names = ("intercept", r"\+ terms for", r"\+ terms against", r"\+ rest", "= log-odds")
    lines = re.findall(" ".join(rf"{name} (\S+)" for name in names), page.words)
    assert len(lines) == len(explained[0])
    for line, explanation in zip(lines, explained[1], strict=True):
        *parts, total = (round(100 * float(number.replace("\N{MINUS SIGN}", "-"))) for number in line)
        assert sum(parts) == total
        assert total == round(100 * explanation.log_odds)


def test_card_names_decision_reason_note_and_probabilities() -> None:
    unsure = predict_by_hand("doubt", FL, ST, sure=0.46, decided=False)
    explanation = Explanation(ST, 0.2, 0.2, (), ())
    source = render_explanations(attach([unsure], [explanation]))
    words = Page(source).words
    assert "To review: low confidence. Likeliest: sex trafficking." in words
    assert f"Does not fit together: {explanation.note}." in words
    assert explanation.note
    assert '<div class="sex_trafficking" style="width: 46.00%"></div>' in source
    assert "sex trafficking 0.46" in " ".join(re.sub("<[^>]*>", " ", source).split())
    assert "No concept of the lexicon was found." in words


def test_missing_matplotlib_says_what_to_install(
    predictions: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = evaluate(predictions)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'tipnlp[report]'")):
        render_evaluation(evaluation, predictions)
    # Explanations and tables need no chart.
    assert "doubt" in render_explanations(attach([predict_by_hand("doubt", FL, FL)], [explain_by_hand()]))
    assert "<5" in Page(render_tally([replace(tally_by_hand("2020", 4, 9, 9, 9), below=5)])).words
