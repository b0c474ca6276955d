"""Why a model labels a case as it does: exact contributions of terms, and the concepts found.

The classifier is linear, so its log-odds are a sum over the features of a text. Every feature
is traced back to the tokens it was read from; what subwords add is counted to their word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS, Case
from tipnlp.features import Concepts, find_negated, get_finder
from tipnlp.lexicon import load_lexicon
from tipnlp.model import Model
from tipnlp.preprocess import locate_tokens
from tipnlp.tokens import TokenBatch
from tipnlp.weighting import HashedFeatures, PlacedScores

Span = tuple[int, int]
"""Start and end of a passage, in characters of the original text (end excluded)."""

# The groups of concepts that are legal elements or bear on them, in the order of a file note.
SHOWN_GROUPS = ("act", "means", "indicator", "exploitation", "exoneration", "neighbour", "out_of_scope")

SEX_CONCEPTS = frozenset({"prostitution", "sexual_services_advertised", "pornography_webcam", "sex_seller"})

# Digits of a contribution in a record; what rounding leaves goes into `rest`, so that the sum stays exact.
DIGITS = 6
LISTED_TERMS = 10


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one term of a text adds to the log-odds of a label.

    Attributes:
        kind: `word` (with its parts), `phrase` (two words), `concept`, or `concept pair`.
        term: the words in lower case, or the name of the concept.
        value: in units of log-odds, over all places of the term.
        spans: where the term stands.
    """

    kind: str
    term: str
    value: float
    spans: tuple[Span, ...]

    def to_record(self) -> dict[str, Any]:
        """Return the contribution as plain data."""
        return {
            "kind": self.kind,
            "term": self.term,
            "value": round(self.value, DIGITS),
            "spans": [list(span) for span in self.spans],
        }


