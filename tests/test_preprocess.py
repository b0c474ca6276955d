"""Exactly spaCy's tokens, for every text."""

from __future__ import annotations

import json
from itertools import pairwise
from weakref import ref

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from conftest import CORPUS, REAL
from tipnlp.cases import Case
from tipnlp.language import (
    LANGUAGES,
    LONG_SAMPLE_CHARACTERS,
    SAMPLE_CHARACTERS,
    detect_any_languages,
    detect_languages,
)
from tipnlp.lexicon import load_origins
from tipnlp.model import Model
from tipnlp.preprocess import (
    LETTERS,
    MAX_CHUNKS,
    Preprocessor,
    TokenMemory,
    expand_ranges,
    get_memory,
    load_blank,
    tokenize_cases,
)
from tipnlp.reading import read_cases

LIBRARY, WHOLE_LIBRARY = (LanguageIdentifier.from_model_file(MODEL_FILE) for _ in range(2))
LIBRARY.set_languages(list(LANGUAGES))

NLP = {language: spacy.blank(language) for language in LANGUAGES}

# Pieces that tokenisers treat in special ways, put together at random.
PIECES = st.sampled_from(
    [
        "l'employeur",
        "d'Fra",
        "aujourd'hui",
        "don't",
        "U.S.",
        "z.B.",
        "M.",
        "15-year-old",
        "15-jährig",
        "lover-boy",
        "Zwangs-Arbeit",
        "3.000,50",
        "€",
        "10:30",
        "a.m.",
        ":-)",
        ":)",
        "(sic)",
        '"quoted"',
        "«cité»",
        "„zitiert“",
        "mail@example.org",
        "www.example.org",
        "https://example.org/a?b=c",
        "…",
        "...",
        "--",
        "n°",
        "12",
        "1er",
        "2e",
        "Mme",
        "St.",
        "Nr.",
        "ix",
        "50kg",
        "$100",
        "£5",
        "C++",
        "'",
        "''",
        "``",
        "\xa0",
        "\u2028",
        "\t",
        "\n",
        "\u200b",
        "ß",
        "ẞ",
        "İ",
        "ﬁ",
        "é",
        "é",
        "中文",
        "العربية",
        "😀",
        "<b>",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=80), st.lists(PIECES, max_size=20).map(" ".join), st.lists(PIECES, max_size=9).map("".join)
)


def expect_tokens(text: str, language: str) -> list[str]:
    """spaCy's tokens without white space, lower-cased and masked one by one."""
    found = []
    for token in NLP[language](text):
        if token.is_space:
            continue
        form = token.lower_
        if token.like_num and any(map(str.isdigit, form)) and not (token.is_digit and len(token) <= 2):
            form = "<number>"
        form = "<email>" if token.like_email else form
        form = "<origin>" if any(fits(word, form) for word in load_origins(language)) else form
        found.append("<url>" if token.like_url else form)
    return found


def fits(word: str, token: str) -> bool:
    """Whether a token fits a word with a wildcard at its end, or none."""
    return token.startswith(word[:-1]) if word.endswith("*") else token == word


def tokenize(texts: list[str], language: str) -> list[list[str]]:
    batch = Preprocessor().transform([Case(id="", text=text, lang=language) for text in texts])
    return [batch.read_texts(i) for i in range(len(batch))]


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_tokens_equal_spacy(language: str, texts: list[str]) -> None:
    for text, found in zip(texts, tokenize(texts, language), strict=True):
        alone = [token for chunk in text.split() for token in expect_tokens(chunk, language)]
        assert found == alone
        # Where spaCy's special cases reach across a blank, its tokens of a text are not those of the chunks.
        assert found == expect_tokens(text, language) or reach_across_blanks(text, language)


def reach_across_blanks(text: str, language: str) -> bool:
    """Whether spaCy looks at special cases in two neighbouring chunks together: it does so for `x' ''y`."""
    special = NLP[language].tokenizer.rules
    chunks = text.split()
    return any(
        f"{first[-i:]}{second[:k]}" in special
        for first, second in pairwise(chunks)
        for i in range(1, 4)
        for k in range(1, 4)
    )


@pytest.mark.parametrize("text", ["x' ''y", "''y", "x' ''y ''z"])
def test_what_stands_beside_a_chunk_does_not_change_its_tokens(text: str) -> None:
    assert [token for token in tokenize([text], "de")[0] if len(token) == 2] == ["''"] * text.count("''")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_letter_of_a_plain_word_is_no_affix_for_spacy(language: str) -> None:
    letters = [chr(code) for code in range(0x180) if LETTERS.fullmatch(chr(code))]
    assert len(letters) > 150
    words = [word for x in letters for word in (x, f"{x}k", f"k{x}", f"K{x}", f"k{x}k", f"{x}{x}", f"k{x}x", f"x{x}k")]
    assert tokenize(words, language) == [expect_tokens(word, language) for word in words]


@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.from_regex(LETTERS, fullmatch=True), min_size=1, max_size=20))
def test_plain_words_are_tokens_of_spacy(language: str, words: list[str]) -> None:
    assert tokenize(words, language) == [expect_tokens(word, language) for word in words]


def test_tokens_equal_spacy_on_the_corpus() -> None:
    cases = list(read_cases([CORPUS]))[::15]
    batch = Preprocessor().transform(cases)
    for i, case in enumerate(cases):
        assert batch.read_texts(i) == expect_tokens(case.text, case.lang or "")


