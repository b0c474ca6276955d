"""Results as HTML pages that stand alone: no address, no script, every value escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from tipnlp.cases import LABELS, REVIEW
from tipnlp.charts import (
    THEME,
    draw_confusion,
    draw_coverage,
    draw_precision_recall,
    draw_reliability,
    draw_tally,
    name_label,
)
from tipnlp.evaluation import Evaluation
from tipnlp.explanation import Contribution, Explanation, FoundConcept
from tipnlp.prediction import Prediction, list_probabilities
from tipnlp.report import explain_estimates, format_share, list_estimates, list_tally
from tipnlp.statistics import WIDE_INTERVAL, Proportion
from tipnlp.tables import format_count
from tipnlp.tally import Tally

GROUPS: Mapping[str, str] = {
    "act": "Act",
    "means": "Means",
    "indicator": "ILO indicators",
    "exploitation": "Exploitation",
    "exoneration": "Exoneration",
    "neighbour": "Neighbouring offence",
    "out_of_scope": "Out of scope",
}

# Shades of a mark: more could not be told apart.
SHADES = 5
LISTED_TERMS = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """A passage of a text that is shown in one way.

    Attributes:
        text: the passage, as it stands in the case.
        classes: names of CSS classes; empty where the passage is not marked.
        title: the concepts found there; empty where there is none.
    """

    text: str
    classes: str
    title: str


@dataclass(frozen=True, slots=True)
class Term:
    """One line of the table of strongest terms, its value in hundredths of log-odds."""

    text: str
    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class Card:
    """One explained case, ready to be shown.

    Attributes:
        supporting, opposing: the strongest terms.
        parts: name and value of what sums to the log-odds, in hundredths.
        log_odds: the sum, in hundredths.
        elements: by heading the concepts found, with how often.
    """

    prediction: Prediction
    explanation: Explanation
    segments: Sequence[Segment]
    supporting: Sequence[Term]
    opposing: Sequence[Term]
    parts: Mapping[str, int]
    log_odds: int
    elements: Mapping[str, Sequence[str]]


def render_evaluation(evaluation: Evaluation, predictions: Sequence[Prediction], *, with_text: bool = False) -> str:
    """Return an evaluation as a page: figures, charts, slices and the list of errors.

    Args:
        evaluation: what to show; the parts about confidence are left out where it has none.
        predictions: the predictions that were evaluated, their cases labelled.
        with_text: whether the text of the wrong cases is in the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    wrong = [p for p in predictions if p.label != p.case.label]
    # The surest errors first: they tell most about the model, or about the labels.
    wrong.sort(key=lambda p: (p.decision == REVIEW, -p.probabilities[p.label]))
    undecided = [p for p in predictions if p.decision == REVIEW]
    return _render_page(
        "evaluation.html",
        evaluation=evaluation,
        models=", ".join(sorted({p.model for p in predictions})),
        charts=_draw_charts(evaluation, predictions),
        errors=wrong,
        decided_wrong=sum(p.decision != REVIEW for p in wrong),
        undecided=len(undecided),
        undecided_right=sum(p.label == p.case.label for p in undecided),
        with_text=with_text,
    )


def _draw_charts(evaluation: Evaluation, predictions: Sequence[Prediction]) -> dict[str, Markup]:
    gold = np.array([LABELS.index(p.case.label or "") for p in predictions], dtype=np.int64)
    charts = {
        "confusion": draw_confusion(evaluation.confusion),
        "recall": draw_precision_recall(list_probabilities(predictions), gold),
    }
    if evaluation.confidence:
        points = evaluation.confidence.points
        charts["coverage"] = draw_coverage(points, evaluation.decided, evaluation.decided_right)
        charts["reliability"] = draw_reliability(evaluation.confidence.bins)
    return {name: Markup(chart) for name, chart in charts.items()}


def render_explanations(predictions: Sequence[Prediction]) -> str:
    """Return explained predictions as a page: one card a case, its text marked by what speaks for and against."""
    cards = [_build_card(p, p.explanation) for p in predictions if p.explanation]
    return _render_page("explanations.html", cards=cards, models=", ".join(sorted({p.model for p in predictions})))


