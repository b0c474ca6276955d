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

# So many texts are read side by side.
WINDOW = 1024

# Telling one language of many takes more of the text.
LONG_SAMPLE_CHARACTERS = 500


@cache
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def detect_language(text: str) -> str:
    """Return the code of the most likely language among `LANGUAGES` (py3langid, naive Bayes)."""
    return detect_languages([text])[0]


def detect_any_language(text: str) -> str:
    """Return the code of the most likely of the 97 languages that py3langid knows."""
    code: str = _load_identifier().classify(text[:LONG_SAMPLE_CHARACTERS])[0]
    return code


def detect_languages(texts: Sequence[str]) -> list[str]:
    """Return for each text the code of the most likely language among `LANGUAGES`.

    The automaton and the naive Bayes of py3langid, for all texts at once: the library reads byte by byte in
    Python, which takes as long as a quarter of all that we do with a short case.
    """
    windows = (texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW))
    return [code for window in windows for code in _detect_window(window)]


def _detect_window(texts: Sequence[str]) -> list[str]:
    import numpy as np

    codes, weights, bias = _restrict_languages()
    documents, features = _find_features([_encode_sample(text) for text in texts])
    entries, counts = np.unique(documents * len(weights) + features, return_counts=True)
    documents, features = np.divmod(entries, len(weights))
    added = np.log1p(counts)[:, None] * weights[features]
    scores = np.column_stack([np.bincount(documents, column, len(texts)) for column in added.T]) + bias
    # Where nothing is known to the library, all languages are alike to it.
    scores[np.bincount(documents, minlength=len(texts)) == 0] = 0.0
    return [codes[best] for best in scores.argmax(axis=1).tolist()]


def _encode_sample(text: str) -> bytes:
    """Return the opening of a text as the identifier was trained on it."""
    sample = text[:SAMPLE_CHARACTERS]
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


@cache
def _restrict_languages() -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Return the codes of `LANGUAGES`, what each feature adds to their log-odds, and what these begin at."""
    import numpy as np

    identifier = _load_identifier()
    columns = [column for column, code in enumerate(identifier.nb_classes) if code in LANGUAGES]
    weights = identifier.nb_ptc[:, columns].astype(np.float64)
    return [identifier.nb_classes[i] for i in columns], weights, identifier.nb_pc[columns].astype(np.float64)
