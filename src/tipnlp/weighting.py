"""What the families of features share: which features are kept, and what they weigh in a text.

Every feature is a 64-bit hash. Fitting keeps the hashes that occur in at least `min_groups`
different groups of cases, the most frequent first; the column of a feature is its place among
them. So a model holds no readable word, and nothing that only one case says.

A text is counted in units: features, or for `TokenFeatures` tokens, each with all its features.
A unit that occurs `c` times is worth `log(1 + c)`, its features weighted by rarity (idf), and a text
is divided by its length (L2) in these units, so that long texts do not shout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import FeatureUnion
from sklearn.utils.validation import check_is_fitted

from tipnlp.counting import GroupCounts, count_entries, count_tokens, share_unseen
from tipnlp.hashing import Hashes, HashIndex
from tipnlp.tokens import TokenBatch, TokenTable, TokenValues

Floats = NDArray[np.float64]

# So many texts are worked on at a time when there are more of them: the arrays in between stay small.
WINDOW = 2048

# What a fitted family works out anew when it needs it; no saved model holds it.
DERIVED = ("_index", "_last", "_sums", "_weights")


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


@dataclass(frozen=True, slots=True)
class PlacedScores:
    """What a family adds to the scores of texts, place by place.

    Attributes:
        starts, ends: the tokens of each place, as places in the flat arrays of the batch (end excluded).
        units: what stands there: the row of a token in its table, or the column of a feature.
        values: what it adds, shape `(places, k)`.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    units: NDArray[np.int32]
    values: Floats


class FeatureFamilies(FeatureUnion):  # type: ignore[misc]
    """Families of features side by side, worked on window by window: their matrix is never in memory twice."""

    def fit_transform(self, X: TokenBatch, y: Any = None, **params: Any) -> csr_matrix:
        """Fit all families, and return what `transform` returns."""
        return self.fit(X, y, **params).transform(X)

    def transform(self, X: TokenBatch) -> csr_matrix:
        """Return the weighted counts: one row a text, the columns of one family behind those of another."""
        families = [family for _, family in self.transformer_list]
        windows = (hstack([family.transform(window) for family in families], "csr") for window in X.split(WINDOW))
        return stack_rows(windows, sum(len(family.hashes_) for family in families))