def render_tally(tallies: Sequence[Tally], source: str = "") -> str:
    """Return the yearly table as a page: sentences, chart, table, estimates.

    Args:
        tallies: one row a year, or a value of another column.
        source: whose errors the corrected numbers allow for.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    estimates = list_estimates(tallies)
    hidden = any(tally.is_hidden for tally in tallies)
    return _render_page(
        "tally.html",
        title=f"Investigations by {tallies[0].column}" if tallies else "No investigations",
        tables=[table for table in (list_tally(tallies), estimates) if table],
        sentences=[tally.sentence for tally in tallies],
        notes=explain_estimates(source) if estimates else [],
        # The height of a bar would give a hidden count away.
        chart=""
        if hidden or not tallies
        else Markup(draw_tally([t.value for t in tallies], [t.counts for t in tallies])),
    )


def _render_page(template: str, **values: Any) -> str:
    return _load_templates().get_template(template).render(values) + "\n"


@cache
def _load_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("tipnlp"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": name_label,
        "share": format_share,
        "bounds": _format_bounds,
        "fraction": _format_fraction,
        "signed": _format_hundredths,
        "count": format_count,
    }
    environment.tests |= {"lower_than": _is_lower, "higher_than": _is_higher}
    environment.globals |= {"theme": THEME, "labels": LABELS, "review": REVIEW, "decisions": (*LABELS, REVIEW)}
    environment.globals["wide"] = round(100 * WIDE_INTERVAL)
    return environment


def _format_bounds(interval: object | None) -> str:
    return "" if interval is None else str(interval)


def _format_fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _format_hundredths(value: int) -> str:
    # A true minus sign is as wide as the plus sign.
    return f"{value / 100:+.2f}".replace("-", "\N{MINUS SIGN}")


def _is_lower(part: Proportion, whole: Proportion) -> bool:
    return part.interval is not None and whole.value is not None and part.interval.high < whole.value


def _is_higher(part: Proportion, whole: Proportion) -> bool:
    return part.interval is not None and whole.value is not None and part.interval.low > whole.value


def _build_card(prediction: Prediction, explanation: Explanation) -> Card:
    supporting = _list_terms(explanation.supporting)
    opposing = _list_terms(explanation.opposing)
    # Whole hundredths, so that the line adds up as it is printed.
    intercept, log_odds = round(100 * explanation.intercept), round(100 * explanation.log_odds)
    listed_for, listed_against = sum(t.value for t in supporting), sum(t.value for t in opposing)
    parts = {
        "intercept": intercept,
        "terms for": listed_for,
        "terms against": listed_against,
        "rest": log_odds - intercept - listed_for - listed_against,
    }
    elements = {GROUPS[group]: _count_concepts(found) for group, found in explanation.elements.items()}
    segments = _cut_text(prediction.case.text, explanation)
    return Card(prediction, explanation, segments, supporting, opposing, parts, log_odds, elements)


def _list_terms(contributions: Sequence[Contribution]) -> list[Term]:
    terms = [
        Term(_name_concept(c.term) if c.kind.startswith("concept") else c.term, c.kind, round(100 * c.value))
        for c in contributions[:LISTED_TERMS]
    ]
    return [term for term in terms if term.value]


def _name_concept(name: str) -> str:
    return name.replace("_", " ")


def _count_concepts(found: Sequence[FoundConcept]) -> list[str]:
    counts = Counter(("not: " if concept.negated else "") + _name_concept(concept.name) for concept in found)
    return [name if count == 1 else f"{name} (×{count})" for name, count in counts.items()]


def _cut_text(text: str, explanation: Explanation) -> list[Segment]:
    """Cut a text where its marks change; the segments put together are the text."""
    shades = _grade_characters(len(text), explanation.contributions)
    concepts = [c for c in explanation.concepts if c.group in GROUPS]
    edges = {0, len(text), *(edge for concept in concepts for edge in concept.span)}
    edges |= set((np.flatnonzero(np.diff(shades)) + 1).tolist())
    cuts = sorted(edges)
    segments = []
    for start, end in pairwise(cuts):
        covering = [c for c in concepts if c.span[0] <= start and end <= c.span[1]]
        classes = _name_classes(int(shades[start]), covering)
        segments.append(Segment(text[start:end], classes, "; ".join(map(_describe_concept, covering))))
    return segments


def _grade_characters(length: int, contributions: Sequence[Contribution]) -> NDArray[np.int64]:
    """Return the shade of each character: above 0 it supports the label, below it opposes it."""
    values = np.zeros(length)
    for contribution in contributions:
        for start, end in contribution.spans:
            values[start:end] += contribution.value / len(contribution.spans)
    strongest = np.abs(values).max(initial=0.0)
    return np.rint(SHADES * values / (strongest or 1.0)).astype(np.int64)


def _name_classes(shade: int, covering: Sequence[FoundConcept]) -> str:
    names = [f"{'for' if shade > 0 else 'against'}-{abs(shade)}"] if shade else []
    if covering:
        names.append("negated" if all(c.negated for c in covering) else "concept")
    return " ".join(names)


def _describe_concept(concept: FoundConcept) -> str:
    negated = ", negated" if concept.negated else ""
    return f"{_name_concept(concept.name)} ({GROUPS[concept.group]}{negated})"