@pytest.mark.skipif(not REAL.exists(), reason="the real texts are not here")
def test_tokens_equal_spacy_on_real_texts() -> None:
    with (REAL / "stream.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(60), strict=False)]
    assert tokenize(texts, "en") == [expect_tokens(text, "en") for text in texts]


def test_mixed_languages_keep_their_order() -> None:
    texts = ["l'hiver est long", "d'Fra ass do", "don't go", "z.B. hier"]
    languages = ["fr", "lb", "en", "de"]
    batch = Preprocessor().transform([Case(id="", text=t, lang=code) for t, code in zip(texts, languages, strict=True)])
    assert [batch.read_texts(i) for i in range(4)] == [
        expect_tokens(t, c) for t, c in zip(texts, languages, strict=True)
    ]
    assert batch.languages == languages


def test_masks_hide_what_identifies_and_keep_ages() -> None:
    (tokens,) = tokenize(["Write to eve@example.org or www.example.org, 27 or 0123456, aged 15 or fifteen"], "en")
    assert tokens == [
        "write",
        "to",
        "<email>",
        "or",
        "<url>",
        ",",
        "27",
        "or",
        "<number>",
        ",",
        "aged",
        "15",
        "or",
        "fifteen",
    ]


def test_origin_is_masked_in_every_language() -> None:
    said = {
        "en": "a Nigerian waiter",
        "fr": "des ouvriers roumains",
        "de": "zwei Chinesinnen",
        "lb": "e portugisesche Chef",
    }
    for language, text in said.items():
        assert "<origin>" in tokenize([text], language)[0]


def test_sentences_end_at_closing_tokens_and_texts() -> None:
    batch = Preprocessor().transform(
        [Case(id="", text="One. Two three", lang="en"), Case(id="", text="Four", lang="en")]
    )
    assert batch.sentences.tolist() == [0, 0, 1, 1, 2]
    assert batch.documents.tolist() == [0, 0, 0, 0, 1]


def test_sentences_with_empty_texts() -> None:
    texts = ["", "One.", "", "", "Two", ""]
    batch = Preprocessor().transform([Case(id="", text=text, lang="en") for text in texts])
    assert len(set(batch.sentences[batch.documents == 1]) & set(batch.sentences[batch.documents == 4])) == 0
    assert np.diff(batch.offsets).tolist() == [0, 2, 0, 0, 1, 0]


def test_cases_of_a_group_share_a_number() -> None:
    batch = Preprocessor().transform([Case(id="", text="a", lang="en", group=g) for g in ("x", None, "x", None, "y")])
    assert batch.groups.tolist() == [0, 1, 0, 2, 3]


def test_full_memory_starts_afresh_and_old_batches_stay_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = get_memory()
    first = Preprocessor().transform([Case(id="", text="alpha beta gamma", lang="en")])
    monkeypatch.setattr("tipnlp.preprocess.MAX_CHUNKS", 0)
    second = Preprocessor().transform([Case(id="", text="delta", lang="en")])
    assert first.table is not second.table
    assert first.read_texts(0) == ["alpha", "beta", "gamma"]
    assert second.read_texts(0) == ["delta"]
    assert memory is get_memory()
    assert MAX_CHUNKS > 0


def test_what_was_forgotten_is_freed(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(id="", text="The foreman kept the passports of the workers.", lang="en")
    model.predict_probabilities([case])
    forgotten = ref(get_memory().table)
    monkeypatch.setattr("tipnlp.preprocess.MAX_CHUNKS", 0)
    model.predict_probabilities([case])
    assert forgotten() is None


def test_new_chunks_are_sent_to_spacy_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    nlp = load_blank("en")
    make_doc = nlp.make_doc
    monkeypatch.setattr(nlp, "make_doc", lambda text: sent.append(text) or make_doc(text))
    memory = TokenMemory()
    for _ in range(3):
        tokenize_cases([Case(id="", text="again, again; and again,", lang="en")] * 2, memory)
    assert sent == ["again,\nagain;\n"]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The workers slept in a container behind the farm and were never paid.", "en"),
        ("Les ouvriers dormaient dans un conteneur derrière la ferme.", "fr"),
        ("Die Arbeiter schliefen in einem Container hinter dem Hof.", "de"),
        ("D'Aarbechter hunn an engem Container hannert dem Haff geschlof.", "lb"),
    ],
)
def test_language_is_detected(text: str, language: str) -> None:
    assert detect_languages([text]) == [language]
    assert Preprocessor().transform([text]).languages == [language]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS | st.sampled_from(["", "...", "14 March", "\0", "WEM GEHÉIERT DEN HAF?", "é"]), max_size=9))
def test_languages_are_those_of_the_library(texts: list[str]) -> None:
    assert detect_languages(texts) == [LIBRARY.classify(text[:SAMPLE_CHARACTERS])[0] for text in texts]
    assert detect_any_languages(texts) == [WHOLE_LIBRARY.classify(text[:LONG_SAMPLE_CHARACTERS])[0] for text in texts]


def test_languages_of_many_texts_are_those_of_the_library() -> None:
    texts = [case.text for case in read_cases([CORPUS])][::5]
    assert detect_languages(texts) == [LIBRARY.classify(text[:SAMPLE_CHARACTERS])[0] for text in texts]


@given(lengths=st.lists(st.integers(0, 5), max_size=20))
def test_expand_ranges(lengths: list[int]) -> None:
    starts = [7 * i for i in range(len(lengths))]
    expected = [s + k for s, n in zip(starts, lengths, strict=True) for k in range(n)]
    assert expand_ranges(np.array(starts, dtype=np.int64), np.array(lengths, dtype=np.int64)).tolist() == expected
