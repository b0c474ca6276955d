"""Which language a text is written in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LANGUAGES = ("en", "fr", "de", "lb")

# The opening of a text settles its language; reading more only costs time.
SAMPLE_CHARACTERS = 150

# Telling one language of many takes more of the text.
LONG_SAMPLE_CHARACTERS = 500

# So many texts are read side by side.
WINDOW = 1024


@cache
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def detect_languages(texts: Sequence[str]) -> list[str]:
    """Return for each text the code of the most likely language among `LANGUAGES` (py3langid, naive Bayes)."""
    return _detect(texts, SAMPLE_CHARACTERS, LANGUAGES)


def detect_any_languages(texts: Sequence[str]) -> list[str]:
    """Return for each text the code of the most likely of the 97 languages that py3langid knows."""
    return _detect(texts, LONG_SAMPLE_CHARACTERS, _load_identifier().labels if texts else ())


def _detect(texts: Sequence[str], size: int, languages: Sequence[str]) -> list[str]:
    """Return for each text the most likely of some languages by its first characters.

    The automaton and the naive Bayes of py3langid, for many texts at once: the library reads byte by byte in Python,
    which takes as long as a quarter of all that we do with a short case.
    """
    samples = [_encode_sample(text[:size]) for text in texts]
    windows = (samples[start : start + WINDOW] for start in range(0, len(samples), WINDOW))
    return [code for window in windows for code in _judge_samples(window, languages)]


def _judge_samples(samples: Sequence[bytes], languages: Sequence[str]) -> list[str]:
    import numpy as np
    from scipy.sparse import csr_matrix

    identifier = _load_identifier()
    columns = [column for column, code in enumerate(identifier.nb_classes) if code in languages]
    documents, features = _find_features(samples)
    distinct, features = np.unique(features, return_inverse=True)
    entries, counts = np.unique(documents * len(distinct) + features, return_counts=True)
    ends = np.searchsorted(entries, np.arange(len(samples) + 1) * len(distinct))
    found = csr_matrix((np.log1p(counts), entries % max(len(distinct), 1), ends), shape=(len(samples), len(distinct)))
    scores = found @ identifier.nb_ptc[distinct][:, columns].astype(np.float64) + identifier.nb_pc[columns]
    # Where nothing is known to the library, all languages are alike to it.
    scores[np.diff(ends) == 0] = 0.0
    return [identifier.nb_classes[columns[best]] for best in scores.argmax(axis=1).tolist()]


def _encode_sample(sample: str) -> bytes:
    """Return the opening of a text as the identifier was trained on it."""
    sample = sample.lower() if sample.isupper() else sample
    return unicodedata.normalize("NFC", sample).encode("utf-8", errors="surrogatepass")


def _find_features(samples: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the features that occur in samples, repeated as they are repeated, and before them whose they are."""
    import numpy as np

    moves, rows, outputs = _read_automaton()
    sizes = np.array([len(sample) for sample in samples])
    padded = np.array(samples, dtype=f"S{max(sizes.max(), 1)}").view(np.uint8).reshape(len(samples), -1)
    states = np.zeros(len(samples), dtype=np.int64)
    visited = np.empty(padded.T.shape, dtype=np.int64)
    for place, letters in enumerate(padded.T.astype(np.int64)):
        states = visited[place] = moves.take(rows.take(states) + letters)
    features = outputs.take(visited)
    places, documents = np.nonzero((features >= 0) & (np.arange(len(features))[:, None] < sizes))
    return documents, features[places, documents]


@cache
def _read_automaton() -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return the next state by row and byte, where the row of each state begins, and its feature or -1."""
    import numpy as np

    identifier = _load_identifier()
    moves = np.frombuffer(identifier.tk_nextmove, dtype=identifier.tk_nextmove.typecode)
    return moves, np.array(identifier.tk_row, np.int64) << 8, np.array(identifier.tk_output, np.int64)
