"""Why a model labels a case as it does: exact contributions of terms, and the concepts found.

The classifier is linear, so its log-odds are a sum over the features of a text. Every feature
is traced back to the tokens it was read from; what subwords add is counted to their word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tipnlp.cases import LABELS, Case
from tipnlp.features import Concepts, find_negated, get_finder
from tipnlp.lexicon import load_lexicon
from tipnlp.model import Model
from tipnlp.preprocess import locate_tokens
from tipnlp.tokens import TokenBatch
from tipnlp.weighting import HashedFeatures

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
    chosen = np.array([model.columns[LABELS.index(label)] for label in labels], dtype=np.int64)
    log_odds = model.score_batch(batch)[np.arange(len(cases)), [LABELS.index(label) for label in labels]]
    intercepts = model.classifier.intercept_[chosen]
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
    totals: list[dict[tuple[str, str], float]] = [defaultdict(float) for _ in range(len(batch))]
    places: list[dict[tuple[str, str], set[Span]]] = [defaultdict(set) for _ in range(len(batch))]
    first_column = 0
    for _, family in model.features.transformer_list:
        coefficients = model.classifier.coef_[:, first_column : first_column + len(family.hashes_)]
        first_column += len(family.hashes_)
        for document, start, end, term, value in _trace_family(family, batch, coefficients, chosen):
            key = (family.kind, term)
            totals[document][key] += value
            places[document][key].add((int(spans[start, 0]), int(spans[end - 1, 1])))
    return [
        tuple(
            Contribution(*key, value, tuple(sorted(where[key])))
            for key, value in sorted(total.items(), key=lambda item: (-abs(item[1]), item[0]))
        )
        for total, where in zip(totals, places, strict=True)
    ]


def _trace_family(
    family: HashedFeatures, batch: TokenBatch, coefficients: NDArray[np.float64], chosen: NDArray[np.int64]
) -> Iterable[tuple[int, int, int, str, float]]:
    """Yield document, first and last token, term and value of what one family adds."""
    placed = family.place_features(batch)
    columns = family.find_columns(placed.hashes).astype(np.int64)
    kept = np.flatnonzero(columns >= 0)
    starts, ends, columns = placed.starts[kept], placed.ends[kept], columns[kept]
    if not len(kept):
        return
    documents = batch.documents[starts].astype(np.int64)
    # A feature that stands at several places of a text owes the same share to each.
    keys, which, counts = np.unique(documents * len(family.hashes_) + columns, return_inverse=True, return_counts=True)
    rows, cells = keys // len(family.hashes_), keys % len(family.hashes_)
    shares = _read_cells(family.transform(batch), rows, cells) * coefficients[chosen[rows], cells] / counts
    names = _name_features(family)
    hashes = placed.hashes[kept]
    # All the parts of one word stand at one place: add them up before anything is named.
    separate = hashes if names else np.zeros(len(kept), dtype=np.uint64)
    order = np.lexsort((separate, ends, starts))
    starts, ends, separate, hashes = starts[order], ends[order], separate[order], hashes[order]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (np.diff(starts) > 0) | (np.diff(ends) > 0) | (separate[1:] != separate[:-1])
    heads = np.flatnonzero(fresh)
    values = np.add.reduceat(shares[which][order], heads)
    for head, value in zip(heads.tolist(), values.tolist(), strict=True):
        start, end = int(starts[head]), int(ends[head])
        term = names.get(int(hashes[head])) or " ".join(batch.table.texts[row] for row in batch.rows[start:end])
        yield int(batch.documents[start]), start, end, term, value


def _read_cells(matrix: csr_matrix, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(matrix[rows, columns], dtype=np.float64).ravel()


@cache
def _name_features(family: HashedFeatures) -> Mapping[int, str]:
    return family.name_features()


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
