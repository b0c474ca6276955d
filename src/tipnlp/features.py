"""Scikit-learn transformers from `TokenBatch` to sparse matrices.

Every feature is a 64-bit hash. Fitting keeps the hashes that occur in at least `min_groups`
different groups of cases, sorted; the column of a feature is its place among them. So a model
holds no readable word, and nothing that only one case says.

=================  ============================================================
`Words`            single tokens
`WordPairs`        adjacent tokens of a text (bigrams)
`Subwords`         parts of tokens, 3 to 5 characters
`Concepts`         concepts of the lexicon
`ConceptPairs`     a concept and one that follows it soon, in this order
=================  ============================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tipnlp.concepts import ConceptFinder, ConceptHits
from tipnlp.hashing import Hashes, combine, find_hashes, hash_substrings
from tipnlp.lexicon import load_lexicon
from tipnlp.preprocess import expand_ranges
from tipnlp.tokens import GrowingArray, TokenBatch, TokenTable

# Each family hashes from a seed of its own, so that no word is mistaken for a pair.
PAIR_SEED, SUBWORD_SEED, CONCEPT_SEED, CONCEPT_PAIR_SEED, NEGATED_SEED = (np.uint64(n) for n in range(1, 6))

NEGATION = "negation"


class HashedFeatures(TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """What the families share: choosing the hashes at fit, weighting the counts at transform.

    Args:
        min_groups: keep a feature only when it occurs in at least this many groups.
        weight: multiplies every value, to let a family count for more or less.
        normalize: divide each row by its length (L2), so that long texts do not shout.
    """

    def __init__(self, min_groups: int = 2, weight: float = 1.0, normalize: bool = True) -> None:
        self.min_groups = min_groups
        self.weight = weight
        self.normalize = normalize

    def fit(self, X: TokenBatch, y: Any = None) -> Self:
        """Choose the features that occur in at least `min_groups` groups."""
        documents, hashes = self._list_features(X)
        groups = X.groups[documents]
        order = np.lexsort((groups, hashes))
        hashes, groups = hashes[order], groups[order]
        new_hash = np.ones(len(hashes), dtype=np.bool_)
        new_hash[1:] = hashes[1:] != hashes[:-1]
        new_pair = new_hash.copy()
        new_pair[1:] |= groups[1:] != groups[:-1]
        starts = np.flatnonzero(new_hash)
        counts = np.add.reduceat(new_pair, starts, dtype=np.int64) if len(starts) else starts
        kept = counts >= self.min_groups
        self.hashes_: Hashes = hashes[starts][kept]
        self.idf_: NDArray[np.float64] = np.log((1 + len(np.unique(X.groups))) / (1 + counts[kept])) + 1
        return self

    def transform(self, X: TokenBatch) -> csr_matrix:
        """Return the weighted counts: one row a text, one column a kept feature."""
        check_is_fitted(self)
        counts = self._count_features(X)
        counts.data = np.log1p(counts.data)
        counts.data *= self.idf_[counts.indices]
        if self.normalize:
            lengths = np.sqrt(np.add.reduceat(np.append(counts.data**2, 0.0), counts.indptr[:-1]))
            lengths[np.diff(counts.indptr) == 0] = 1.0
            counts.data /= np.repeat(lengths, np.diff(counts.indptr))
        counts.data *= self.weight
        return counts

    @abstractmethod
    def _list_features(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        """Return document and hash of every feature in the batch, repeated as it is repeated."""

    def _count_features(self, batch: TokenBatch) -> csr_matrix:
        documents, hashes = self._list_features(batch)
        return count_entries(documents, find_hashes(hashes, self.hashes_), (len(batch), len(self.hashes_)))


class TokenFeatures(HashedFeatures):
    """Features that depend on a token alone: worked out once per distinct token."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory out of a saved model."""
        return {k: v for k, v in super().__getstate__().items() if k != "_memory"}

    @abstractmethod
    def _hash_tokens(self, table: TokenTable, start: int) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the hashes of the table's rows from `start` on, and their number a row."""

    def _list_features(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        hashes, counts = self._hash_tokens(batch.table, 0)
        ends = np.cumsum(counts)
        chosen = counts[batch.rows]
        places = expand_ranges(ends[batch.rows] - chosen, chosen)
        return np.repeat(batch.documents, chosen).astype(np.int64), hashes[places]

    def _count_features(self, batch: TokenBatch) -> csr_matrix:
        tokens = count_entries(batch.documents, batch.rows, (len(batch), len(batch.table)))
        return tokens @ self._get_columns(batch.table)

    def _get_columns(self, table: TokenTable) -> csr_matrix:
        """Return the kept features of each table row, as a matrix of ones."""
        memory: ColumnMemory | None = getattr(self, "_memory", None)
        if memory is None or memory.hashes is not self.hashes_:
            memory = self._memory = ColumnMemory(self.hashes_)
        return memory.extend_columns(table, self._hash_tokens)


class ColumnMemory:
    """The kept features of every table row seen so far."""

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        self._stores: WeakKeyDictionary[TokenTable, tuple[GrowingArray, GrowingArray]] = WeakKeyDictionary()

    def extend_columns(self, table: TokenTable, hash_tokens: Any) -> csr_matrix:
        """Work out the rows that the table has gained; return them all."""
        if table not in self._stores:
            ends = GrowingArray(np.int64)
            ends.append(np.zeros(1, dtype=np.int64))
            self._stores[table] = GrowingArray(np.int32), ends
        columns, ends = self._stores[table]
        known = len(ends) - 1
        if known < len(table):
            hashes, counts = hash_tokens(table, known)
            places = find_hashes(hashes, self.hashes)
            hit = places >= 0
            columns.append(places[hit])
            totals = np.concatenate([[0], np.cumsum(hit)])[np.cumsum(counts)]
            ends.append(ends.view[-1] + totals)
        data = np.ones(len(columns))
        return csr_matrix((data, columns.view, ends.view), shape=(len(table), len(self.hashes)), copy=False)


class Words(TokenFeatures):
    """Single tokens, in lower case, masked."""

    def _hash_tokens(self, table: TokenTable, start: int) -> tuple[Hashes, NDArray[np.int64]]:
        ids = table.ids[start:]
        return ids, np.ones(len(ids), dtype=np.int64)


class Subwords(TokenFeatures):
    """Every run of `shortest` to `longest` characters of a token, its edges marked."""

    def __init__(
        self,
        shortest: int = 3,
        longest: int = 5,
        min_groups: int = 2,
        weight: float = 1.0,
        normalize: bool = True,
    ) -> None:
        super().__init__(min_groups, weight, normalize)
        self.shortest = shortest
        self.longest = longest

    def _hash_tokens(self, table: TokenTable, start: int) -> tuple[Hashes, NDArray[np.int64]]:
        hashes, counts = hash_substrings(table.texts[start:], self.shortest, self.longest)
        return combine(SUBWORD_SEED, hashes), counts


class WordPairs(HashedFeatures):
    """Two tokens that stand side by side in a text."""

    def _list_features(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        documents, ids = batch.documents, batch.ids
        same = np.flatnonzero(documents[1:] == documents[:-1])
        return documents[same].astype(np.int64), combine(PAIR_SEED, ids[same], ids[same + 1])


class Concepts(HashedFeatures):
    """Concepts of the lexicon, with those that stand behind a negation counted apart.

    Args:
        negation_reach: how many tokens behind a negation a concept may begin to be negated.
    """

    def __init__(
        self,
        negation_reach: int = 4,
        min_groups: int = 2,
        weight: float = 1.0,
        normalize: bool = True,
    ) -> None:
        super().__init__(min_groups, weight, normalize)
        self.negation_reach = negation_reach

    def _list_features(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        finder = get_finder()
        hits, names = finder.find_concepts(batch), finder.hashes
        negated = find_negated(hits, batch, self.negation_reach)
        hashes = combine(CONCEPT_SEED, names[hits.concepts])
        extra = combine(NEGATED_SEED, names[hits.concepts[negated]])
        return np.concatenate([hits.documents, hits.documents[negated]]), np.concatenate([hashes, extra])


class ConceptPairs(HashedFeatures):
    """A concept followed by another within `reach` tokens of the same sentence.

    Args:
        reach: how far apart the two may begin, in tokens.
        followers: with how many of the hits behind it a hit is paired at most.
    """

    def __init__(
        self,
        reach: int = 12,
        followers: int = 4,
        min_groups: int = 2,
        weight: float = 1.0,
        normalize: bool = True,
    ) -> None:
        super().__init__(min_groups, weight, normalize)
        self.reach = reach
        self.followers = followers

    def _list_features(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        finder = get_finder()
        hits = finder.find_concepts(batch)
        names = finder.hashes[hits.concepts]
        sentences = batch.sentences[hits.starts]
        documents, hashes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
        for step in range(1, min(self.followers, max(len(hits) - 1, 0)) + 1):
            near = (sentences[step:] == sentences[:-step]) & (hits.starts[step:] - hits.starts[:-step] <= self.reach)
            first = np.flatnonzero(near)
            documents.append(hits.documents[first])
            hashes.append(combine(CONCEPT_PAIR_SEED, names[first], names[first + step]))
        return np.concatenate(documents), np.concatenate(hashes)


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


def count_entries(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> csr_matrix:
    """Count how often each (row, column) is listed; entries with a column below 0 are left out."""
    keys = rows.astype(np.int64) * shape[1] + columns
    distinct, counts = np.unique(keys[columns >= 0], return_counts=True)
    indptr = np.searchsorted(distinct, np.arange(shape[0] + 1) * np.int64(shape[1]))
    indices = (distinct % shape[1]) if shape[1] else distinct
    return csr_matrix((counts.astype(np.float64), indices, indptr), shape=shape)


@cache
def get_finder() -> ConceptFinder:
    """Return the finder of this process; it remembers what it learnt about tokens."""
    return ConceptFinder()
