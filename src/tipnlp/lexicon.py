"""The concept lexicon as data: what is looked for, in which words, in four languages.

`lexicon/concepts.toml` defines every concept once; `lexicon/<language>.toml` says how it is
put in that language. A pattern is a line of elements:

==========  ================================================================
``word``    one token in lower case; ``*`` at either end is a wildcard
``a|b``     alternatives
``@class``  any word of a class from the ``[words]`` table of the same file
``..``      up to `GAP` tokens in between, within a sentence
==========  ================================================================
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tipnlp.errors import LexiconError
from tipnlp.language import LANGUAGES

GAP = 5
GAP_MARK = ".."
GROUPS = (
    "act",
    "means",
    "indicator",
    "exploitation",
    "neighbour",
    "exoneration",
    "out_of_scope",
    "notice",
    "term",
    "role",
)


@dataclass(frozen=True, slots=True)
class Concept:
    """What a concept is: its name, its group (one of `GROUPS`) and its definition."""

    name: str
    group: str
    definition: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way to put a concept.

    Attributes:
        concept: the name of the concept.
        elements: for each place the words (with wildcards) that may stand there.
        gaps: for each place but the first, how many other tokens may stand before it.
    """

    concept: str
    elements: tuple[frozenset[str], ...]
    gaps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All concepts, and the patterns of each language."""

    concepts: tuple[Concept, ...]
    patterns: Mapping[str, tuple[Pattern, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the concepts, in the order of the lexicon."""
        return tuple(concept.name for concept in self.concepts)


@cache
def load_lexicon() -> Lexicon:
    """Read the lexicon that comes with the package.

    Raises:
        LexiconError: a file is faulty; the message names file, concept and pattern.
    """
    table = _read_toml("concepts")
    concepts = tuple(Concept(name, entry["group"], entry["definition"]) for name, entry in table.items())
    for concept in concepts:
        if concept.group not in GROUPS:
            raise LexiconError(f"concepts.toml: {concept.name}: group {concept.group!r} is not one of {GROUPS}")
    return Lexicon(concepts, PatternFiles(frozenset(table)))


class PatternFiles(Mapping[str, tuple[Pattern, ...]]):
    """The patterns of each language; a file is read when its language is first asked for.

    Args:
        concepts: the names of all concepts.
    """

    def __init__(self, concepts: frozenset[str]) -> None:
        self._concepts = concepts
        self._read: dict[str, tuple[Pattern, ...]] = {}

    def __getitem__(self, language: str) -> tuple[Pattern, ...]:
        if language not in LANGUAGES:
            raise KeyError(language)
        if language not in self._read:
            self._read[language] = _read_patterns(language, self._concepts)
        return self._read[language]

    def __iter__(self) -> Iterator[str]:
        return iter(LANGUAGES)

    def __len__(self) -> int:
        return len(LANGUAGES)


def _read_toml(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((files("tipnlp") / "lexicon" / f"{name}.toml").read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise LexiconError(f"{name}.toml: {error}") from None


def _read_patterns(language: str, concepts: frozenset[str]) -> tuple[Pattern, ...]:
    table = _read_toml(language)
    if unknown := set(table["concepts"]) ^ concepts:
        raise LexiconError(f"{language}.toml: concepts differ from concepts.toml: {', '.join(sorted(unknown))}")
    words = {name: frozenset(value.replace("|", " ").split()) for name, value in table["words"].items()}
    try:
        for name, choices in table["words"].items():
            check_words(words[name], f"@{name}: {choices!r}")
        return tuple(
            parse_pattern(concept, line, words)
            for concept, lines in table["concepts"].items()
            for line in lines.splitlines()
            if line.strip()
        )
    except ValueError as error:
        raise LexiconError(f"{language}.toml: {error}") from None


def parse_pattern(concept: str, line: str, words: Mapping[str, frozenset[str]]) -> Pattern:
    """Parse one pattern line.

    Raises:
        ValueError: the line names an unknown class, or begins or ends with a gap.
    """
    elements: list[frozenset[str]] = []
    gaps: list[int] = []
    gap = 0
    for part in line.split():
        if part == GAP_MARK:
            gap = GAP
            continue
        if part.startswith("@") and part[1:] not in words:
            raise ValueError(f"{concept}: unknown word class {part} in {line!r}")
        elements.append(words[part[1:]] if part.startswith("@") else frozenset(part.split("|")))
        if not part.startswith("@"):
            check_words(elements[-1], f"{concept}: {line!r}")
        gaps.append(gap)
        gap = 0
    if gap or not elements or gaps[0]:
        raise ValueError(f"{concept}: a pattern begins and ends with a word: {line!r}")
    return Pattern(concept, tuple(elements), tuple(gaps[1:]))


def check_words(words: frozenset[str], place: str) -> None:
    """Raise `ValueError`, naming the place, where a word has a wildcard in its middle or nothing else."""
    if any(word.strip("*") == "" or "*" in word.strip("*") for word in words):
        raise ValueError(f"{place}: * stands at the beginning or the end of a word")


@cache
def load_origins(language: str) -> frozenset[str]:
    """Return the words of origin of a language (nationalities, countries, continents), with wildcards."""
    return frozenset(_read_toml("origins")[language].split())


@cache
def fingerprint_lexicon() -> str:
    """Return a hash of the lexicon: a model knows which one it was trained with."""
    folder = files("tipnlp") / "lexicon"
    digest = hashlib.sha256()
    for name in ("concepts", "origins", *LANGUAGES):
        digest.update((folder / f"{name}.toml").read_bytes())
    return digest.hexdigest()
