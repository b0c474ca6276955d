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
    # In place: most of the time of a new array goes into its memory.
    values = values ^ (values >> np.uint64(30))
    values *= MIX_1
    values ^= values >> np.uint64(27)
    values *= MIX_2
    values ^= values >> np.uint64(31)
    return values


def combine(*parts: Hashes | np.uint64) -> Hashes:
    """Hash sequences of 64-bit values, element by element; the order of the parts counts."""
    total = np.zeros(1, dtype=np.uint64)
    for part in parts:
        total = chain(total, np.asarray(part, dtype=np.uint64))
    return total


def chain(total: Hashes, part: Hashes) -> Hashes:
    """Hash sequences that are one part longer than those of which `total` is the hash."""
    with np.errstate(over="ignore"):
        total = mix((total * GOLDEN) ^ part)
        total += GOLDEN
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

    The hashes stand in order in an array with gaps: the leading bits of a hash, which are as good as random,
    say where to look for it, and there it is, or a few places behind. A gap repeats the hash behind it.
    """

    def __init__(self, kept: Hashes) -> None:
        order = np.argsort(kept)
        ranks = np.arange(len(kept))
        bits = max(1, len(kept).bit_length() + 1)
        self._shift = np.uint64(64 - bits)
        # Each stands where its bits say, or right behind the one before it.
        places = np.maximum.accumulate((kept[order] >> self._shift).astype(np.int64) - ranks) + ranks
        size = max(2**bits, places[-1] + 1 if len(kept) else 0) + 1
        following = np.searchsorted(places, np.arange(size))
        # The last place, behind all hashes, ends every search.
        self._hashes = np.append(kept[order], np.uint64(2**64 - 1))[following]
        self._places = np.append(order, -1).astype(np.int32)[following]

    def find(self, wanted: Hashes) -> NDArray[np.int32]:
        """Return the place of each wanted hash in the array, or -1."""
        at = (wanted >> self._shift).astype(np.int64)
        seen = self._hashes.take(at)
        behind = np.flatnonzero(seen < wanted)
        while len(behind):
            at[behind] += 1
            seen[behind] = self._hashes.take(at.take(behind))
            behind = behind.take(np.flatnonzero(seen.take(behind) < wanted.take(behind)))
        found = np.full(len(wanted), -1, dtype=np.int32)
        hits = np.flatnonzero(seen == wanted)
        found[hits] = self._places.take(at.take(hits))
        return found
