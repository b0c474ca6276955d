"""Scikit-learn transformers from `TokenBatch` to sparse matrices.

=================  ============================================================
`Words`            single tokens
`WordPairs`        adjacent tokens of a text (bigrams)
`Subwords`         parts of tokens, 3 to 5 characters
`Concepts`         concepts of the lexicon
`ConceptPairs`     a concept and one that follows it soon, in this order
=================  ============================================================

What they share, the choice of features and their weights, is in `tipnlp.weighting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tipnlp.concepts import ConceptFinder, ConceptHits
from tipnlp.counting import share_unseen
from tipnlp.hashing import Hashes, chain, combine, hash_substrings
from tipnlp.lexicon import load_lexicon
from tipnlp.tokens import TokenBatch, TokenValues
from tipnlp.weighting import Floats, PlacedFeatures, PlaceFeatures, TokenFeatures

# Each family hashes from a seed of its own, so that no word is mistaken for a pair.
PAIR_SEED, SUBWORD_SEED, CONCEPT_SEED, CONCEPT_PAIR_SEED, NEGATED_SEED = (np.uint64(n) for n in range(1, 6))

NEGATION = "negation"

FIRST_OF_PAIR = TokenValues(lambda _, ids: combine(PAIR_SEED, ids), np.uint64)


class Words(TokenFeatures):
    """Single tokens, in lower case, masked."""

    kind = "word"

    def measure_unseen(self, batch: TokenBatch) -> Floats:
        """Return which share of each text is not kept, worked out once per distinct token."""
        rarity = np.sqrt(self._weigh_units(batch.table)[batch.rows, 0])
        return share_unseen(batch.documents, rarity, self._highest_idf, len(batch))

    def _hash_tokens(self, texts: Sequence[str], ids: Hashes) -> tuple[Hashes, NDArray[np.int64]]:
        return ids, np.ones(len(ids), dtype=np.int64)


class Subwords(TokenFeatures):
    """Every run of `shortest` to `longest` characters of a token, its edges marked."""

    kind = "word"

    def __init__(
        self,
        shortest: int = 3,
        longest: int = 5,
        min_groups: int = 2,
        weight: float = 1.0,
    ) -> None:
        super().__init__(min_groups, weight)
        self.shortest = shortest
        self.longest = longest

    def _hash_tokens(self, texts: Sequence[str], ids: Hashes) -> tuple[Hashes, NDArray[np.int64]]:
        hashes, counts = hash_substrings(texts, self.shortest, self.longest)
        return combine(SUBWORD_SEED, hashes), counts


class WordPairs(PlaceFeatures):
    """Two tokens that stand side by side in a text."""

    kind = "phrase"

    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every two adjacent tokens of a text."""
        follows = np.ones(len(batch.rows) + 1, dtype=np.bool_)
        follows[batch.offsets] = False
        second = np.flatnonzero(follows)
        first = second - 1
        rows, table = batch.rows, batch.table
        hashes = chain(FIRST_OF_PAIR.read(table).take(rows.take(first)), table.ids.take(rows.take(second)))
        return PlacedFeatures(first, second + 1, hashes)


class Concepts(PlaceFeatures):
    """Concepts of the lexicon, with those that stand behind a negation counted apart.

    Args:
        negation_reach: how many tokens behind a negation a concept may begin to be negated.
    """

    kind = "concept"

    def __init__(
        self,
        negation_reach: int = 4,
        min_groups: int = 2,
        weight: float = 1.0,
    ) -> None:
        super().__init__(min_groups, weight)
        self.negation_reach = negation_reach

    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every concept found, and once more every one that is negated."""
        finder = get_finder()
        hits, names = finder.find_concepts(batch), finder.hashes
        negated = find_negated(hits, batch, self.negation_reach)
        hashes = combine(CONCEPT_SEED, names[hits.concepts])
        extra = combine(NEGATED_SEED, names[hits.concepts[negated]])
        return PlacedFeatures(
            np.concatenate([hits.starts, hits.starts[negated]]),
            np.concatenate([hits.ends, hits.ends[negated]]),
            np.concatenate([hashes, extra]),
        )

    def name_features(self) -> Mapping[int, str]:
        """Return the name of each concept, plain and negated, by hash."""
        finder, names = get_finder(), load_lexicon().names
        plain = zip(combine(CONCEPT_SEED, finder.hashes).tolist(), names, strict=True)
        negated = zip(combine(NEGATED_SEED, finder.hashes).tolist(), names, strict=True)
        return {**dict(plain), **{number: f"not: {name}" for number, name in negated}}


class ConceptPairs(PlaceFeatures):
    """A concept followed by another within `reach` tokens of the same sentence.

    Args:
        reach: how far apart the two may begin, in tokens.
        followers: with how many of the hits behind it a hit is paired at most.
    """

    kind = "concept pair"

    def __init__(
        self,
        reach: int = 12,
        followers: int = 4,
        min_groups: int = 2,
        weight: float = 1.0,
    ) -> None:
        super().__init__(min_groups, weight)
        self.reach = reach
        self.followers = followers

    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every concept with each of those that follow it."""
        finder = get_finder()
        hits = finder.find_concepts(batch)
        names = finder.hashes[hits.concepts]
        sentences = batch.sentences[hits.starts]
        empty = np.zeros(0, dtype=np.int64)
        firsts, seconds = [empty], [empty]
        for step in range(1, min(self.followers, max(len(hits) - 1, 0)) + 1):
            near = (sentences[step:] == sentences[:-step]) & (hits.starts[step:] - hits.starts[:-step] <= self.reach)
            firsts.append(np.flatnonzero(near))
            seconds.append(firsts[-1] + step)
        first, second = np.concatenate(firsts), np.concatenate(seconds)
        ends = np.maximum(hits.ends[first], hits.ends[second])
        return PlacedFeatures(hits.starts[first], ends, combine(CONCEPT_PAIR_SEED, names[first], names[second]))

    def name_features(self) -> Mapping[int, str]:
        """Return the names of every two concepts, in order, by hash."""
        hashes, names = get_finder().hashes, load_lexicon().names
        numbers = combine(CONCEPT_PAIR_SEED, np.repeat(hashes, len(hashes)), np.tile(hashes, len(hashes)))
        pairs = (f"{first} … {second}" for first in names for second in names)
        return dict(zip(numbers.tolist(), pairs, strict=True))


def find_negated(hits: ConceptHits, batch: TokenBatch, reach: int) -> NDArray[np.bool_]:
    """Return which hits begin within `reach` tokens behind a negation in the same sentence."""
    negations = hits.starts[hits.concepts == load_lexicon().names.index(NEGATION)]
    if not len(negations):
        return np.zeros(len(hits), dtype=np.bool_)
    before = np.searchsorted(negations, hits.starts) - 1
    nearest = negations[np.maximum(before, 0)]
    sentences = batch.sentences
    near = (hits.starts - nearest <= reach) & (sentences[nearest] == sentences[hits.starts])
    result: NDArray[np.bool_] = near & (before >= 0)
    return result


@cache
def get_finder() -> ConceptFinder:
    """Return the finder of this process; it remembers what it learnt about tokens."""
    return ConceptFinder()
