"""Finding the concepts of the lexicon in a `TokenBatch`, in any mix of languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import groupby, product
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tipnlp.language import LANGUAGES
from tipnlp.lexicon import Lexicon, Pattern, load_lexicon
from tipnlp.matching import Ints, LanguageMatcher
from tipnlp.preprocess import hash_text, is_plain_word, load_blank
from tipnlp.tokens import TokenBatch, TokenTable, expand_ranges


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


class ConceptFinder:
    """Finds concepts in batches of any mix of languages."""

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self._lexicon = lexicon or load_lexicon()
        self._matchers: WeakKeyDictionary[TokenTable, dict[str, LanguageMatcher]] = WeakKeyDictionary()
        # Several features ask about the same batch, one after another.
        self._found: WeakKeyDictionary[TokenBatch, ConceptHits] = WeakKeyDictionary()

    @cached_property
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
            matcher = self._get_matcher(LANGUAGES[code], batch.table)
            if len(which) == len(batch):
                found.append(matcher.find_hits(batch.table, batch.rows, sentences))
                continue
            places = expand_ranges(batch.offsets[which], lengths[which])
            starts, ends, concepts = matcher.find_hits(batch.table, batch.rows[places], sentences[places])
            found.append((places[starts], places[ends - 1] + 1, concepts))
        return _merge_hits(found, batch)

    def _get_matcher(self, language: str, table: TokenTable) -> LanguageMatcher:
        # A matcher must not hold its table: nothing would ever be forgotten.
        matchers = self._matchers.setdefault(table, {})
        if language not in matchers:
            patterns = expand_patterns(language, self._lexicon.patterns[language])
            matchers[language] = LanguageMatcher(patterns, self._lexicon.names)
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
    elements = {element for pattern in patterns for element in pattern.elements}
    runs = split_words(language, sorted({word for element in elements for word in element if "*" not in word}))
    choices = {element: _list_choices(element, runs) for element in elements}
    return tuple(dict.fromkeys(p for pattern in patterns for p in _expand_pattern(pattern, choices)))


def split_words(language: str, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the tokens, in lower case, of those words that spaCy takes for more than one."""
    words = [word for word in words if not is_plain_word(word, language)]
    # All at once, a line each: to call spaCy for each takes ten times as long.
    lines = load_blank(language).make_doc("\n".join(words))
    groups = groupby((token.lower_ for token in lines), key="\n".__eq__)
    runs = [tuple(group) for is_break, group in groups if not is_break]
    return {word: run for word, run in zip(words, runs, strict=True) if len(run) > 1}


def _list_choices(element: frozenset[str], runs: Mapping[str, tuple[str, ...]]) -> list[tuple[frozenset[str], ...]]:
    """Return the ways to read an element: as it is, and as the run of tokens of each word that spaCy splits."""
    # A word stays whole as well: spaCy splits "id" (i'd), but not "ID".
    split = [tuple(frozenset({token}) for token in runs[word]) for word in sorted(element) if word in runs]
    return [(element,), *split]


def _expand_pattern(
    pattern: Pattern, choices: Mapping[frozenset[str], list[tuple[frozenset[str], ...]]]
) -> Iterable[Pattern]:
    for choice in product(*(choices[element] for element in pattern.elements)):
        elements = tuple(element for run in choice for element in run)
        gaps: list[int] = []
        for gap, run in zip((0, *pattern.gaps), choice, strict=True):
            gaps.extend([gap, *[0] * (len(run) - 1)])
        yield replace(pattern, elements=elements, gaps=tuple(gaps[1:]))
