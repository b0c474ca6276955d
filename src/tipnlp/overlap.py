"""Which texts share passages: an exact index over hashed five-word sequences."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tipnlp.hashing import Hashes, combine

SEQUENCE_WORDS = 5

# A text with fewer sequences than this shares a tenth of them by chance.
SHORTEST = 20
SHARE = 0.10

# Each text is compared with at most this many others for one sequence, the next ones in file order:
# a formula of the trade does not cost a square, and a copied template is still followed from copy to copy.
NEIGHBOURS = 50

WORD = re.compile(r"\w+")

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two texts, by their places, and the share of the smaller one's sequences that the other has too."""

    first: int
    second: int
    share: float


def split_words(text: str) -> list[str]:
    """Return the words of a text without case, punctuation and white space, accents composed."""
    return WORD.findall(unicodedata.normalize("NFC", text.casefold()))


def hash_word(word: str) -> int:
    """Return a 64-bit hash of a word or a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def find_overlaps(texts: Sequence[Sequence[str]]) -> list[Overlap]:
    """Return every two texts (as words) that share more than `SHARE` of the smaller one's sequences.

    The index is exact, because sketches (MinHash with locality-sensitive hashing) miss many shares
    as low as a tenth; in numpy it takes no longer than they do.
    """
    hashes, owners = hash_sequences(texts)
    sizes = np.bincount(owners, minlength=len(texts))
    first, second, common = _count_common(hashes, owners, len(texts))
    smaller = np.minimum(sizes[first], sizes[second])
    found = (smaller >= SHORTEST) & (common > SHARE * smaller)
    shares = common[found] / smaller[found]
    return [Overlap(*pair) for pair in zip(first[found].tolist(), second[found].tolist(), shares.tolist(), strict=True)]


def hash_sequences(texts: Sequence[Sequence[str]]) -> tuple[Hashes, Ids]:
    """Return the distinct sequences of each text, sorted by hash, and the text each is of."""
    numbers = {word: hash_word(word) for word in {word for words in texts for word in words}}
    flat = np.array([numbers[word] for words in texts for word in words], dtype=np.uint64)
    owners = np.repeat(np.arange(len(texts)), [len(words) for words in texts])
    count = max(len(flat) - SEQUENCE_WORDS + 1, 0)
    hashes = combine(*(flat[start : start + count] for start in range(SEQUENCE_WORDS)))
    inside = owners[:count] == owners[len(owners) - count :]
    hashes, owners = hashes[inside], owners[:count][inside]
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    fresh = np.ones(len(hashes), dtype=np.bool_)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[fresh], owners[fresh]


def _count_common(hashes: Hashes, owners: Ids, texts: int) -> tuple[Ids, Ids, Ids]:
    """Return which two texts have sequences in common, and how many."""
    pairs = [np.zeros(0, dtype=np.int64)]
    for distance in range(1, NEIGHBOURS + 1):
        equal = hashes[:-distance] == hashes[distance:]
        if not equal.any():
            break
        pairs.append(owners[:-distance][equal] * texts + owners[distance:][equal])
    codes, common = np.unique(np.concatenate(pairs), return_counts=True)
    return codes // max(texts, 1), codes % max(texts, 1), common
