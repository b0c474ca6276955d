"""Counting features: in how many groups they occur, and how often in each text."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tipnlp.hashing import Hashes
from tipnlp.tokens import TokenBatch


class GroupCounts:
    """In how many groups each hash occurs, counted window by window; no group may be in two windows."""

    def __init__(self) -> None:
        self._hashes: Hashes = np.zeros(0, dtype=np.uint64)
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[Hashes, NDArray[np.int64]]] = []

    def add_window(self, groups: NDArray[np.int64], hashes: Hashes, presence: csr_matrix) -> None:
        """Add the features of some texts.

        Args:
            groups: of each text.
            hashes: the distinct features.
            presence: which of them each text has, shape `(texts, features)`.
        """
        distinct, members = np.unique(groups, return_inverse=True)
        belongs = csr_matrix((np.ones(len(groups), dtype=np.int32), (members, np.arange(len(groups)))))
        united = presence if len(distinct) == len(groups) else belongs @ presence
        counts = np.bincount(united.indices, minlength=len(hashes))
        self._pending.append((hashes, counts))
        # To merge when as much is waiting as is merged keeps the whole at n log n.
        if sum(len(waiting) for waiting, _ in self._pending) > len(self._hashes):
            self.merge()

    def merge(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Return the distinct hashes, sorted, and the number of groups of each."""
        parts = [(self._hashes, self._counts), *self._pending]
        hashes, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(hashes, kind="stable")
        hashes, counts = hashes[order], counts[order]
        starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])) if len(hashes) else np.zeros(0, np.int64)
        self._hashes = hashes[starts]
        self._counts = np.add.reduceat(counts, starts) if len(starts) else counts
        self._pending = []
        return self._hashes, self._counts


def share_unseen(
    documents: NDArray[Any], rarity: NDArray[np.float64], highest: float, size: int
) -> NDArray[np.float64]:
    """Return which share of each of `size` texts, weighted by rarity, is not known; 0 for a text without features.

    Args:
        documents: the text of every feature.
        rarity: of every feature, 0 where it is not known.
        highest: the rarity that those count with.
    """
    unseen = highest * np.bincount(documents, weights=rarity == 0, minlength=size)
    total = unseen + np.bincount(documents, weights=rarity, minlength=size)
    shares: NDArray[np.float64] = np.divide(unseen, total, out=np.zeros(size), where=total > 0)
    return shares


# Several families count the tokens of the same batch, one after another.
_COUNTED: WeakKeyDictionary[TokenBatch, csr_matrix] = WeakKeyDictionary()


def count_tokens(batch: TokenBatch) -> csr_matrix:
    """Return how often each distinct token stands in each text of a batch."""
    if batch not in _COUNTED:
        _COUNTED[batch] = count_entries(batch.documents, batch.rows, (len(batch), len(batch.table)))
    return _COUNTED[batch]


def count_entries(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> csr_matrix:
    """Count how often each (row, column) is listed."""
    # Sorted numbers: what it costs does not depend on the number of columns, of which there are many.
    kind: Any = np.uint32 if shape[0] * shape[1] <= np.iinfo(np.uint32).max else np.uint64
    listed: NDArray[Any] = rows.astype(kind)
    listed *= kind(shape[1])
    listed += columns.astype(kind)
    listed.sort()
    fresh = np.ones(len(listed), dtype=np.bool_)
    np.not_equal(listed[1:], listed[:-1], out=fresh[1:])
    firsts = np.flatnonzero(fresh)
    distinct = listed.take(firsts)
    bounds = np.arange(shape[0] + 1, dtype=kind) * kind(shape[1])
    ends = np.searchsorted(distinct, bounds).astype(np.int32)
    indices = distinct - np.repeat(bounds[:-1], np.diff(ends))
    counts = np.diff(firsts, append=len(listed)).astype(np.int32)
    return csr_matrix((counts, indices.astype(np.int32), ends), shape=shape)
