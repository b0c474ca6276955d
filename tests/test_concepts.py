"""The concepts of the lexicon, in sentences of every language; matching by hand."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tipnlp.cases import Case
from tipnlp.concepts import ConceptFinder
from tipnlp.language import LANGUAGES
from tipnlp.lexicon import GAP, Concept, Lexicon, load_lexicon, parse_pattern
from tipnlp.preprocess import Preprocessor
from tipnlp.wordindex import WordIndex

DATA = Path(__file__).parent / "data" / "concept_sentences"
SENTENCES: list[dict[str, Any]] = [
    sentence
    for language in LANGUAGES
    for sentence in tomllib.loads((DATA / f"{language}.toml").read_text(encoding="utf-8"))["sentence"]
]


def make_finder(lines: dict[str, str], words: dict[str, str] | None = None) -> ConceptFinder:
    classes = {name: frozenset(value.split()) for name, value in (words or {}).items()}
    patterns = tuple(parse_pattern(name, line, classes) for name, text in lines.items() for line in text.splitlines())
    concepts = tuple(Concept(name, "act", "") for name in lines)
    return ConceptFinder(Lexicon(concepts, dict.fromkeys(LANGUAGES, patterns)))


def find_names(finder: ConceptFinder, text: str, lang: str, names: tuple[str, ...]) -> list[tuple[str, int, int]]:
    hits = finder.find_concepts(Preprocessor().transform([Case(id="", text=text, lang=lang)]))
    return [(names[c], int(s), int(e)) for c, s, e in zip(hits.concepts, hits.starts, hits.ends, strict=True)]


@pytest.fixture(scope="module")
def finder() -> ConceptFinder:
    return ConceptFinder()


@pytest.mark.parametrize("language", LANGUAGES)
def test_expected_concepts_are_found(finder: ConceptFinder, language: str) -> None:
    wrong = []
    for sentence in (s for s in SENTENCES if s["lang"] == language):
        found = {name for name, _, _ in find_names(finder, sentence["text"], language, load_lexicon().names)}
        missed = set(sentence.get("concepts", [])) - found
        too_many = set(sentence.get("absent", [])) & found
        if missed or too_many:
            wrong.append(f"{sentence['text']!r}: missed {sorted(missed)}, wrongly found {sorted(too_many)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_concept_has_a_sentence_in_every_language(language: str) -> None:
    tested = {name for s in SENTENCES if s["lang"] == language for name in s.get("concepts", [])}
    assert set(load_lexicon().names) == tested


def test_lexicon_is_large_enough_and_even() -> None:
    lexicon = load_lexicon()
    assert len(lexicon.concepts) >= 40
    sizes = {language: len(lexicon.patterns[language]) for language in LANGUAGES}
    assert min(sizes.values()) > 0.6 * max(sizes.values()), sizes


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        ("passport", "The passport is gone", [(1, 2)]),
        ("pass*", "passports Passes compass", [(0, 1), (1, 2)]),
        ("*pass", "compass pass passes", [(0, 1), (1, 2)]),
        ("*pass*", "encompassed", [(0, 1)]),
        ("took|kept .. passport", "He took all of the passport", [(1, 6)]),
        ("took .. passport", "He took it. The passport is here", []),
        ("took .. passport", "took a b c d e passport", [(0, 7)]),
        ("took .. passport", "took a b c d e f passport", []),
        ("took passport", "took passport", [(0, 2)]),
        ("took passport", "took the passport", []),
        ("took .. his .. passport", "took from him his old passport", [(0, 6)]),
        ("15-year-old girl", "a 15-year-old girl", [(1, 7)]),
        ("@paper .. gone", "The visa is gone", [(1, 4)]),
    ],
)
def test_patterns_by_hand(line: str, text: str, expected: list[tuple[int, int]]) -> None:
    finder = make_finder({"x": line}, {"paper": "passport visa*"})
    assert [(s, e) for _, s, e in find_names(finder, text, "en", ("x",))] == expected


def test_overlapping_hits_of_one_concept_count_once_and_of_two_each() -> None:
    finder = make_finder({"x": "a b\nb c\nb", "y": "b"})
    assert find_names(finder, "a b c b", "en", ("x", "y")) == [("x", 0, 2), ("y", 1, 2), ("x", 3, 4), ("y", 3, 4)]


def test_hits_are_the_same_alone_and_in_a_mixed_batch(finder: ConceptFinder) -> None:
    chosen = SENTENCES[::9]
    cases = [Case(id="", text=s["text"], lang=s["lang"]) for s in chosen]
    batch = Preprocessor().transform(cases)
    hits = finder.find_concepts(batch)
    for i, case in enumerate(cases):
        alone = finder.find_concepts(Preprocessor().transform([case]))
        mine = hits.documents == i
        assert (hits.starts[mine] - batch.offsets[i]).tolist() == alone.starts.tolist()
        assert (hits.ends[mine] - batch.offsets[i]).tolist() == alone.ends.tolist()
        assert hits.concepts[mine].tolist() == alone.concepts.tolist()


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "abc", "cab", "."]), max_size=12)
LINES = st.lists(
    st.sampled_from(["a", "b*", "*b", "*b*", "a b", "a .. b*", "ab|a .. cab", "a .. b .. ab"]),
    min_size=1,
    max_size=4,
    unique=True,
)


def match_slowly(line: str, tokens: list[str]) -> set[tuple[int, int]]:
    """The grammar told again, one place at a time: the nearest fit for each element."""
    pattern = parse_pattern("x", line, {})

    def fits(element: frozenset[str], token: str) -> bool:
        return any(
            token == word
            or (word.endswith("*") and word.startswith("*") and word.strip("*") in token)
            or (word.endswith("*") and not word.startswith("*") and token.startswith(word[:-1]))
            or (word.startswith("*") and not word.endswith("*") and token.endswith(word[1:]))
            for word in element
        )

    found = set()
    for start, token in enumerate(tokens):
        if not fits(pattern.elements[0], token):
            continue
        last = start
        for element, gap in zip(pattern.elements[1:], pattern.gaps, strict=True):
            reach = range(last + 1, min(last + gap + 2, len(tokens)))
            ok = [p for p in reach if fits(element, tokens[p]) and "." not in tokens[last:p]]
            if not ok:
                break
            last = ok[0]
        else:
            found.add((start, last + 1))
    return found


@settings(max_examples=200, deadline=None)
@given(words=WORDS, lines=LINES)
def test_matching_equals_a_slow_matcher(words: list[str], lines: list[str]) -> None:
    names = tuple(f"c{i}" for i in range(len(lines)))
    finder = make_finder(dict(zip(names, lines, strict=True)))
    found = find_names(finder, " ".join(words), "de", names)
    for name, line in zip(names, lines, strict=True):
        reached, expected = 0, []
        for start, end in sorted(match_slowly(line, words), key=lambda span: (span[0], -span[1])):
            if start >= reached:
                expected.append((start, end))
            reached = max(reached, end)
        assert [(s, e) for n, s, e in found if n == name] == expected


@pytest.mark.parametrize("line", [".. a", "a ..", "", "@nothing", "a*b", "*", "a|*"])
def test_faulty_patterns_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="x: "):
        parse_pattern("x", line, {})


def test_gap_is_what_the_lexicon_says() -> None:
    assert parse_pattern("x", "a .. b c", {}).gaps == (GAP, 0)


def test_word_index_finds_all_elements() -> None:
    index = WordIndex([frozenset({"ab"}), frozenset({"a*"}), frozenset({"*b"}), frozenset({"*b*"}), frozenset({"c"})])
    assert index.find_elements("ab") == [0, 1, 2, 3]
    assert index.find_elements("xbx") == [3]
    assert index.find_elements("") == []
