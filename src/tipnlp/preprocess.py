"""From texts to tokens: spaCy's tokens, at the speed of a dictionary.

spaCy's tokeniser works on each whitespace-separated chunk by itself, so a chunk seen before
need not be tokenised again. `ChunkMemo` remembers `chunk -> rows of the token table` and sends
only new chunks to spaCy, many at once, and none that is a plain word: of letters alone, and no special case
of spaCy's, it is one token. The result is exactly spaCy's (the tests hold it
against `nlp(text)`), without white space, in lower case, with long numbers and addresses masked.
Only where one of spaCy's special cases could begin in one chunk and end in the next (`x' ''y`) do
we see none and spaCy half of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import compress
from typing import Any, Self

import numpy as np
import spacy
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from spacy.attrs import IS_DIGIT, LENGTH, LIKE_EMAIL, LIKE_NUM, LIKE_URL, LOWER, ORTH
from spacy.language import Language
from spacy.strings import StringStore

from tipnlp.cases import Case, resolve_languages
from tipnlp.language import LANGUAGES
from tipnlp.lexicon import load_origins
from tipnlp.tokens import GrowingArray, TokenBatch, TokenTable, expand_ranges
from tipnlp.wordindex import WordIndex

# A mask replaces what identifies a person or a sum. Order matters: the last that fits wins.
MASKS = {"number": "<number>", "email": "<email>", "url": "<url>"}
ORIGIN = "<origin>"


def hash_text(text: str) -> int:
    """Return the 64-bit hash that spaCy gives a text: the id of a token of that form."""
    return int(StringStore([text])[text])


MASK_TEXTS = {hash_text(text): text for text in (*MASKS.values(), ORIGIN)}
ORIGIN_ID = hash_text(ORIGIN)
LINE_BREAK = hash_text("\n")

# Ages decide between labels ("a girl of 15", "of fifteen"): one or two digits identify nobody, nor does a number word.
KEPT_DIGITS = 2

# What is read of every token, in the order in which `mask_tokens` expects it.
READ_ATTRIBUTES = (LOWER, LIKE_NUM, LIKE_EMAIL, LIKE_URL, IS_DIGIT)

# spaCy's tokeniser slows down on very long documents; its work per chunk does not depend on this.
CHUNKS_A_DOCUMENT = 20_000

# A chunk of these letters alone is one token unless it is a special case: every rule of affixes needs something else.
LETTERS = re.compile("[A-Za-zÀ-ÖØ-öø-ſ]+")

# What `str.split` splits a text into.
CHUNK = re.compile(r"\S+")

# Above this many distinct chunks the memory starts afresh: each takes about 0.5 kB with all that is known of it.
MAX_CHUNKS = 300_000


@cache
def load_blank(language: str) -> Language:
    """Return spaCy's blank pipeline of a language: its tokeniser, without any download."""
    nlp = spacy.blank(language)
    nlp.max_length = 10**9
    # spaCy works out some twenty attributes of every new word; most of the time of a first pass goes there.
    getters = nlp.vocab.lex_attr_getters  # type: ignore[attr-defined]
    for attribute in set(getters) - set(READ_ATTRIBUTES):
        del getters[attribute]
    return nlp


@cache
def list_special_cases(language: str) -> frozenset[str]:
    """Return the chunks that spaCy splits, or leaves whole, by a rule of their own."""
    return frozenset(load_blank(language).tokenizer.rules)  # type: ignore[union-attr]


def is_plain_word(chunk: str, language: str) -> bool:
    """Tell whether spaCy makes one token of a chunk because it is nothing but letters."""
    return LETTERS.fullmatch(chunk) is not None and chunk not in list_special_cases(language)


class ChunkMemo(dict[str, int]):
    """`chunk -> number`, in order of first sight; new chunks wait in `pending`."""

    def __init__(self) -> None:
        self.pending: list[str] = []

    def __missing__(self, chunk: str) -> int:
        number = self[chunk] = len(self)
        self.pending.append(chunk)
        return number


