"""What the families of features share: which features are kept, and what they weigh in a text.

Every feature is a 64-bit hash. Fitting keeps the hashes that occur in at least `min_groups`
different groups of cases, sorted; the column of a feature is its place among them. So a model
holds no readable word, and nothing that only one case says.

A text is counted in units: features, or for `TokenFeatures` tokens, each with all its features.
A unit that occurs `c` times is worth `log(1 + c)`, its features weighted by rarity (idf), and a text
is divided by its length (L2) in these units, so that long texts do not shout.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tipnlp.counting import GroupCounts, count_entries, count_tokens, share_weights
from tipnlp.hashing import Hashes, HashIndex
from tipnlp.tokens import GrowingArray, TokenBatch, TokenTable, expand_ranges

Floats = NDArray[np.float64]

TokenSums = WeakKeyDictionary[TokenTable, GrowingArray]
"""By table, what the features of each of its tokens add up to."""

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


class HashedFeatures(TransformerMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """A family whose units are its features.

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
            kept.add_window(window.groups, *self._list_presence(window))
        hashes, counts = kept.merge()
        chosen = counts >= self.min_groups
        self.hashes_: Hashes = hashes[chosen]
        self.idf_: Floats = np.log((1 + len(np.unique(X.groups))) / (1 + counts[chosen])) + 1
        return self

    def transform(self, X: TokenBatch) -> csr_matrix:
        """Return the weighted counts: one row a text, one column a kept feature."""
        check_is_fitted(self)
        if len(X) <= WINDOW:
            return self._weigh_counts(X)
        return vstack([self._weigh_counts(window) for window in X.split(WINDOW)], format="csr")

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
        placed, units = self._place_units(batch)
        counts = self._count_units(batch)
        weights = self._weigh_units(batch.table, coefficients)
        scale = self._scale_texts(dampen_counts(counts), weights)
        documents = batch.documents[placed.starts]
        repeated = np.asarray(counts[documents, units]).ravel()
        shares = np.log1p(repeated) / repeated * scale[documents]
        values = weights[units, 1:] * shares[:, None]
        return PlacedScores(placed.starts, placed.ends, units, values)

    @abstractmethod
    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return every feature in the batch with its place, repeated as it is repeated."""

    def find_columns(self, hashes: Hashes) -> NDArray[np.int32]:
        """Return the column of each hash, -1 where the feature is not kept."""
        index: tuple[Hashes, HashIndex] | None = getattr(self, "_index", None)
        if index is None or index[0] is not self.hashes_:
            index = self._index = self.hashes_, HashIndex(self.hashes_)
        return index[1].find(hashes)

    def name_features(self) -> Mapping[int, str]:
        """Return names of features by hash, for families whose tokens do not name them."""
        return {}

    def measure_unseen(self, batch: TokenBatch) -> Floats:
        """Return which share of each text, weighted by rarity, is not kept; 0 for a text without features."""
        if not len(self.idf_):
            return np.zeros(len(batch))
        documents, columns = self._place_columns(batch)
        weights = np.where(columns >= 0, self.idf_[columns], self._highest_idf)
        return share_weights(documents, weights, columns < 0, len(batch))

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

    def _list_presence(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        """Return document and hash of every feature that is in the batch, repeated or not."""
        placed = self.place_features(batch)
        return batch.documents[placed.starts].astype(np.int64), placed.hashes

    def _place_columns(self, batch: TokenBatch) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return document and column of every feature; the last batch is remembered, it is asked for again."""
        known: tuple[Any, Any] | None = getattr(self, "_last", None)
        if known is None or known[0]() is not batch:
            documents, hashes = self._list_presence(batch)
            known = self._last = ref(batch), (documents, self.find_columns(hashes))
        found: tuple[NDArray[np.int64], NDArray[np.int32]] = known[1]
        return found

    def _count_units(self, batch: TokenBatch) -> csr_matrix:
        """Return how often each unit stands in each text."""
        documents, columns = self._place_columns(batch)
        kept = columns >= 0
        return count_entries(documents[kept], columns[kept], (len(batch), len(self.hashes_)))

    def _place_units(self, batch: TokenBatch) -> tuple[PlacedFeatures, NDArray[np.int32]]:
        """Return the features that are kept where they stand, and the unit of each."""
        placed = self.place_features(batch)
        columns = self.find_columns(placed.hashes)
        kept = columns >= 0
        return PlacedFeatures(placed.starts[kept], placed.ends[kept], placed.hashes[kept]), columns[kept]

    def _weigh_units(self, table: TokenTable, coefficients: Floats | None = None) -> Floats:
        """Return of every unit its squared length and, with coefficients, its scores: shape `(units, 1 + k)`.

        Only tokens have a table to look at.
        """
        return self._weigh_features(coefficients)

    def _weigh_features(self, coefficients: Floats | None) -> Floats:
        """Return the same of every feature; worked out once for the same coefficients."""
        known: tuple[Hashes, Floats | None, Floats] | None = getattr(self, "_weights", None)
        if known is None or known[0] is not self.hashes_ or (coefficients is not None and known[1] is not coefficients):
            scores = np.zeros((len(self.idf_), 0)) if coefficients is None else coefficients * self.idf_[:, None]
            known = self._weights = self.hashes_, coefficients, np.column_stack([self.idf_**2, scores])
        return known[2]

    def _expand_units(self, values: csr_matrix, table: TokenTable) -> csr_matrix:
        """Turn values of units into values of features."""
        values.data *= self.idf_[values.indices]
        return values


