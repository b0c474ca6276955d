"""Matching the patterns of the lexicon against tokens, for a whole batch at once.

Which words of the lexicon a token fits is worked out once per distinct token. All places where some pattern may
begin are candidates, and each further element is looked for in the tokens behind them, for all candidates together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tipnlp.lexicon import Pattern
from tipnlp.tokens import GrowingArray, TokenTable, expand_ranges
from tipnlp.wordindex import WordIndex

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Line:
    """The tokens of some texts in a row, as a matcher sees them.

    Attributes:
        kinds: of each token its kind: tokens that fit the same elements are of one kind, 0 fits none.
        begins, ends: of each token the bounds of its sentence (end excluded).
    """

    kinds: Ints
    begins: Ints
    ends: Ints

    @classmethod
    def read(cls, kinds: Ints, sentences: NDArray[np.int32]) -> Line:
        """Find the bounds of the sentences, which are numbered."""
        breaks = np.flatnonzero(sentences[1:] != sentences[:-1]) + 1
        bounds = np.concatenate([[0], breaks, [len(sentences)]])
        sizes = np.diff(bounds)
        return cls(kinds, np.repeat(bounds[:-1], sizes), np.repeat(bounds[1:], sizes))


# From a text of so many tokens it can be told which words are frequent.
ENOUGH_TOKENS = 5000

BITS = np.left_shift(1, np.arange(8)).astype(np.uint8)


class LanguageMatcher:
    """Matches the patterns of one language against the tokens of one table.

    Every pattern has an anchor, the rarest of its elements, and a partner, the rarer of the elements beside it.
    Where a token fits an anchor and one in reach fits its partner, the first element is looked for as far back as
    the pattern allows, and from there the pattern is followed: each element at the nearest token that fits it.

    Args:
        patterns: of the language, every element a single token.
        names: of all concepts.
    """

    def __init__(self, patterns: Sequence[Pattern], names: Sequence[str]) -> None:
        numbers: dict[frozenset[str], int] = {}
        longest = max(len(p.elements) for p in patterns)
        self._elements = np.full((len(patterns), longest), -1, dtype=np.int64)
        # How far behind the element before it an element may stand.
        self._reaches = np.zeros((len(patterns), longest), dtype=np.int64)
        for i, pattern in enumerate(patterns):
            size = len(pattern.elements)
            self._elements[i, :size] = [numbers.setdefault(e, len(numbers)) for e in pattern.elements]
            self._reaches[i, 1:size] = np.array(pattern.gaps, dtype=np.int64) + 1
        self._sizes = (self._elements >= 0).sum(axis=1)
        self._concepts = np.array([names.index(p.concept) for p in patterns], dtype=np.int64)
        self._index = WordIndex(list(numbers))
        self._kinds = GrowingArray(np.int64)
        # A bit for each element: what fits the frequent tokens must lie in near memory.
        self._fits = GrowingArray(np.uint8, (-(-len(numbers) // 8),))
        self._numbers: dict[tuple[int, ...], int] = {}
        self._sampled = -1
        self._number_kind(())

    def _set_anchors(self, kinds: Ints) -> None:
        """Choose as anchor of each pattern the element that these tokens fit least often: a wrong guess costs time."""
        self._sampled = len(kinds)
        often = np.zeros(self._index.size, dtype=np.int64)
        for elements, count in zip(self._numbers, np.bincount(kinds, minlength=len(self._numbers)), strict=True):
            often[list(elements)] += count
        common = np.where(self._elements >= 0, often[self._elements], len(kinds) + 1)
        self._nearest = common.argmin(axis=1)
        every = np.arange(len(common))
        self._furthest = self._reaches.cumsum(axis=1)[every, self._nearest]
        self._set_partners(common)
        self._anchored: dict[int, list[int]] = defaultdict(list)
        for pattern, anchor in enumerate(self._elements[every, self._nearest].tolist()):
            self._anchored[anchor].append(pattern)
        self._anchors = GrowingArray(np.int64)
        self._anchor_ends = GrowingArray(np.int64)
        self._anchor_ends.append(np.zeros(1, dtype=np.int64))
        for elements in self._numbers:
            self._add_anchors(elements)

    def _set_partners(self, common: Ints) -> None:
        """Choose beside each anchor the element that is there by chance least often; an only element is its own."""
        every, never = np.arange(len(common)), np.iinfo(np.int64).max
        before, after = self._nearest - 1, np.minimum(self._nearest + 1, common.shape[1] - 1)
        chance_before = np.where(before >= 0, common[every, before] * self._reaches[every, self._nearest], never)
        chance_after = np.where(
            self._nearest + 1 < self._sizes, common[every, after] * self._reaches[every, after], never
        )
        forward = chance_after <= chance_before
        self._directions = np.where(self._sizes == 1, 0, np.where(forward, 1, -1))
        self._partners = self._elements[every, self._nearest + self._directions]
        self._partner_reaches = np.maximum(self._reaches[every, np.where(forward, after, self._nearest)], 1)

    def _add_anchors(self, elements: Sequence[int]) -> None:
        anchored = [pattern for element in elements for pattern in self._anchored.get(element, ())]
        self._anchors.append(np.array(anchored, dtype=np.int64))
        self._anchor_ends.append(np.array([len(self._anchors)], dtype=np.int64))

    def find_hits(
        self, table: TokenTable, rows: NDArray[np.int32], sentences: NDArray[np.int32]
    ) -> tuple[Ints, Ints, Ints]:
        """Return start, end and concept of every match, in no particular order, some of them twice.

        Args:
            table: the distinct tokens, always the same one.
            rows: of the table, as the tokens follow in the texts.
            sentences: the number of the sentence of each.
        """
        self._learn_tokens(table)
        kinds = self._kinds.view.take(rows)
        if self._sampled < 0 or self._sampled < ENOUGH_TOKENS <= len(rows):
            self._set_anchors(kinds)
        line = Line.read(kinds, sentences)
        starts, patterns = self._find_starts(line, *self._find_anchors(line))
        last = starts
        found: list[tuple[Ints, Ints, Ints]] = []
        for step in range(1, self._elements.shape[1] + 1):
            sizes = self._sizes.take(patterns)
            complete, left = np.flatnonzero(sizes == step), np.flatnonzero(sizes > step)
            concepts = self._concepts.take(patterns.take(complete))
            found.append((starts.take(complete), last.take(complete) + 1, concepts))
            starts, last, patterns = starts.take(left), last.take(left), patterns.take(left)
            if not len(patterns):
                break
            ends = np.minimum(last + self._reaches[patterns, step] + 1, line.ends.take(last))
            which, places = self._find_fitting(line, self._elements[patterns, step], last + 1, ends)
            nearest = np.flatnonzero(np.diff(which, prepend=-1))
            last, which = places.take(nearest), which.take(nearest)
            starts, patterns = starts.take(which), patterns.take(which)
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]

    def _find_anchors(self, line: Line) -> tuple[Ints, Ints]:
        """Return where anchors stand that have their partner in reach, and the pattern of each."""
        ends = self._anchor_ends.view
        counts = np.diff(ends)
        places = np.flatnonzero(counts.take(line.kinds))
        kinds = line.kinds.take(places)
        repeats = counts.take(kinds)
        anchors = np.repeat(places, repeats)
        patterns = self._anchors.view.take(expand_ranges(ends.take(kinds), repeats))
        accompanied = self._find_accompanied(line, anchors, patterns)
        return anchors.take(accompanied), patterns.take(accompanied)

    def _find_accompanied(self, line: Line, anchors: Ints, patterns: Ints) -> Ints:
        """Return which anchors have their partner in reach; whether it is of the same sentence is not asked."""
        reaches = self._partner_reaches.take(patterns)
        found = [np.zeros(0, dtype=np.int64)]
        for reach in np.unique(self._partner_reaches).tolist():
            which = np.flatnonzero(reaches == reach)
            near = self._test_near(line, anchors.take(which), patterns.take(which), reach)
            found.append(which.take(np.flatnonzero(near)))
        return np.concatenate(found)

    def _test_near(self, line: Line, places: Ints, patterns: Ints, reach: int) -> NDArray[np.bool_]:
        """Return whether some token up to `reach` from each place fits the partner of a pattern."""
        fits = self._fits.view
        directions, partners = self._directions.take(patterns), self._partners.take(patterns)
        bytes_ = partners >> 3
        seen = np.zeros(len(places), dtype=np.uint8)
        for _ in range(reach):
            places = places + directions
            seen |= fits.ravel().take(line.kinds.take(places, mode="clip") * fits.shape[1] + bytes_)
        near: NDArray[np.bool_] = (seen & BITS.take(partners & 7)) != 0
        return near

    def _find_starts(self, line: Line, anchors: Ints, patterns: Ints) -> tuple[Ints, Ints]:
        """Return where patterns may begin, and which: the first element fits, and an anchor follows in reach."""
        nearest = self._nearest.take(patterns)
        first, later = np.flatnonzero(nearest == 0), np.flatnonzero(nearest)
        starts, begun = anchors.take(first), patterns.take(first)
        anchors, patterns, nearest = anchors.take(later), patterns.take(later), nearest.take(later)
        begins = np.maximum(anchors - self._furthest.take(patterns), line.begins.take(anchors))
        which, earlier = self._find_fitting(line, self._elements[patterns, 0], begins, anchors - nearest + 1)
        return np.concatenate([starts, earlier]), np.concatenate([begun, patterns.take(which)])

    def _find_fitting(self, line: Line, elements: Ints, begins: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """Return which elements fit a token between their bounds, and where, in order of both."""
        sizes = np.maximum(ends - begins, 0)
        which = np.repeat(np.arange(len(sizes)), sizes)
        places = expand_ranges(begins, sizes)
        found = np.flatnonzero(self._test_fit(line.kinds.take(places), elements.take(which)))
        return which.take(found), places.take(found)

    def _test_fit(self, kinds: Ints, elements: Ints) -> NDArray[np.bool_]:
        """Return whether tokens of some kinds fit an element each."""
        fits = self._fits.view
        bits = fits.ravel().take(kinds * fits.shape[1] + (elements >> 3))
        fit: NDArray[np.bool_] = (bits & BITS.take(elements & 7)) != 0
        return fit

    def _learn_tokens(self, table: TokenTable) -> None:
        """Work out the kinds of tokens that the table has gained."""
        texts = table.texts[len(self._kinds) :]
        kinds = [self._number_kind(tuple(self._index.find_elements(text))) for text in texts]
        self._kinds.append(np.array(kinds, dtype=np.int64))

    def _number_kind(self, elements: tuple[int, ...]) -> int:
        """Return the kind of the tokens that fit these elements."""
        if elements not in self._numbers:
            self._numbers[elements] = len(self._numbers)
            row = np.zeros((1, self._index.size), dtype=np.bool_)
            row[0, list(elements)] = True
            self._fits.append(np.packbits(row, axis=1, bitorder="little"))
            if self._sampled >= 0:
                self._add_anchors(elements)
        return self._numbers[elements]
