"""Which language a text is written in."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any

LANGUAGES = ("en", "fr", "de", "lb")

# The opening of a text settles its language; reading more only costs time.
SAMPLE_CHARACTERS = 150

# Telling one language of many takes more of the text.
LONG_SAMPLE_CHARACTERS = 500


@cache
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


@cache
def _restrict_identifier() -> Any:
    # A copy shares the tables of the whole, some 80 MB.
    identifier = copy(_load_identifier())
    identifier.set_languages(list(LANGUAGES))
    return identifier


def detect_language(text: str) -> str:
    """Return the code of the most likely language among `LANGUAGES` (py3langid, naive Bayes)."""
    code: str = _restrict_identifier().classify(text[:SAMPLE_CHARACTERS])[0]
    return code


def detect_any_language(text: str) -> str:
    """Return the code of the most likely of the 97 languages that py3langid knows."""
    code: str = _load_identifier().classify(text[:LONG_SAMPLE_CHARACTERS])[0]
    return code
