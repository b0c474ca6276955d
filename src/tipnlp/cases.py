"""A case: one investigation description with what is known about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tipnlp.language import LANGUAGES, detect_languages

LABELS = ("forced_labour", "sex_trafficking", "non_trafficking")
REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Case:
    """One case as read from a file.

    Attributes:
        id: the name of the case in its file.
        text: the description.
        label: one of `LABELS`, in labelled data only.
        lang: one of `en fr de lb`; detected when missing.
        date: ISO date or a year.
        country, genre, source: free text.
        group: cases about the same facts share it and never stand on both sides of a split.
        extra: every other column, kept as it was.
    """

    id: str
    text: str
    label: str | None = None
    lang: str | None = None
    date: str | None = None
    country: str | None = None
    group: str | None = None
    genre: str | None = None
    source: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def year(self) -> str | None:
        """The year of `date`, as four digits, where it has one."""
        head = (self.date or "")[:4]
        return head if len(head) == 4 and head.isdigit() else None

    @property
    def facts(self) -> str:
        """What stands for the facts of the case: its group, or itself where it has none."""
        return f"group:{self.group}" if self.group else f"case:{self.id}"

    @property
    def columns(self) -> dict[str, Any]:
        """Everything but the text, as it came in; columns without a value are left out."""
        known = ((name, getattr(self, name)) for name in COLUMNS)
        return {name: value for name, value in (*known, *self.extra.items()) if value is not None}

    def read_column(self, name: str) -> str:
        """Return any column as text; `year` is derived, a missing value is `-`."""
        value = self.year if name == "year" else self.columns.get(name)
        return "-" if value is None or value == "" else str(value)


OPTIONAL = tuple(f.name for f in fields(Case) if f.name not in ("id", "text", "extra"))
COLUMNS = ("id", *OPTIONAL)
NAMES = frozenset(COLUMNS)


def build_case(record: Mapping[str, Any], *, labelled: bool = False) -> Case:
    """Make a case of a record (a JSON object, a CSV row ...).

    Raises:
        ValueError: the record cannot be used; the message says why, without the text.
    """
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no text: every record needs a column 'text' with a description in it")
    known = {name: _read_text(name, value) for name, value in record.items() if name in NAMES}
    lang, label = known.get("lang"), known.get("label")
    if known.get("id") is None:
        raise ValueError("no id: every record needs a column 'id'")
    if lang is not None and lang not in LANGUAGES:
        raise ValueError(f"lang is {lang!r}, not one of {' '.join(LANGUAGES)}; leave it empty to detect it")
    if labelled and label is None:
        raise ValueError(f"no label: labelled data needs one of {' '.join(LABELS)}")
    if labelled and label not in LABELS:
        raise ValueError(f"label is {label!r}, not one of {' '.join(LABELS)}")
    extra = {name: value for name, value in record.items() if name not in NAMES and name != "text"}
    values = [text, *filter(None, known.values()), _encode_columns(extra) if extra else ""]
    if not all(map(is_unicode, values)):
        raise ValueError("the record holds halves of characters (lone surrogates), which no file can be written with")
    return Case(text=text, extra=extra, **known)  # type: ignore[arg-type]


def _read_text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, (list, dict)):
        raise ValueError(f"{name} is a {type(value).__name__}, not a text")
    return str(value).strip() or None


def resolve_languages(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with their languages filled in: detected where they have none."""
    unknown = [i for i, case in enumerate(cases) if not case.lang]
    resolved = list(cases)
    for i, code in zip(unknown, detect_languages([cases[i].text for i in unknown]), strict=True):
        resolved[i] = replace(cases[i], lang=code)
    return resolved


# How values are written to files: in their own characters, and what JSON does not know as text.
encode_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def _encode_columns(columns: Mapping[str, Any]) -> str:
    """Return columns with all that is within them as text."""
    try:
        return encode_json(columns)
    except RecursionError:
        raise ValueError("a column has too many levels") from None


def is_unicode(text: str) -> bool:
    """Return whether a text can be written to a file: it has no half of a character (lone surrogate)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_halves(text: str) -> str:
    """Return a text that can be written to any file: halves of characters, as in names of files, become `\\udce9`."""
    return text.encode(errors="backslashreplace").decode()
