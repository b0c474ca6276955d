"""What a model was trained on, as hashes: enough to find a test case again, too little to read it.

Of every training text a model keeps a hash of its words and a sketch: the smallest
`SKETCH` hashes of its five-word sequences. From two sketches follows how much the
texts share (bottom-k sketches, Broder 1997).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import Case
from tipnlp.hashing import Hashes
from tipnlp.overlap import hash_sequences, hash_word, split_words

SKETCH = 32

# So many texts are worked on at a time: every word begins a sequence.
WINDOW = 4096

# Two texts that share half of all their sequences are one text with changes.
NEAR = 0.5

# A text with fewer sequences than this has too small a sketch to tell chance from copy.
FEWEST_SEQUENCES = 8

# Stands in the unused places of the sketch of a short text.
NO_HASH = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True)
class SeenTexts:
    """Fingerprints of `n` texts.

    Attributes:
        words: a hash of all the words of each text, shape `(n,)`.
        sketches: the smallest hashes of its five-word sequences, sorted, shape `(n, SKETCH)`.
    """

    words: Hashes
    sketches: Hashes

    def save(self, path: Path) -> None:
        """Write the fingerprints, arrays of numbers only."""
        with path.open("wb") as stream:
            np.savez(stream, words=self.words, sketches=self.sketches)

    @classmethod
    def load(cls, path: Path) -> SeenTexts:
        """Read fingerprints; nothing in the file can run.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                words, sketches = arrays["words"], arrays["sketches"]
        except (BadZipFile, KeyError, TypeError) as error:
            raise ValueError(f"not fingerprints of texts ({type(error).__name__})") from None
        if not words.dtype == sketches.dtype == np.uint64 or words.ndim != 1 or sketches.shape != (len(words), SKETCH):
            raise ValueError("not fingerprints of texts")
        return cls(words, sketches)


@dataclass(frozen=True, slots=True)
class Leak:
    """A case that was seen in training, and how much of it: 1 is all."""

    case_id: str
    share: float


def fingerprint_texts(texts: Sequence[str]) -> SeenTexts:
    """Return the fingerprints of texts; case, punctuation and white space do not count."""
    parts = [_fingerprint_window(texts[start : start + WINDOW]) for start in range(0, len(texts), WINDOW)]
    none = _fingerprint_window([])
    return SeenTexts(
        np.concatenate([none.words, *(part.words for part in parts)]),
        np.concatenate([none.sketches, *(part.sketches for part in parts)]),
    )


def _fingerprint_window(texts: Sequence[str]) -> SeenTexts:
    split = [split_words(text) for text in texts]
    words = np.array([hash_word(" ".join(each)) for each in split], dtype=np.uint64)
    hashes, owners = hash_sequences(split)
    sketches = np.full((len(texts), SKETCH), NO_HASH, dtype=np.uint64)
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    starts = np.searchsorted(owners, np.arange(len(texts)))
    ranks = np.arange(len(owners)) - starts[owners]
    small = ranks < SKETCH
    sketches[owners[small], ranks[small]] = hashes[small]
    return SeenTexts(words, sketches)


def find_seen(seen: SeenTexts, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return for each text how much of it the nearest seen text shares: 1 for the same words, 0 for below `NEAR`.

    The share is of all five-word sequences that either text has (Jaccard), estimated.
    """
    asked = fingerprint_texts(texts)
    shares = np.isin(asked.words, seen.words).astype(np.float64)
    flat = seen.sketches.ravel()
    order = np.argsort(flat, kind="stable")
    ranked = flat[order]
    for i in np.flatnonzero(shares == 0).tolist():
        sketch = asked.sketches[i]
        sketch = sketch[sketch != NO_HASH]
        if len(sketch) < FEWEST_SEQUENCES:
            continue
        low, high = np.searchsorted(ranked, sketch, "left"), np.searchsorted(ranked, sketch, "right")
        owners = np.concatenate([order[a:b] for a, b in zip(low, high, strict=True)]) // SKETCH
        for owner in np.unique(owners).tolist():
            share = _estimate_share(sketch, seen.sketches[owner])
            if share >= NEAR:
                shares[i] = max(shares[i], share)
    return shares


def find_leaks(seen: SeenTexts, cases: Sequence[Case]) -> list[Leak]:
    """Return the cases that a model has seen, word for word or nearly so."""
    shares = find_seen(seen, [case.text for case in cases]).tolist()
    return [Leak(case.id, share) for case, share in zip(cases, shares, strict=True) if share]


def _estimate_share(first: Hashes, second: Hashes) -> float:
    second = second[second != NO_HASH]
    union = np.union1d(first, second)[:SKETCH]
    return float(np.isin(union, np.intersect1d(first, second)).mean())