class HashedFeatures(TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """A family of features.

    Args:
        min_groups: keep a feature only when it occurs in at least this many groups.
        weight: multiplies every value, to let a family count for more or less.
    """

    kind: ClassVar[str]
    """What a unit of the family is called in an explanation."""

    def __init__(self, min_groups: int = 2, weight: float = 1.0) -> None:
        self.min_groups = min_groups
        self.weight = weight

    def fit(self, X: TokenBatch, y: Any = None) -> Self:
        """Choose the features that occur in at least `min_groups` groups."""
        kept = GroupCounts()
        for window in X.split_by_group(WINDOW):
            kept.add_window(window.groups, *self._find_presence(window))
        hashes, counts = kept.merge()
        chosen = np.flatnonzero(counts >= self.min_groups)
        # The columns that are asked for most lie side by side: a processor reads them from near memory.
        chosen = chosen[np.argsort(-counts[chosen], kind="stable")]
        self.hashes_: Hashes = hashes[chosen]
        self.idf_: Floats = np.log((1 + len(np.unique(X.groups))) / (1 + counts[chosen])) + 1
        return self

    def transform(self, X: TokenBatch) -> csr_matrix:
        """Return the weighted counts: one row a text, one column a kept feature."""
        check_is_fitted(self)
        return stack_rows(map(self._weigh_counts, X.split(WINDOW)), len(self.hashes_))

    def score(self, batch: TokenBatch, coefficients: Floats) -> Floats:
        """Return `transform(batch) @ coefficients` without making the matrix, shape `(n, k)`.

        Args:
            batch: the tokens of `n` texts.
            coefficients: shape `(features, k)`.
        """
        values = dampen_counts(self._count_units(batch))
        weights = self._weigh_units(batch.table, coefficients)
        scores: Floats = (values @ weights)[:, 1:]
        return scores * self._scale_texts(values, weights)[:, None]

    def share_scores(self, batch: TokenBatch, coefficients: Floats) -> PlacedScores:
        """Return what every place adds to its text: summed over the places of a text, its `score`.

        A unit that stands at several places of a text owes the same share to each.
        """
        starts, ends, units = self._place_units(batch)
        counts = self._count_units(batch)
        weights = self._weigh_units(batch.table, coefficients)
        scale = self._scale_texts(dampen_counts(counts), weights)
        documents = batch.documents[starts]
        repeated = np.asarray(counts[documents, units]).ravel()
        shares = np.log1p(repeated) / repeated * scale[documents]
        values = weights[units, 1:] * shares[:, None]
        return PlacedScores(starts, ends, units, values)

    def find_columns(self, hashes: Hashes) -> NDArray[np.int32]:
        """Return the column of each hash, -1 where the feature is not kept."""
        index: tuple[Hashes, HashIndex] | None = getattr(self, "_index", None)
        if index is None or index[0] is not self.hashes_:
            index = self._index = self.hashes_, HashIndex(self.hashes_)
        return index[1].find(hashes)

    def name_features(self) -> Mapping[int, str]:
        """Return names of features by hash, for families whose tokens do not name them."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of a saved model what is worked out anew."""
        return {name: value for name, value in super().__getstate__().items() if name not in DERIVED}

    @property
    def _highest_idf(self) -> float:
        """The rarity of what was never seen: no feature that is kept is rarer."""
        return float(self.idf_.max(initial=0.0))

    def _weigh_counts(self, batch: TokenBatch) -> csr_matrix:
        values = dampen_counts(self._count_units(batch))
        scale = self._scale_texts(values, self._weigh_units(batch.table))
        values.data *= np.repeat(scale, np.diff(values.indptr))
        return self._expand_units(values, batch.table).astype(np.float32)

    def _scale_texts(self, values: csr_matrix, weights: Floats) -> Floats:
        """Return what each text is multiplied by: the weight of the family by the length of the text."""
        squares = csr_matrix((values.data**2, values.indices, values.indptr), shape=values.shape)
        # All columns, because a single one would be copied out of those of all units.
        lengths = np.sqrt((squares @ weights)[:, 0])
        lengths[lengths == 0] = 1.0
        return np.asarray(self.weight / lengths)

    def _weigh_features(self, coefficients: Floats | None) -> Floats:
        """Return of every feature its squared weight and, with coefficients, its scores: shape `(features, 1 + k)`.

        Worked out once for the same coefficients.
        """
        known: tuple[Hashes, Floats | None, Floats] | None = getattr(self, "_weights", None)
        if known is None or known[0] is not self.hashes_ or (coefficients is not None and known[1] is not coefficients):
            scores = np.zeros((len(self.idf_), 0)) if coefficients is None else coefficients * self.idf_[:, None]
            known = self._weights = self.hashes_, coefficients, np.column_stack([self.idf_**2, scores])
        return known[2]

    @abstractmethod
    def _find_presence(self, batch: TokenBatch) -> tuple[Hashes, csr_matrix]:
        """Return the distinct features of a batch, sorted, and which of them every text has: shape `(n, distinct)`."""

    @abstractmethod
    def _count_units(self, batch: TokenBatch) -> csr_matrix:
        """Return how often each unit stands in each text."""

    @abstractmethod
    def _place_units(self, batch: TokenBatch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Return the first token of every unit in the batch, the one behind its last, and the unit."""

    @abstractmethod
    def _weigh_units(self, table: TokenTable, coefficients: Floats | None = None) -> Floats:
        """Return of every unit its squared length and, with coefficients, its scores: shape `(units, 1 + k)`."""

    @abstractmethod
    def _expand_units(self, values: csr_matrix, table: TokenTable) -> csr_matrix:
        """Turn values of units into values of features."""


class PlaceFeatures(HashedFeatures):
    """A family whose features are read from places of a text; they are its units."""

    @abstractmethod
    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every feature in the batch with its place, repeated as it is repeated."""

    def measure_unseen(self, batch: TokenBatch) -> Floats:
        """Return which share of each text, weighted by rarity, is not kept; 0 for a text without features."""
        if not len(self.idf_):
            return np.zeros(len(batch))
        placed, columns = self._place_columns(batch)
        # A column of -1 takes the 0 at the end.
        rarity = np.append(self.idf_, 0.0)[columns]
        return share_unseen(batch.documents[placed.starts], rarity, self._highest_idf, len(batch))

    def _find_presence(self, batch: TokenBatch) -> tuple[Hashes, csr_matrix]:
        placed = self.place_features(batch)
        distinct, columns = np.unique(placed.hashes, return_inverse=True)
        return distinct, count_entries(batch.documents[placed.starts], columns, (len(batch), len(distinct)))

    def _place_columns(self, batch: TokenBatch) -> tuple[PlacedFeatures, NDArray[np.int32]]:
        """Return every feature and its column; the last batch is remembered, it is asked for again."""
        known: tuple[Any, Any] | None = getattr(self, "_last", None)
        if known is None or known[0]() is not batch:
            placed = self.place_features(batch)
            known = self._last = ref(batch), (placed, self.find_columns(placed.hashes))
        found: tuple[PlacedFeatures, NDArray[np.int32]] = known[1]
        return found

    def _place_units(self, batch: TokenBatch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        placed, columns = self._place_columns(batch)
        kept = np.flatnonzero(columns >= 0)
        return placed.starts.take(kept), placed.ends.take(kept), columns.take(kept)

    def _count_units(self, batch: TokenBatch) -> csr_matrix:
        starts, _, columns = self._place_units(batch)
        return count_entries(batch.documents.take(starts), columns, (len(batch), len(self.hashes_)))

    def _weigh_units(self, table: TokenTable, coefficients: Floats | None = None) -> Floats:
        return self._weigh_features(coefficients)

    def _expand_units(self, values: csr_matrix, table: TokenTable) -> csr_matrix:
        values.data *= self.idf_[values.indices]
        return values


class TokenFeatures(HashedFeatures):
    """A family whose features depend on a token alone; its units are tokens.

    What the features of a token add up to is worked out once for each distinct token.
    """

    @abstractmethod
    def _hash_tokens(self, texts: Sequence[str], ids: Hashes) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the hashes of the features of some tokens, and their number a token."""

    def _find_presence(self, batch: TokenBatch) -> tuple[Hashes, csr_matrix]:
        tokens, rows = narrow_columns(count_tokens(batch))
        hashes, counts = self._hash_rows(batch.table, rows)
        distinct, columns = np.unique(hashes, return_inverse=True)
        ends = np.concatenate([[0], np.cumsum(counts)])
        features = csr_matrix((np.ones(len(columns), dtype=np.int32), columns, ends), shape=(len(rows), len(distinct)))
        return distinct, tokens @ features

    def _hash_rows(self, table: TokenTable, rows: NDArray[Any]) -> tuple[Hashes, NDArray[np.int64]]:
        return self._hash_tokens([table.texts[row] for row in rows.tolist()], table.ids[rows])

    def _count_units(self, batch: TokenBatch) -> csr_matrix:
        return count_tokens(batch)

    def _place_units(self, batch: TokenBatch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        places = np.arange(len(batch.rows))
        return places, places + 1, batch.rows

    def _expand_units(self, values: csr_matrix, table: TokenTable) -> csr_matrix:
        tokens, rows = narrow_columns(values)
        features = self._mark_features(*self._hash_rows(table, rows))
        features.data *= self.idf_[features.indices]
        return tokens @ features

    def _mark_features(self, hashes: Hashes, counts: NDArray[np.int64]) -> csr_matrix:
        """Return the kept features of some tokens as ones, shape `(tokens, features)`."""
        columns = self.find_columns(hashes)
        kept = columns >= 0
        ends = np.concatenate([[0], np.cumsum(kept)])[np.concatenate([[0], np.cumsum(counts)])]
        return csr_matrix((np.ones(ends[-1]), columns[kept], ends), shape=(len(counts), len(self.hashes_)))

    def _weigh_units(self, table: TokenTable, coefficients: Floats | None = None) -> Floats:
        weights = self._weigh_features(coefficients)
        known: tuple[Floats, TokenValues] | None = getattr(self, "_sums", None)
        if known is None or known[0] is not weights:
            known = self._sums = weights, TokenValues(partial(self._add_up, weights), np.float64, weights.shape[1:])
        return known[1].read(table)

    def _add_up(self, weights: Floats, texts: Sequence[str], ids: Hashes) -> Floats:
        return np.asarray(self._mark_features(*self._hash_tokens(texts, ids)) @ weights)


def stack_rows(parts: Iterable[csr_matrix], columns: int) -> csr_matrix:
    """Return matrices one below the other, taking each when it is needed: `scipy.sparse.vstack` holds all twice."""
    data, indices = np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32)
    ends = [np.zeros(1, dtype=np.int64)]
    for part in parts:
        size = len(data)
        # Nothing else refers to the two arrays: they grow where they are, without being copied.
        data.resize(size + part.nnz, refcheck=False)
        indices.resize(size + part.nnz, refcheck=False)
        data[size:], indices[size:] = part.data, part.indices
        ends.append(size + part.indptr[1:].astype(np.int64))
    indptr = np.concatenate(ends)
    narrow = indptr.astype(np.int32) if indptr[-1] < np.iinfo(np.int32).max else indptr
    return csr_matrix((data, indices, narrow), shape=(len(indptr) - 1, columns))


def narrow_columns(matrix: csr_matrix) -> tuple[csr_matrix, NDArray[np.int32]]:
    """Return the matrix without its empty columns, and which columns are left."""
    columns, inverse = np.unique(matrix.indices, return_inverse=True)
    return csr_matrix((matrix.data, inverse, matrix.indptr), shape=(matrix.shape[0], len(columns))), columns


def dampen_counts(counts: csr_matrix) -> csr_matrix:
    """Return log(1 + count): from a table, because counts are small whole numbers."""
    logs = np.log1p(np.arange(counts.data.max(initial=0) + 1))
    return csr_matrix((logs.take(counts.data), counts.indices, counts.indptr), shape=counts.shape)