class MemoTokenizer:
    """spaCy's tokeniser for one language with a memory.

    Args:
        language: a spaCy language code; the pipeline is blank, nothing is downloaded.
        table: where distinct tokens are kept; several tokenisers may share one.
    """

    def __init__(self, language: str, table: TokenTable) -> None:
        self._language = language
        self._nlp = load_blank(language)
        self._origins = WordIndex([load_origins(language)])
        self._table = table
        self._memo = ChunkMemo()
        self._rows = GrowingArray(np.int32)
        self._lengths = GrowingArray(np.int32)
        self._starts = GrowingArray(np.int64)
        self._starts.append(np.zeros(1, dtype=np.int64))

    @property
    def size(self) -> int:
        """How many distinct chunks are remembered."""
        return len(self._memo)

    def tokenize(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the table rows of all tokens, flat, and how many each text has."""
        lookup = self._memo.__getitem__
        numbers: list[int] = []
        ends = [0]
        for text in texts:
            numbers.extend(map(lookup, text.split()))
            ends.append(len(numbers))
        if self._memo.pending:
            self._learn_pending()
        chunks = np.array(numbers, dtype=np.int64)
        starts = self._starts.view
        first = starts.take(chunks)
        lengths = starts.take(chunks + 1) - first
        total = np.concatenate([[0], np.cumsum(lengths)])
        return self._rows.view.take(expand_ranges(first, lengths)), np.diff(total[np.array(ends)])

    def locate_tokens(self, text: str) -> NDArray[np.int64]:
        """Return start and end of every token in the text, in characters, shape `(tokens, 2)`."""
        chunks = [(self._memo[match[0]], match.start()) for match in CHUNK.finditer(text)]
        if self._memo.pending:
            self._learn_pending()
        numbers, offsets = np.array(chunks, dtype=np.int64).reshape(-1, 2).T
        first = self._starts.view[numbers]
        counts = self._starts.view[numbers + 1] - first
        lengths = self._lengths.view[expand_ranges(first, counts)].astype(np.int64)
        ends = np.cumsum(lengths)
        # Within a chunk one token begins where the one before it ends.
        before = np.concatenate([[0], ends])[np.cumsum(counts) - counts]
        ends += np.repeat(offsets - before, counts)
        return np.stack([ends - lengths, ends], axis=1)

    def _learn_pending(self) -> None:
        pending, self._memo.pending = self._memo.pending, []
        with self._nlp.memory_zone():
            for i in range(0, len(pending), CHUNKS_A_DOCUMENT):
                self._learn_chunks(pending[i : i + CHUNKS_A_DOCUMENT])

    def _learn_chunks(self, chunks: list[str]) -> None:
        plain = [is_plain_word(chunk, self._language) for chunk in chunks]
        split, sizes = self._split_chunks([chunk for chunk, one in zip(chunks, plain, strict=True) if not one])
        counts = np.ones(len(chunks), dtype=np.int64)
        counts[~np.array(plain)] = sizes
        ends = np.cumsum(counts)
        values = np.empty((ends[-1], split.shape[1]), dtype=np.uint64)
        whole = np.repeat(plain, counts)
        values[whole] = self._read_words(list(compress(chunks, plain)))
        values[~whole] = split
        ids, digits = self._mask_origins(values[:, 0])
        ids = mask_tokens(ids, values, digits)
        strings = self._nlp.vocab.strings
        self._rows.append(self._table.add_tokens(ids, lambda i: MASK_TEXTS.get(i) or strings[i]))
        self._lengths.append(values[:, 5].astype(np.int32))
        self._starts.append(self._starts.view[-1] + ends)

    def _split_chunks(self, chunks: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return `READ_ATTRIBUTES` and length of the tokens that spaCy makes of chunks, and how many of each."""
        # A line break is a token of its own: with a blank, spaCy would look for special cases across chunks.
        doc = self._nlp.make_doc("".join(f"{chunk}\n" for chunk in chunks))
        values: NDArray[Any] = doc.to_array([*READ_ATTRIBUTES, LENGTH, ORTH])
        breaks = values[:, -1] == LINE_BREAK
        return values[~breaks, :-1], np.diff(np.flatnonzero(breaks), prepend=-1) - 1

    def _read_words(self, words: list[str]) -> NDArray[np.uint64]:
        """Return `READ_ATTRIBUTES` and length of words of letters: none is an address, or a number that is masked."""
        values = np.zeros((len(words), len(READ_ATTRIBUTES) + 1), dtype=np.uint64)
        add = self._nlp.vocab.strings.add
        values[:, 0] = [add(word.lower()) for word in words]
        values[:, -1] = [len(word) for word in words]
        return values

    def _mask_origins(self, ids: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
        """Replace words of origin (a label must not rest on where somebody comes from); tell who has a digit.

        Both are asked of each distinct form once. `dix-sept` is a number without a digit.
        """
        strings = self._nlp.vocab.strings
        distinct, inverse = np.unique(ids, return_inverse=True)
        forms = [strings[i] for i in distinct.tolist()]
        distinct[[bool(self._origins.find_elements(form)) for form in forms]] = ORIGIN_ID
        digits = np.array([any(map(str.isdigit, form)) for form in forms])
        return distinct[inverse], digits[inverse]


def mask_tokens(ids: NDArray[np.uint64], values: NDArray[np.uint64], digits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return token ids with numbers, e-mail and web addresses replaced by their mask.

    Args:
        ids: of the tokens as they are.
        values: one row a token: LOWER, LIKE_NUM, LIKE_EMAIL, LIKE_URL, IS_DIGIT, LENGTH, ...
        digits: whether a token has a digit in it.
    """
    masked = ids.copy()
    short = (values[:, 4] == 1) & (values[:, 5] <= KEPT_DIGITS)
    wanted = {"number": digits & ~short}
    for column, (name, mask) in enumerate(MASKS.items(), start=1):
        masked[(values[:, column] == 1) & wanted.get(name, True)] = hash_text(mask)
    return masked


class TokenMemory:
    """The tokenisers of the four languages over one table of tokens; it starts afresh when full."""

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.table = TokenTable()
        self._tokenizers: dict[str, MemoTokenizer] = {}

    def make_room(self) -> None:
        """Forget everything when there is too much to remember; earlier batches stay valid."""
        if sum(tokenizer.size for tokenizer in self._tokenizers.values()) > MAX_CHUNKS:
            # spaCy's tables keep a little of every word they ever saw.
            load_blank.cache_clear()
            self._start_afresh()

    def get_tokenizer(self, language: str) -> MemoTokenizer:
        """Return the tokeniser of a language; English serves for languages that are not ours."""
        code = language if language in LANGUAGES else LANGUAGES[0]
        if code not in self._tokenizers:
            self._tokenizers[code] = MemoTokenizer(code, self.table)
        return self._tokenizers[code]


@cache
def get_memory() -> TokenMemory:
    """Return the memory of this process; it is never saved with a model."""
    return TokenMemory()


class Preprocessor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Texts or cases in, `TokenBatch` out: the first step of the pipeline.

    The language is the case's own, else it is detected.
    """

    def fit(self, X: Sequence[Case | str], y: Any = None) -> Self:
        """Do nothing: there is nothing to learn."""
        return self

    def transform(self, X: Sequence[Case | str]) -> TokenBatch:
        """Tokenise `n` texts or cases."""
        cases = resolve_languages([x if isinstance(x, Case) else Case(id="", text=x) for x in X])
        memory = get_memory()
        memory.make_room()
        languages = [case.lang or "" for case in cases]
        rows, offsets = tokenize_cases(cases, memory)
        return TokenBatch(rows, offsets, languages, number_groups(cases), memory.table)

    def __sklearn_is_fitted__(self) -> bool:
        return True


def locate_tokens(case: Case) -> NDArray[np.int64]:
    """Return start and end of every token of a case in its text, in characters, shape `(tokens, 2)`."""
    return get_memory().get_tokenizer(case.lang or "").locate_tokens(case.text)


def tokenize_cases(cases: Sequence[Case], memory: TokenMemory) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Tokenise language by language; return table rows, flat in the order of the cases, and offsets."""
    lengths = np.zeros(len(cases), dtype=np.int64)
    languages = np.array([case.lang for case in cases])
    parts: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
    for language in np.unique(languages):
        which = np.flatnonzero(languages == language)
        rows, lengths[which] = memory.get_tokenizer(str(language)).tokenize(cases[i].text for i in which.tolist())
        parts.append((which, rows))
    offsets = np.zeros(len(cases) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if len(parts) == 1:
        return parts[0][1], offsets
    flat = np.empty(offsets[-1], dtype=np.int32)
    for which, rows in parts:
        flat[expand_ranges(offsets[which], lengths[which])] = rows
    return flat, offsets


def number_groups(cases: Sequence[Case]) -> NDArray[np.int64]:
    """Number the groups of cases; a case without a group is one of its own."""
    numbers: dict[str, int] = {}
    keys = (f"g:{c.group}" if c.group else f"c:{i}" for i, c in enumerate(cases))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
