"""Finding which word lists a token is on, where words may have wildcards at their ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence


class WordIndex:
    """Finds the elements that a token fits; each element is a set of words with wildcards."""

    def __init__(self, elements: Sequence[frozenset[str]]) -> None:
        self.size = len(elements)
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._prefixes: dict[str, list[int]] = defaultdict(list)
        self._suffixes: dict[str, list[int]] = defaultdict(list)
        self._infixes: dict[str, list[int]] = defaultdict(list)
        for number, element in enumerate(elements):
            for word in element:
                self._choose_table(word)[word.strip("*")].append(number)
        self._lengths = [sorted({len(w) for w in t}) for t in (self._prefixes, self._suffixes, self._infixes)]
        # What the prefixes begin with and the suffixes end with: most tokens need not be looked at further.
        self._head, self._tail = (lengths[0] if lengths else 0 for lengths in self._lengths[:2])
        self._heads = {word[: self._head] for word in self._prefixes}
        self._tails = {word[-self._tail :] for word in self._suffixes}

    def _choose_table(self, word: str) -> dict[str, list[int]]:
        if word.startswith("*"):
            return self._infixes if word.endswith("*") else self._suffixes
        return self._prefixes if word.endswith("*") else self._exact

    def find_elements(self, token: str) -> list[int]:
        """Return the numbers of the elements that the token fits, sorted."""
        size = len(token)
        found = [*self._exact.get(token, ())]
        prefix_lengths, suffix_lengths, infix_lengths = self._lengths
        # Most tokens fit nothing: `in` costs less than to add nothing.
        for length in prefix_lengths if token[: self._head] in self._heads else ():
            if token[:length] in self._prefixes:
                found += self._prefixes[token[:length]]
        for length in suffix_lengths if token[-self._tail :] in self._tails else ():
            if token[-length:] in self._suffixes:
                found += self._suffixes[token[-length:]]
        for length in infix_lengths:
            for start in range(size - length + 1):
                found += self._infixes.get(token[start : start + length], ())
        return sorted(set(found)) if found else found