class TokenFeatures(HashedFeatures):
    """A family whose features depend on a token alone; its units are tokens.

    What the features of a token add up to is worked out once for each distinct token.
    """

    @abstractmethod
    def _hash_tokens(self, texts: Sequence[str], ids: Hashes) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the hashes of the features of some tokens, and their number a token."""

    def place_features(self, batch: TokenBatch) -> PlacedFeatures:
        """Return the features of every token, token by token."""
        rows, inverse = np.unique(batch.rows, return_inverse=True)
        hashes, counts = self._hash_rows(batch.table, rows)
        chosen = counts[inverse]
        starts = np.repeat(np.arange(len(batch.rows)), chosen)
        return PlacedFeatures(starts, starts + 1, hashes[expand_ranges(np.cumsum(counts)[inverse] - chosen, chosen)])

    def _list_presence(self, batch: TokenBatch) -> tuple[NDArray[np.int64], Hashes]:
        tokens = count_tokens(batch)
        rows, inverse = np.unique(tokens.indices, return_inverse=True)
        hashes, counts = self._hash_rows(batch.table, rows)
        chosen = counts[inverse]
        documents = np.repeat(np.arange(len(batch)), np.diff(tokens.indptr))
        return np.repeat(documents, chosen), hashes[expand_ranges(np.cumsum(counts)[inverse] - chosen, chosen)]

    def _hash_rows(self, table: TokenTable, rows: NDArray[Any]) -> tuple[Hashes, NDArray[np.int64]]:
        return self._hash_tokens([table.texts[row] for row in rows.tolist()], table.ids[rows])

    def _count_units(self, batch: TokenBatch) -> csr_matrix:
        return count_tokens(batch)

    def _place_units(self, batch: TokenBatch) -> tuple[PlacedFeatures, NDArray[np.int32]]:
        places = np.arange(len(batch.rows))
        return PlacedFeatures(places, places + 1, batch.ids), batch.rows

    def _expand_units(self, values: csr_matrix, table: TokenTable) -> csr_matrix:
        rows, inverse = np.unique(values.indices, return_inverse=True)
        narrow = csr_matrix((values.data, inverse, values.indptr), shape=(values.shape[0], len(rows)))
        features = self._mark_features(*self._hash_rows(table, rows))
        features.data *= self.idf_[features.indices]
        return narrow @ features

    def _mark_features(self, hashes: Hashes, counts: NDArray[np.int64]) -> csr_matrix:
        """Return the kept features of some tokens as ones, shape `(tokens, features)`."""
        columns = self.find_columns(hashes)
        kept = columns >= 0
        ends = np.concatenate([[0], np.cumsum(kept)])[np.concatenate([[0], np.cumsum(counts)])]
        return csr_matrix((np.ones(ends[-1]), columns[kept], ends), shape=(len(counts), len(self.hashes_)))

    def _weigh_units(self, table: TokenTable, coefficients: Floats | None = None) -> Floats:
        weights = self._weigh_features(coefficients)
        known: tuple[Floats, TokenSums] | None = getattr(self, "_sums", None)
        if known is None or known[0] is not weights:
            stores: TokenSums = WeakKeyDictionary()
            known = self._sums = weights, stores
        sums = known[1].setdefault(table, GrowingArray(np.float64, (weights.shape[1],)))
        learnt = len(sums)
        if learnt < len(table):
            sums.append(self._mark_features(*self._hash_tokens(table.texts[learnt:], table.ids[learnt:])) @ weights)
        return sums.view


def dampen_counts(counts: csr_matrix) -> csr_matrix:
    """Return log(1 + count): from a table, because counts are small whole numbers."""
    logs = np.log1p(np.arange(counts.data.max(initial=0) + 1))
    return csr_matrix((logs[counts.data], counts.indices, counts.indptr), shape=counts.shape)
