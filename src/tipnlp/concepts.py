"""Finding the concepts of the lexicon in a `TokenBatch`.

Which words of the lexicon a token fits is worked out once per distinct token. Patterns are
then matched for a whole batch at once: all places where some pattern may begin are candidates,
and each further element of the patterns is a shifted look at the token array.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tipnlp.language import LANGUAGES
from tipnlp.lexicon import Lexicon, Pattern, load_lexicon
from tipnlp.preprocess import hash_text, load_blank
from tipnlp.tokens import GrowingArray, TokenBatch, TokenTable, expand_ranges
from tipnlp.wordindex import WordIndex

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ConceptHits:
    """Where concepts were found, in order of document and place.

    Attributes:
        documents: the text of each hit.
        starts, ends: its tokens, as places in the flat arrays of the batch (end excluded).
        concepts: its concept, as a place in `Lexicon.concepts`.
    """

    documents: Ints
    starts: Ints
    ends: Ints
    concepts: Ints

    def __len__(self) -> int:
        return len(self.starts)


# From a text of so many tokens it can be told which words are frequent.
ENOUGH_TOKENS = 5000


class LanguageMatcher:
    """Matches the patterns of one language against the tokens of one table.

    Args:
        patterns: of the language, every element a single token.
        names: of all concepts.
        table: the distinct tokens.
        sample: rows of the table as they follow in some text: they tell which words are frequent.
    """

    def __init__(
        self, patterns: Sequence[Pattern], names: Sequence[str], table: TokenTable, sample: NDArray[np.int32]
    ) -> None:
        numbers: dict[frozenset[str], int] = {}
        longest = max(len(p.elements) for p in patterns)
        self._elements = np.full((len(patterns), longest), -1, dtype=np.int64)
        self._gaps = np.zeros((len(patterns), longest), dtype=np.int64)
        for i, pattern in enumerate(patterns):
            size = len(pattern.elements)
            self._elements[i, :size] = [numbers.setdefault(e, len(numbers)) for e in pattern.elements]
            self._gaps[i, 1:size] = pattern.gaps
        self._sizes = (self._elements >= 0).sum(axis=1)
        self._concepts = np.array([names.index(p.concept) for p in patterns], dtype=np.int64)
        self._index = WordIndex(list(numbers))
        self._beginning: dict[int, list[int]] = defaultdict(list)
        for i, first in enumerate(self._elements[:, 0].tolist()):
            self._beginning[first].append(i)
        self._table = table
        # Row 0 of the three arrays below stands for every token that is in no pattern.
        self._kinds = GrowingArray(np.int32)
        self._fits = GrowingArray(np.bool_, (len(numbers),))
        self._fits.append(np.zeros((1, len(numbers)), dtype=np.bool_))
        self._candidates = GrowingArray(np.int64)
        self._candidate_ends = GrowingArray(np.int64)
        self._candidate_ends.append(np.zeros(2, dtype=np.int64))
        # Of each kind of token its elements, and the patterns whose anchor it fits.
        self._kind_elements: list[list[int]] = [[]]
        self._sampled = 0
        self._set_anchors(sample)

    def _set_anchors(self, sample: NDArray[np.int32]) -> None:
        """Choose as anchor of each pattern the element that the sample has least often: a wrong guess costs time."""
        self._sampled = len(sample)
        rows, counts = np.unique(sample, return_counts=True)
        often = np.zeros(self._index.size)
        for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
            often[self._index.find_elements(self._table.texts[row])] += count
        common = np.where(self._elements >= 0, often[self._elements], np.inf)
        anchors = self._elements[np.arange(len(common)), common.argmin(axis=1)]
        self._anchored: dict[int, list[int]] = defaultdict(list)
        for pattern, anchor in enumerate(anchors.tolist()):
            self._anchored[anchor].append(pattern)
        self._anchors = GrowingArray(np.int64)
        self._anchor_ends = GrowingArray(np.int64)
        self._anchor_ends.append(np.zeros(1, dtype=np.int64))
        for elements in self._kind_elements:
            self._add_anchors(elements)

    def _add_anchors(self, elements: Sequence[int]) -> None:
        anchored = [pattern for element in elements for pattern in self._anchored.get(element, ())]
        self._anchors.append(np.array(anchored, dtype=np.int64))
        self._anchor_ends.append(np.array([len(self._anchors)], dtype=np.int64))

    def find_hits(self, rows: NDArray[np.int32], sentences: NDArray[np.int32]) -> tuple[Ints, Ints, Ints]:
        """Return start, end and concept of every match, in no particular order."""
        self._learn_tokens()
        if self._sampled < ENOUGH_TOKENS <= len(rows):
            self._set_anchors(rows)
        kinds = self._kinds.view[rows]
        places = np.flatnonzero(kinds)
        ends = self._candidate_ends.view
        kind = kinds[places]
        first, counts = ends[kind], ends[kind + 1] - ends[kind]
        starts = np.repeat(places, counts)
        patterns = self._candidates.view[expand_ranges(first, counts)]
        possible = self._find_possible(places, kind, starts, patterns, sentences)
        last = starts = starts[possible]
        patterns = patterns[possible]
        found: list[tuple[Ints, Ints, Ints]] = []
        for step in range(1, self._elements.shape[1] + 1):
            complete = self._sizes[patterns] == step
            found.append((starts[complete], last[complete] + 1, self._concepts[patterns[complete]]))
            starts, last, patterns = starts[~complete], last[~complete], patterns[~complete]
            if not len(patterns):
                break
            last = self._find_next(last, patterns, step, kinds, sentences)
            on = last >= 0
            starts, last, patterns = starts[on], last[on], patterns[on]
        return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]

    def _find_possible(
        self, places: Ints, kind: NDArray[np.int32], starts: Ints, patterns: Ints, sentences: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Return which candidates have the anchor of their pattern in their sentence: one in twenty or so."""
        if not len(places):
            return np.zeros(0, dtype=np.bool_)
        ends = self._anchor_ends.view
        first, counts = ends[kind], ends[kind + 1] - ends[kind]
        base = sentences[places[0]]
        present = np.zeros((sentences[places[-1]] - base + 1, len(self._sizes)), dtype=np.bool_)
        present[np.repeat(sentences[places] - base, counts), self._anchors.view[expand_ranges(first, counts)]] = True
        possible: NDArray[np.bool_] = present[sentences[starts] - base, patterns]
        return possible

    def _find_next(
        self, last: Ints, patterns: Ints, step: int, kinds: NDArray[np.int32], sentences: NDArray[np.int32]
    ) -> Ints:
        """Return for each candidate the nearest place that fits the next element, or -1."""
        result = np.full(len(last), -1, dtype=np.int64)
        wanted = self._elements[patterns, step]
        reach = self._gaps[patterns, step] + 1
        open_ = np.arange(len(last))
        fits = self._fits.view
        for distance in range(1, int(reach.max()) + 1):
            open_ = open_[(reach[open_] >= distance) & (last[open_] + distance < len(kinds))]
            place = last[open_] + distance
            same = sentences[place] == sentences[last[open_]]
            open_, place = open_[same], place[same]
            fit = fits[kinds[place], wanted[open_]]
            result[open_[fit]] = place[fit]
            open_ = open_[~fit]
        return result

    def _learn_tokens(self) -> None:
        """Work out the elements of tokens that the table has gained."""
        kinds: list[int] = []
        for text in self._table.texts[len(self._kinds) :]:
            elements = self._index.find_elements(text)
            kinds.append(len(self._fits) if elements else 0)
            if elements:
                row = np.zeros((1, self._fits.view.shape[1]), dtype=np.bool_)
                row[0, elements] = True
                self._fits.append(row)
                begun = [p for e in elements for p in self._beginning.get(e, ())]
                self._candidates.append(np.array(begun, dtype=np.int64))
                self._candidate_ends.append(np.array([len(self._candidates)], dtype=np.int64))
                self._kind_elements.append(elements)
                self._add_anchors(elements)
        self._kinds.append(np.array(kinds, dtype=np.int32))


