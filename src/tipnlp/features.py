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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tipnlp.concepts import ConceptFinder, ConceptHits
from tipnlp.counting import GroupCounts, count_entries, count_tokens, share_weights
from tipnlp.hashing import Hashes, HashIndex, combine, hash_substrings
from tipnlp.lexicon import load_lexicon
from tipnlp.tokens import GrowingArray, TokenBatch, TokenTable, expand_ranges

# Each family hashes from a seed of its own, so that no word is mistaken for a pair.
PAIR_SEED, SUBWORD_SEED, CONCEPT_SEED, CONCEPT_PAIR_SEED, NEGATED_SEED = (np.uint64(n) for n in range(1, 6))

NEGATION = "negation"

# So many texts are worked on at a time when there are more of them: the arrays in between stay small.
WINDOW = 2048


@dataclass(frozen=True, slots=True)
class PlacedFeatures:
    """Features where they stand in a batch.

    Attributes:
        starts, ends: the tokens of each, as places in the flat arrays of the batch (end excluded).
        hashes: which feature it is.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    hashes: Hashes


class HashedFeatures(TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """What the families share: choosing the hashes at fit, weighting the counts at transform.

    Args:
        min_groups: keep a feature only when it occurs in at least this many groups.
        weight: multiplies every value, to let a family count for more or less.
        normalize: divide each row by its length (L2), so that long texts do not shout.
    """

    kind: ClassVar[str]
    """What a feature of the family is called in an explanation."""

    def __init__(self, min_groups: int = 2, weight: float = 1.0, normalize: bool = True) -> None:
        self.min_groups = min_groups
        self.weight = weight
        self.normalize = normalize

    def fit(self, X: TokenBatch, y: Any = None) -> Self:
        """Choose the features that occur in at least `min_groups` groups."""
        kept = GroupCounts()
        for window in X.split_by_group(WINDOW):
            kept.add_window(window.groups, *self._list_presence(window))
        hashes, counts = kept.merge()
        chosen = counts >= self.min_groups
        self.hashes_: Hashes = hashes[chosen]
        self.idf_: NDArray[np.float64] = np.log((1 + len(np.unique(X.groups))) / (1 + counts[chosen])) + 1
        return self

    def transform(self, X: TokenBatch) -> csr_matrix:
        """Return the weighted counts: one row a text, one column a kept feature."""
        check_is_fitted(self)
        if len(X) <= WINDOW:
            return self._weigh_counts(X)
        return vstack([self._weigh_counts(window) for window in X.split(WINDOW)], format="csr")

    def _weigh_counts(self, batch: TokenBatch) -> csr_matrix:
        values = self._dampen_counts(batch)
        scale = self.weight / self._measure_rows(values)
        values.data *= self.idf_[values.indices]
        values.data *= np.repeat(scale, np.diff(values.indptr))
        return values.astype(np.float32)

    def score(self, batch: TokenBatch, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `transform(batch) @ coefficients` without making the matrix, shape `(n, k)`.

        Args:
            batch: the tokens of `n` texts.
            coefficients: shape `(features, k)`.
        """
        values = self._dampen_counts(batch)
        scores: NDArray[np.float64] = values @ (coefficients * self.idf_[:, None])
        return scores * (self.weight / self._measure_rows(values))[:, None]

    def _dampen_counts(self, batch: TokenBatch) -> csr_matrix:
        """Return log(1 + count) of each feature: from a table, because counts are small whole numbers."""
        counts = self._count_features(batch)
        whole = counts.data.astype(np.int32)
        counts.data = np.log1p(np.arange(whole.max(initial=0) + 1))[whole]
        return counts

    def _measure_rows(self, values: csr_matrix) -> NDArray[np.float64]:
        """Return what each row is divided by: its length after weighting by rarity, 1 for an empty one."""
        if not self.normalize:
            return np.ones(values.shape[0])
        squares = csr_matrix((values.data**2, values.indices, values.indptr), shape=values.shape)
        lengths = np.sqrt(squares @ self.idf_**2)
        lengths[lengths == 0] = 1.0
        return np.asarray(lengths)

    @abstractmethod
    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every feature in the batch with its place, repeated as it is repeated."""

    def find_columns(self, hashes: Hashes) -> NDArray[np.int32]:
        """Return the column of each hash, -1 where the feature is not kept."""
        index: tuple[Hashes, HashIndex] | None = getattr(self, "_index", None)
        if index is None or index[0] is not self.hashes_:
            index = self._index = self.hashes_, HashIndex(self.hashes_)
        return index[1].find(hashes)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of a saved model what is worked out anew."""
        return {
            name: value for name, value in super().__getstate__().items() if name not in ("_index", "_last", "_memory")
        }

    def name_features(self) -> Mapping[int, str]:
        """Return names of features by hash, for families whose tokens do not name them."""
        return {}

    def measure_unseen(self, batch: TokenBatch) -> NDArray[np.float64]:
        """Return which share of each text, weighted by rarity, is not kept; 0 for a text without features."""
        if not len(self.idf_):
            return np.zeros(len(batch))
        documents, columns = self._place_columns(batch)
        weights = np.where(columns >= 0, self.idf_[columns], self._highest_idf)
        return share_weights(documents, weights, columns < 0, len(batch))

    @property
    def _highest_idf(self) -> float:
        """The rarity of what was never seen: no feature that is kept is rarer."""
        return float(self.idf_.max(initial=0.0))

    def _list_features(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        placed = self.place_features(batch)
        return batch.documents[placed.starts].astype(np.int64), placed.hashes

    def _list_presence(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        """Return document and hash of every feature that is in the batch, repeated or not."""
        return self._list_features(batch)

    def _place_columns(self, batch: TokenBatch) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return document and column of every feature; the last batch is remembered, it is asked for again."""
        known: tuple[Any, Any] | None = getattr(self, "_last", None)
        if known is None or known[0]() is not batch:
            documents, hashes = self._list_features(batch)
            known = self._last = ref(batch), (documents, self.find_columns(hashes))
        found: tuple[NDArray[np.int64], NDArray[np.int32]] = known[1]
        return found

    def _count_features(self, batch: TokenBatch) -> csr_matrix:
        return count_entries(*self._place_columns(batch), (len(batch), len(self.hashes_)))


class TokenFeatures(HashedFeatures):
    """Features that depend on a token alone: worked out once per distinct token."""

    @abstractmethod
    def _hash_tokens(self, texts: Sequence[str], ids: Hashes) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the hashes of the features of some tokens, and their number a token."""

    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return the features of every token, token by token."""
        rows, inverse = np.unique(batch.rows, return_inverse=True)
        hashes, counts = self._hash_tokens([batch.table.texts[row] for row in rows.tolist()], batch.table.ids[rows])
        chosen = counts[inverse]
        starts = np.repeat(np.arange(len(batch.rows)), chosen)
        return PlacedFeatures(starts, starts + 1, hashes[expand_ranges(np.cumsum(counts)[inverse] - chosen, chosen)])

    def _list_presence(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        tokens = count_tokens(batch)
        rows, inverse = np.unique(tokens.indices, return_inverse=True)
        hashes, counts = self._hash_tokens([batch.table.texts[row] for row in rows.tolist()], batch.table.ids[rows])
        chosen = counts[inverse]
        documents = np.repeat(np.arange(len(batch)), np.diff(tokens.indptr))
        return np.repeat(documents, chosen), hashes[expand_ranges(np.cumsum(counts)[inverse] - chosen, chosen)]

    def _count_features(self, batch: TokenBatch) -> csr_matrix:
        return count_tokens(batch) @ self._get_columns(batch.table)

    def _get_columns(self, table: TokenTable) -> csr_matrix:
        """Return the kept features of each table row, as a matrix of ones."""
        memory: ColumnMemory | None = getattr(self, "_memory", None)
        if memory is None or memory.hashes is not self.hashes_:
            memory = self._memory = ColumnMemory(self.hashes_, self.find_columns)
        return memory.extend_columns(table, self._hash_tokens)


class ColumnMemory:
    """The kept features of every table row seen so far."""

    def __init__(self, hashes: Hashes, find_columns: Callable[[Hashes], NDArray[np.int32]]) -> None:
        self.hashes = hashes
        self._find_columns = find_columns
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
            hashes, counts = hash_tokens(table.texts[known:], table.ids[known:])
            places = self._find_columns(hashes)
            hit = places >= 0
            columns.append(places[hit])
            totals = np.concatenate([[0], np.cumsum(hit)])[np.cumsum(counts)]
            ends.append(ends.view[-1] + totals)
        data = np.ones(len(columns), dtype=np.int32)
        return csr_matrix((data, columns.view, ends.view), shape=(len(table), len(self.hashes)), copy=False)


class Words(TokenFeatures):
    """Single tokens, in lower case, masked."""

    kind = "word"

    def measure_unseen(self, batch: TokenBatch) -> NDArray[np.float64]:
        """Return which share of each text is not kept, worked out once per distinct token."""
        columns = self._get_columns(batch.table)
        known = np.diff(columns.indptr) > 0
        weights = np.full(len(batch.table), self._highest_idf)
        weights[known] = self.idf_[columns.indices]
        return share_weights(batch.documents, weights[batch.rows], ~known[batch.rows], len(batch))

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
        normalize: bool = True,
    ) -> None:
        super().__init__(min_groups, weight, normalize)
        self.shortest = shortest
        self.longest = longest

    def _hash_tokens(self, texts: Sequence[str], ids: Hashes) -> tuple[Hashes, NDArray[np.int64]]:
        hashes, counts = hash_substrings(texts, self.shortest, self.longest)
        return combine(SUBWORD_SEED, hashes), counts


class WordPairs(HashedFeatures):
    """Two tokens that stand side by side in a text."""

    kind = "phrase"

    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every two adjacent tokens of a text."""
        documents, ids = batch.documents, batch.ids
        same = np.flatnonzero(documents[1:] == documents[:-1])
        return PlacedFeatures(same, same + 2, combine(PAIR_SEED, ids[same], ids[same + 1]))


class Concepts(HashedFeatures):
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
        normalize: bool = True,
    ) -> None:
        super().__init__(min_groups, weight, normalize)
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


class ConceptPairs(HashedFeatures):
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
        normalize: bool = True,
    ) -> None:
        super().__init__(min_groups, weight, normalize)
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