@dataclass(frozen=True, slots=True)
class FoundConcept:
    """A concept of the lexicon at one place of a text; negated where a negation stands before it."""

    name: str
    group: str
    span: Span
    negated: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a case got its label.

    Attributes:
        label: the label that is explained.
        log_odds: log-odds of the label against all labels together: log p(label) less the mean of the
            three log p. It is `intercept` plus the values of all contributions.
        intercept: what the model adds to every text.
        contributions: every term, the strongest first.
        concepts: every concept found, in the order of the text.
    """

    label: str
    log_odds: float
    intercept: float
    contributions: tuple[Contribution, ...]
    concepts: tuple[FoundConcept, ...]

    @property
    def supporting(self) -> list[Contribution]:
        """The terms that speak for the label, the strongest first."""
        return [c for c in self.contributions if c.value > 0]

    @property
    def opposing(self) -> list[Contribution]:
        """The terms that speak against the label, the strongest first."""
        return [c for c in self.contributions if c.value < 0]

    @property
    def elements(self) -> dict[str, list[FoundConcept]]:
        """The concepts by group, groups without any left out."""
        grouped = {group: [c for c in self.concepts if c.group == group] for group in SHOWN_GROUPS}
        return {group: concepts for group, concepts in grouped.items() if concepts}

    @property
    def note(self) -> str:
        """What does not fit together between the label and the concepts; empty where it does."""
        return check_consistency(self.label, [c for c in self.concepts if not c.negated])

    def sum_others(self, terms: int) -> float:
        """Return what all terms but the strongest `terms` for and against add together."""
        return sum(c.value for c in (*self.supporting[terms:], *self.opposing[terms:]))

    def to_record(self, terms: int = LISTED_TERMS) -> dict[str, Any]:
        """Return the explanation as plain data, with the strongest `terms` for and against.

        `intercept`, the listed values and `rest` sum to `log_odds`.
        """
        listed = {"for": self.supporting[:terms], "against": self.opposing[:terms]}
        shown = {name: [c.to_record() for c in contributions] for name, contributions in listed.items()}
        log_odds, intercept = round(self.log_odds, DIGITS), round(self.intercept, DIGITS)
        rest = log_odds - intercept - sum(entry["value"] for entries in shown.values() for entry in entries)
        return {
            "label": self.label,
            "log_odds": log_odds,
            "intercept": intercept,
            **shown,
            "rest": round(rest, DIGITS),
            "concepts": {group: _list_concepts(found) for group, found in self.elements.items()},
            "note": self.note,
        }


def _list_concepts(found: Iterable[FoundConcept]) -> list[dict[str, Any]]:
    return [{"concept": c.name, "span": list(c.span), "negated": c.negated} for c in found]


def check_consistency(label: str, concepts: Sequence[FoundConcept]) -> str:
    """Say what speaks against a label in the legal elements found; empty where nothing does."""
    names, groups = {c.name for c in concepts}, {c.group for c in concepts}
    name = label.replace("_", " ")
    if label == "non_trafficking":
        if groups >= {"exploitation", "means", "indicator"}:
            return f"labelled {name}, yet means, indicators and exploitation were found"
        return ""
    if "exploitation" not in groups:
        return f"labelled {name}, no exploitation concept found"
    if label == "sex_trafficking" and not names & SEX_CONCEPTS:
        return f"labelled {name}, no concept of sexual exploitation found"
    if not groups & {"means", "indicator"}:
        return f"labelled {name}, neither means nor indicator found"
    return ""


def explain_cases(model: Model, cases: Sequence[Case], labels: Sequence[str]) -> list[Explanation]:
    """Explain for each case why the model gives it, or does not give it, a label.

    Args:
        model: a loaded model.
        cases: `n` cases with their language filled in.
        labels: for each the label to explain, one of `LABELS`.
    """
    return explain_batch(model, model.read_batch(cases), cases, labels)


def explain_batch(model: Model, batch: TokenBatch, cases: Sequence[Case], labels: Sequence[str]) -> list[Explanation]:
    """Explain cases whose tokens are read already; otherwise as `explain_cases`."""
    spans = np.concatenate([np.zeros((0, 2), dtype=np.int64), *map(locate_tokens, cases)])
    chosen = np.array([LABELS.index(label) for label in labels], dtype=np.int64)
    log_odds = model.score_batch(batch)[np.arange(len(cases)), chosen]
    intercepts = model.intercepts[chosen]
    terms = _collect_terms(model, batch, chosen, spans)
    concepts = _collect_concepts(batch, spans)
    return [
        Explanation(label, float(log_odds[i]), float(intercepts[i]), terms[i], concepts[i])
        for i, label in enumerate(labels)
    ]


def _collect_terms(
    model: Model, batch: TokenBatch, chosen: NDArray[np.int64], spans: NDArray[np.int64]
) -> list[tuple[Contribution, ...]]:
    """Return the contributions of every text of a batch, the strongest first."""
    kinds: dict[str, list[tuple[HashedFeatures, NDArray[np.float64]]]] = defaultdict(list)
    for (_, family), coefficients in zip(model.features.transformer_list, model.coefficients, strict=True):
        kinds[family.kind].append((family, coefficients))
    tokens = batch.read_tokens(0, len(batch.rows))
    terms: list[list[Contribution]] = [[] for _ in range(len(batch))]
    for kind, families in kinds.items():
        places = _join_places([family.share_scores(batch, coefficients) for family, coefficients in families])
        names = _name_columns(families[0][0])
        for document, head, value, where in _add_places(places, batch.documents, chosen, spans):
            term = names[places.units[head]] if names else " ".join(tokens[places.starts[head] : places.ends[head]])
            terms[document].append(Contribution(kind, term, value, where))
    return [tuple(sorted(found, key=lambda term: (-abs(term.value), term.kind, term.term))) for found in terms]


def _join_places(parts: Sequence[PlacedScores]) -> PlacedScores:
    columns = (np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(PlacedScores))
    return PlacedScores(*columns)


def _add_places(
    places: PlacedScores, documents: NDArray[np.int32], chosen: NDArray[np.int64], spans: NDArray[np.int64]
) -> Iterable[tuple[int, int, float, tuple[Span, ...]]]:
    """Yield for every unit of a text the text, one of its places, the value of all, and where they are."""
    owners = documents[places.starts]
    values = places.values[np.arange(len(owners)), chosen[owners]]
    order = np.lexsort((places.ends, places.starts, places.units, owners))
    order = order[values[order] != 0]
    if not len(order):
        return
    owners, units, values = owners[order], places.units[order], values[order]
    heads = np.flatnonzero(np.append(True, (np.diff(owners) != 0) | (np.diff(units) != 0)))
    begins, ends = spans[places.starts[order], 0].tolist(), spans[places.ends[order] - 1, 1].tolist()
    where = list(zip(begins, ends, strict=True))
    bounds = pairwise([*heads.tolist(), len(order)])
    totals = np.add.reduceat(values, heads).tolist()
    for owner, place, total, (first, last) in zip(
        owners[heads].tolist(), order[heads].tolist(), totals, bounds, strict=True
    ):
        # Words and subwords name the same places.
        yield owner, place, total, tuple(dict.fromkeys(where[first:last]))


@cache
def _name_columns(family: HashedFeatures) -> list[str]:
    """Return the name of every column of a family, or nothing where the tokens name it."""
    names = family.name_features()
    return [names[number] for number in family.hashes_.tolist()] if names else []


def _collect_concepts(batch: TokenBatch, spans: NDArray[np.int64]) -> list[tuple[FoundConcept, ...]]:
    known = load_lexicon().concepts
    hits = get_finder().find_concepts(batch)
    negated = find_negated(hits, batch, Concepts().negation_reach)
    found: list[list[FoundConcept]] = [[] for _ in range(len(batch))]
    for i, document in enumerate(hits.documents.tolist()):
        concept = known[hits.concepts[i]]
        span = (int(spans[hits.starts[i], 0]), int(spans[hits.ends[i] - 1, 1]))
        found[document].append(FoundConcept(concept.name, concept.group, span, bool(negated[i])))
    return [tuple(concepts) for concepts in found]
