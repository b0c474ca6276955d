"""Which cases a person must look at, whatever their probabilities.

A linear model is sure of nonsense: what it has never seen adds nothing, so a recipe or a text
in Polish gets the label that the few known words suggest. Each rule below looks at the text,
not at the probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tipnlp.features import WordPairs, Words, get_finder
from tipnlp.language import LANGUAGES, detect_any_languages
from tipnlp.lexicon import GROUPS, load_lexicon
from tipnlp.tokens import TokenBatch
from tipnlp.weighting import FeatureFamilies

TOO_LITTLE = "too little text"
FOREIGN = "language not in training"
UNFAMILIAR = "unfamiliar text"
OUT_OF_SCOPE = "out-of-scope exploitation"
NO_EXPLOITATION = "trafficking without an exploitation concept"

NEGATIVE = "non_trafficking"
MEASURES = ("unseen_words", "unseen_pairs")

FEWEST_TOKENS = 8

# From this share of unseen words on, a text may be of a fifth language.
STRANGE = 0.35

# A word or two of organs or marriage stand in other cases too: they must be a tenth of what is told.
OUT_OF_SCOPE_SHARE = 0.1

# The share of training cases, judged out of fold, that a limit may call unfamiliar.
TOLERATED = 0.001

# A case tells of something: of fewer telling concepts than this nothing can be concluded.
FEWEST_TELLING = 2

# Groups of concepts that tell of a case; roles and words of the trade stand in any text.
TELLING = "telling"
TELLING_GROUPS = frozenset({"act", "means", "indicator", "exploitation", "exoneration", "neighbour", "notice"})


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How much of `n` texts a model knows.

    Attributes:
        tokens: how many tokens each text has.
        unseen_words: which share of them, weighted by rarity, was not seen in training.
        unseen_pairs: the same of pairs of adjacent tokens.
        telling: how many concepts that tell of a case were found.
        exploitation: how many concepts of exploitation are among them.
        out_of_scope: how many concepts of exploitation that is none of the labels.
    """

    tokens: NDArray[np.int64]
    unseen_words: NDArray[np.float64]
    unseen_pairs: NDArray[np.float64]
    telling: NDArray[np.int64]
    exploitation: NDArray[np.int64]
    out_of_scope: NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence[Familiarity]) -> Familiarity:
        """Put what was measured in several parts one after another."""
        columns = (np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls))
        return cls(*columns)

    def __getitem__(self, which: NDArray[np.int64]) -> Familiarity:
        """Return what was measured of some of the texts."""
        return Familiarity(*(getattr(self, field.name)[which] for field in fields(self)))


def measure_familiarity(features: FeatureFamilies, batch: TokenBatch) -> Familiarity:
    """Measure how much of each text of a batch the fitted features know."""
    hits, masks = get_finder().find_concepts(batch), _mark_groups()

    def count(group: str) -> NDArray[np.int64]:
        return np.bincount(hits.documents[masks[group][hits.concepts]], minlength=len(batch))

    return Familiarity(
        tokens=np.diff(batch.offsets),
        unseen_words=_measure_unseen(features, Words, batch),
        unseen_pairs=_measure_unseen(features, WordPairs, batch),
        telling=count(TELLING),
        exploitation=count("exploitation"),
        out_of_scope=count("out_of_scope"),
    )


@cache
def _mark_groups() -> Mapping[str, NDArray[np.bool_]]:
    """Return for each group, and for all that tell of a case together, which concepts belong to it."""
    groups = np.array([concept.group for concept in load_lexicon().concepts])
    return {**{group: groups == group for group in GROUPS}, TELLING: np.isin(groups, list(TELLING_GROUPS))}


def _measure_unseen(features: FeatureFamilies, kind: type[Words | WordPairs], batch: TokenBatch) -> NDArray[np.float64]:
    family = next((each for _, each in features.transformer_list if type(each) is kind), None)
    return np.zeros(len(batch)) if family is None else family.measure_unseen(batch)


def set_limits(familiarity: Familiarity, languages: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return for each language how much unseen text is still familiar.

    Args:
        familiarity: of training cases, each measured by features that have not seen its group.
        languages: of these cases.
    """
    codes = np.array(languages)
    return {
        code: {name: float(np.quantile(getattr(familiarity, name)[codes == code], 1 - TOLERATED)) for name in MEASURES}
        for code in sorted(set(languages))
    }


@dataclass(frozen=True, slots=True)
class Candidates:
    """`n` cases that are to be decided.

    Attributes:
        texts, languages: of the cases.
        labels: the likeliest label of each.
        familiarity: how much of each text the model knows.
        limits: by language, from `set_limits`; a language without limits is not in training.
    """

    texts: Sequence[str]
    languages: Sequence[str]
    labels: Sequence[str]
    familiarity: Familiarity
    limits: Mapping[str, Mapping[str, float]]


def screen_cases(candidates: Candidates) -> list[str]:
    """Return for each case why it must be reviewed whatever its probabilities; empty: it need not be."""
    reasons = [""] * len(candidates.texts)
    for reason, find in RULES:
        for i in np.flatnonzero(find(candidates)).tolist():
            reasons[i] = reasons[i] or reason
    return reasons


def _find_little(candidates: Candidates) -> NDArray[np.bool_]:
    return candidates.familiarity.tokens < FEWEST_TOKENS


def _find_foreign(candidates: Candidates) -> NDArray[np.bool_]:
    known = np.array([language in candidates.limits for language in candidates.languages], dtype=np.bool_)
    # Asking for any of 97 languages is slow: only a text that reads as strange is asked about.
    strange = np.flatnonzero(known & (candidates.familiarity.unseen_words > STRANGE))
    codes = detect_any_languages([candidates.texts[i] for i in strange.tolist()])
    known[strange] = [code in LANGUAGES for code in codes]
    return ~known


def _find_out_of_scope(candidates: Candidates) -> NDArray[np.bool_]:
    found = candidates.familiarity
    return np.asarray(found.out_of_scope > OUT_OF_SCOPE_SHARE * found.telling)


def _find_unfamiliar(candidates: Candidates) -> NDArray[np.bool_]:
    found = candidates.familiarity.telling < FEWEST_TELLING
    for name in MEASURES:
        most = np.array([candidates.limits.get(code, {}).get(name, 0.0) for code in candidates.languages])
        found |= getattr(candidates.familiarity, name) > most
    return found


def _find_no_exploitation(candidates: Candidates) -> NDArray[np.bool_]:
    positive = np.array([label != NEGATIVE for label in candidates.labels], dtype=np.bool_)
    return np.asarray(positive & (candidates.familiarity.exploitation == 0))


# In this order: the first rule that finds a case gives the reason.
RULES: tuple[tuple[str, Callable[[Candidates], NDArray[np.bool_]]], ...] = (
    (TOO_LITTLE, _find_little),
    (FOREIGN, _find_foreign),
    (OUT_OF_SCOPE, _find_out_of_scope),
    (UNFAMILIAR, _find_unfamiliar),
    (NO_EXPLOITATION, _find_no_exploitation),
)
