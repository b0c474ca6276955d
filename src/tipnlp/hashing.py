"""64-bit hashes in numpy: mixing ids, hashing parts of words, looking hashes up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Constants of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)

Hashes = NDArray[np.uint64]


def mix(values: Hashes) -> Hashes:
    """Scramble 64-bit values (the finaliser of splitmix64); a bijection."""
    values = (values ^ (values >> np.uint64(30))) * MIX_1
    values = (values ^ (values >> np.uint64(27))) * MIX_2
    return values ^ (values >> np.uint64(31))


def combine(*parts: Hashes | np.uint64) -> Hashes:
    """Hash sequences of 64-bit values, element by element; the order of the parts counts."""
    total = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            total = mix((total * GOLDEN) ^ np.asarray(part, dtype=np.uint64)) + GOLDEN
    return total


def hash_substrings(words: Sequence[str], shortest: int, longest: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash every substring of `shortest` to `longest` characters of each word, edges marked.

    A word is read as `<word>`, so that `<for` and `for` differ; equal substrings of different
    words hash alike.

    Returns:
        The hashes of all words one after another (by word, then by place, then by length),
        and the number for each word.
    """
    codes = np.frombuffer("".join(f"<{word}>" for word in words).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    sizes = np.fromiter(map(len, words), dtype=np.int64, count=len(words)) + 2
    ends = np.repeat(np.cumsum(sizes), sizes)
    room = ends - np.arange(len(codes))
    hashes = np.empty((len(codes), longest - shortest + 1), dtype=np.uint64)
    valid = np.empty(hashes.shape, dtype=np.bool_)
    rolling = np.zeros(len(codes), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for length in range(1, longest + 1):
            rolling = rolling * GOLDEN
            reached = max(len(codes) - length + 1, 0)
            rolling[:reached] += mix(codes[len(codes) - reached :] + np.uint64(1))
            if length >= shortest:
                hashes[:, length - shortest] = mix(rolling ^ np.uint64(length))
                valid[:, length - shortest] = room >= length
    counts = np.add.reduceat(valid.sum(axis=1), np.cumsum(sizes) - sizes) if len(words) else np.zeros(0, np.int64)
    return hashes[valid], counts.astype(np.int64)


class HashIndex:
    """Finds 64-bit hashes in an array of them, several times faster than by bisection.

    The leading bits of a hash, which are as good as random, name a bucket of the sorted array
    that holds one or two hashes, rarely more.
    """

    def __init__(self, kept: Hashes) -> None:
        self._order = np.argsort(kept).astype(np.int32)
        self._sorted = kept[self._order]
        bits = max(1, len(kept).bit_length() + 1)
        self._shift = np.uint64(64 - bits)
        buckets = np.arange(2**bits + 1, dtype=np.uint64)
        self._starts = np.searchsorted(self._sorted >> self._shift, buckets).astype(np.int32)

    def find(self, wanted: Hashes) -> NDArray[np.int32]:
        """Return the place of each wanted hash in the array, or -1."""
        bucket = (wanted >> self._shift).astype(np.int64)
        places, ends = self._starts[bucket], self._starts[bucket + 1]
        found = np.full(len(wanted), -1, dtype=np.int32)
        open_ = np.flatnonzero(places < ends)
        while len(open_):
            at = places[open_]
            hit = self._sorted[at] == wanted[open_]
            found[open_[hit]] = self._order[at[hit]]
            places[open_] += 1
            open_ = open_[~hit & (at + 1 < ends[open_])]
        return found