class ConceptFinder:
    """Finds concepts in batches of any mix of languages."""

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self._lexicon = lexicon or load_lexicon()
        self._matchers: WeakKeyDictionary[TokenTable, dict[str, LanguageMatcher]] = WeakKeyDictionary()
        # Several features ask about the same batch, one after another.
        self._found: WeakKeyDictionary[TokenBatch, ConceptHits] = WeakKeyDictionary()

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """A 64-bit hash of each concept's name, in the order of the lexicon."""
        return np.array([hash_text(name) for name in self._lexicon.names], dtype=np.uint64)

    def find_concepts(self, batch: TokenBatch) -> ConceptHits:
        """Return every concept found; overlapping hits of one concept count as one."""
        if batch not in self._found:
            self._found[batch] = self._search_batch(batch)
        return self._found[batch]

    def _search_batch(self, batch: TokenBatch) -> ConceptHits:
        codes = np.array([LANGUAGES.index(c) if c in LANGUAGES else -1 for c in batch.languages], dtype=np.int64)
        lengths = np.diff(batch.offsets)
        sentences = batch.sentences
        found: list[tuple[Ints, Ints, Ints]] = []
        for code in np.unique(codes[codes >= 0]):
            which = np.flatnonzero(codes == code)
            matcher = self._get_matcher(LANGUAGES[code], batch)
            if len(which) == len(batch):
                found.append(matcher.find_hits(batch.rows, sentences))
                continue
            places = expand_ranges(batch.offsets[which], lengths[which])
            starts, ends, concepts = matcher.find_hits(batch.rows[places], sentences[places])
            found.append((places[starts], places[ends - 1] + 1, concepts))
        return _merge_hits(found, batch)

    def _get_matcher(self, language: str, batch: TokenBatch) -> LanguageMatcher:
        matchers = self._matchers.setdefault(batch.table, {})
        if language not in matchers:
            patterns = expand_patterns(language, self._lexicon.patterns[language])
            matchers[language] = LanguageMatcher(patterns, self._lexicon.names, batch.table, batch.rows)
        return matchers[language]


