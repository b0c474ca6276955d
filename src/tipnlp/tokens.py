"""Tokens of many texts in a few flat arrays.

A `TokenTable` holds every distinct token once (its id and its masked lower-case form). A
`TokenBatch` says which tokens each text has, as positions in that table. Whatever depends
on a token alone is computed once per table row; whatever depends on order is computed on
the flat arrays. Nothing here loops over tokens in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

SENTENCE_ENDS = frozenset({".", "!", "?", ";", "…", "..."})


def expand_ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of several ranges, one after another.

    >>> expand_ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    places: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return places


class GrowingArray:
    """A numpy array that rows are appended to, with room to spare (amortised O(1) a row)."""

    def __init__(self, dtype: np.dtype[Any] | type, columns: tuple[int, ...] = ()) -> None:
        self._data = np.empty((1024, *columns), dtype=dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def view(self) -> NDArray[Any]:
        """The rows so far, without copying; valid until the next `append`."""
        return self._data[: self._size]

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows at the end."""
        need = self._size + len(rows)
        if need > len(self._data):
            bigger = np.empty((max(need, 2 * len(self._data)), *self._data.shape[1:]), dtype=self._data.dtype)
            bigger[: self._size] = self.view
            self._data = bigger
        self._data[self._size : need] = rows
        self._size = need


class TokenTable:
    """Every distinct token seen so far, in order of first sight. It only ever grows."""

    def __init__(self) -> None:
        self._ids = GrowingArray(np.uint64)
        self._ends_sentence = GrowingArray(np.bool_)
        self._rows: dict[int, int] = {}
        self.texts: list[str] = []

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def ids(self) -> NDArray[np.uint64]:
        """The 64-bit id of each row: spaCy's hash of the lower-case (or mask) form."""
        return self._ids.view

    @property
    def ends_sentence(self) -> NDArray[np.bool_]:
        """Whether a row is a token that closes a sentence."""
        return self._ends_sentence.view

    def add_tokens(self, ids: NDArray[np.uint64], text_of: Callable[[int], str]) -> NDArray[np.int32]:
        """Return the row of each id, adding rows for ids that are new.

        `text_of` gives the form of an id; it is asked only for new ids.
        """
        distinct, inverse = np.unique(ids, return_inverse=True)
        rows = np.empty(len(distinct), dtype=np.int32)
        fresh: list[int] = []
        for i, identifier in enumerate(distinct.tolist()):
            row = self._rows.get(identifier)
            if row is None:
                row = len(self.texts)
                self._rows[identifier] = row
                self.texts.append(text_of(identifier))
                fresh.append(i)
            rows[i] = row
        if fresh:
            self._ids.append(distinct[fresh])
            self._ends_sentence.append(np.array([t in SENTENCE_ENDS for t in self.texts[-len(fresh) :]]))
        return rows[inverse]


class TokenValues:
    """What is worked out once for each distinct token of a table, when it is first asked for.

    Args:
        work: gives a row for each of some tokens, from their forms and ids.
        dtype, columns: of the rows.
    """

    def __init__(
        self,
        work: Callable[[Sequence[str], NDArray[np.uint64]], NDArray[Any]],
        dtype: np.dtype[Any] | type,
        columns: tuple[int, ...] = (),
    ) -> None:
        self._work = work
        self._form = dtype, columns
        self._known: WeakKeyDictionary[TokenTable, GrowingArray] = WeakKeyDictionary()

    def read(self, table: TokenTable) -> NDArray[Any]:
        """Return the rows of all tokens of a table."""
        known = self._known.get(table)
        if known is None:
            known = self._known[table] = GrowingArray(*self._form)
        learnt = len(known)
        if learnt < len(table):
            known.append(self._work(table.texts[learnt:], table.ids[learnt:]))
        return known.view


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """The tokens of `n` texts.

    Attributes:
        rows: int32, one entry a token, a row of `table`; texts one after another.
        offsets: int64 of length `n + 1`; text `i` has the tokens `offsets[i]:offsets[i + 1]`.
        languages: `n` language codes.
        groups: `n` integers; texts about the same facts share one.
        table: the distinct tokens.
    """

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    languages: Sequence[str]
    groups: NDArray[np.int64]
    table: TokenTable

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def documents(self) -> NDArray[np.int32]:
        """The text that every token belongs to, flat."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    @cached_property
    def sentences(self) -> NDArray[np.int32]:
        """A sentence number for every token, growing over the whole batch.

        A sentence ends after a closing token and at the end of a text.
        """
        starts = np.zeros(len(self.rows) + 1, dtype=np.int32)
        starts[1:] = self.table.ends_sentence[self.rows]
        starts[self.offsets[1:-1]] += 1
        return np.cumsum(starts[:-1], dtype=np.int32)

    def select(self, which: NDArray[np.int64]) -> TokenBatch:
        """Return the batch of some of the texts, in the order asked for."""
        lengths = np.diff(self.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        rows = self.rows[expand_ranges(self.offsets[which], lengths)]
        languages = [self.languages[i] for i in which.tolist()]
        return TokenBatch(rows, offsets, languages, self.groups[which], self.table)

    def split(self, size: int) -> Iterator[TokenBatch]:
        """Yield batches of up to `size` texts, in order."""
        for start in range(0, len(self), size):
            yield self.select(np.arange(start, min(start + size, len(self))))

    def split_by_group(self, size: int) -> Iterator[TokenBatch]:
        """Yield batches of about `size` texts that keep groups together."""
        order = np.argsort(self.groups, kind="stable")
        ranked = self.groups[order]
        start = 0
        while start < len(order):
            last = ranked[min(start + size, len(order)) - 1]
            end = int(np.searchsorted(ranked, last, side="right"))
            yield self.select(order[start:end])
            start = end

    def read_tokens(self, start: int, end: int) -> list[str]:
        """Return the forms of the tokens from one place of the flat arrays up to another."""
        return [self.table.texts[row] for row in self.rows[start:end].tolist()]

    def read_texts(self, index: int) -> list[str]:
        """Return the token forms of one text (for tests and display)."""
        return self.read_tokens(self.offsets[index], self.offsets[index + 1])