def _merge_hits(found: list[tuple[Ints, Ints, Ints]], batch: TokenBatch) -> ConceptHits:
    """Sort hits by place, and let the first of overlapping hits of one concept stand for all."""
    empty = np.zeros(0, dtype=np.int64)
    found = [(empty, empty, empty), *found]
    starts, ends, concepts = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((-ends, starts, concepts))
    starts, ends, concepts = starts[order], ends[order], concepts[order]
    # The furthest end so far within the same concept: shift each concept onto ground of its own.
    shift = concepts * (len(batch.rows) + 1)
    reached = np.maximum.accumulate(ends + shift) if len(ends) else ends
    fresh = np.ones(len(starts), dtype=np.bool_)
    fresh[1:] = starts[1:] + shift[1:] >= reached[:-1]
    starts, ends, concepts = starts[fresh], ends[fresh], concepts[fresh]
    order = np.lexsort((concepts, starts))
    starts = starts[order]
    documents = np.searchsorted(batch.offsets, starts, side="right") - 1
    return ConceptHits(documents, starts, ends[order], concepts[order])


@cache
def expand_patterns(language: str, patterns: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    """Return patterns of a language with every element a single token.

    A word that spaCy splits (`15-year-old`) becomes a run of adjacent elements.
    """
    tokenizer = load_blank(language).tokenizer

    @cache
    def split(word: str) -> tuple[str, ...]:
        return (word,) if "*" in word else tuple(token.lower_ for token in tokenizer(word))

    return tuple(dict.fromkeys(p for pattern in patterns for p in _expand_pattern(pattern, split)))


def _expand_pattern(pattern: Pattern, split: Callable[[str], tuple[str, ...]]) -> Iterable[Pattern]:
    choices: list[list[tuple[frozenset[str], ...]]] = []
    for element in pattern.elements:
        runs = [split(word) for word in sorted(element)]
        # A word stays whole as well: spaCy splits "id" (i'd), but not "ID".
        choices.append([(element,), *(tuple(frozenset({t}) for t in run) for run in runs if len(run) > 1)])
    for choice in product(*choices):
        elements = tuple(element for run in choice for element in run)
        gaps: list[int] = []
        for gap, run in zip((0, *pattern.gaps), choice, strict=True):
            gaps.extend([gap, *[0] * (len(run) - 1)])
        yield replace(pattern, elements=elements, gaps=tuple(gaps[1:]))
