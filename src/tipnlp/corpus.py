"""Checks of labelled cases: faults that make a model or its figures wrong, and what to know about the rest.

Of severity `error`: records that cannot be used, ids used twice, texts that stand twice, texts of different
groups that share passages, cases that are in the test set too, private data, a language that is not the
text's. Of severity `note`: what the corpus is one-sided in. No message holds a passage of a case; a
give-away word is named, because it stands in many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tipnlp.balance import (
    find_giveaway_words,
    find_owned_genres,
    find_uneven_labels,
    find_uneven_lengths,
    profile_cases,
)
from tipnlp.cases import LABELS, Case
from tipnlp.errors import CorpusError, RecordError
from tipnlp.language import detect_languages
from tipnlp.overlap import Overlap, find_overlaps, split_words
from tipnlp.privacy import find_private
from tipnlp.reading import DEFAULT_ENCODING, LocatedCase, read_located_cases
from tipnlp.tables import format_count

ERROR, NOTE = "error", "note"

# In a text of fewer words the language is a guess; from the second number on it is a finding.
FEWEST_WORDS_TO_DETECT, FEWEST_WORDS_TO_BE_SURE = 12, 40

LISTED_FAULTS = 20


class Kind(StrEnum):
    """What a finding is about, in the order in which findings are listed."""

    SCHEMA = "schema"
    DUPLICATE_ID = "duplicate id"
    CONTRADICTION = "contradiction"
    DUPLICATE_TEXT = "duplicate text"
    LEAK = "leak"
    NEAR_DUPLICATE = "near duplicate"
    PRIVATE_DATA = "private data"
    LANGUAGE = "language"
    IMBALANCE = "imbalance"
    LENGTH = "length"
    GENRE = "genre"
    GIVEAWAY_WORD = "give-away word"


# With one of these, the figures of a training would be wrong.
FATAL = (Kind.SCHEMA, Kind.DUPLICATE_ID, Kind.CONTRADICTION)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about a corpus; without a file it is about the whole."""

    kind: Kind
    message: str
    severity: str = ERROR
    file: str = ""
    line: int = 0
    case_id: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        name = f" (case {self.case_id})" if self.case_id else ""
        return f"{place}{self.kind}: {self.message}{name}"

    @classmethod
    def from_reject(cls, reject: RecordError) -> Finding:
        """Build the finding for a record that cannot be used."""
        return cls(Kind.SCHEMA, reject.reason, ERROR, reject.file, reject.line, reject.case_id)


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """The cases of a corpus and what was found in its files."""

    cases: list[Case]
    findings: list[Finding]

    def count(self, severity: str) -> int:
        """Return how many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def summary(self) -> str:
        """How many cases were checked, and how many findings of each kind there are."""
        counts = Counter((finding.severity, finding.kind) for finding in self.findings)
        parts = [format_count(len(self.cases), "case")]
        for severity in (ERROR, NOTE):
            kinds = ", ".join(f"{count} {kind}" for (level, kind), count in counts.items() if level == severity)
            parts.append(format_count(self.count(severity), severity) + (f" ({kinds})" if kinds else ""))
        return "; ".join(parts)


def check_files(
    inputs: Sequence[str | Path], against: Sequence[str | Path] = (), encoding: str = DEFAULT_ENCODING
) -> CheckedFiles:
    """Read labelled cases, and check them and the records that are none.

    Args:
        inputs: the corpus, as for `read_cases`.
        against: cases that the corpus must not hold, for example the test set; their labels are not looked at.
        encoding: of the text formats.

    Raises:
        InputError: a file is missing, or of an unknown kind, or cannot be decoded.
    """
    rejects: list[RecordError] = []
    entries = list(read_located_cases(inputs, labelled=True, encoding=encoding, on_reject=rejects.append))
    tests = list(read_located_cases(against, encoding=encoding, on_reject=rejects.append))
    findings = [*map(Finding.from_reject, rejects), *check_corpus(entries, tests)]
    return CheckedFiles([entry.case for entry in entries], findings)


def check_corpus(entries: Sequence[LocatedCase], against: Sequence[LocatedCase] = ()) -> list[Finding]:
    """Return everything found in labelled cases: errors first, then by kind, then in the order of the cases."""
    # Of the corpus first, then of the test set.
    words = [split_words(entry.case.text) for entry in (*entries, *against)]
    # What is the same word for word is reported as that.
    overlaps = [overlap for overlap in find_overlaps(words) if words[overlap.first] != words[overlap.second]]
    findings = [
        *_find_missing_labels(entries),
        *_find_repeated_ids(entries),
        *_find_repeated_texts(entries, words),
        *_find_leaks(entries, against, words, overlaps),
        *_find_near_duplicates(entries, overlaps),
        *_find_private_data(entries),
        *_find_wrong_languages(entries, words),
        *_find_one_sidedness(entries),
    ]
    order = list(Kind)
    return sorted(findings, key=lambda finding: (finding.severity != ERROR, order.index(finding.kind)))


def refuse_faults(findings: Iterable[Finding]) -> None:
    """Raise `CorpusError` naming the findings that would make the figures of a training wrong."""
    faults = [f"\n  {finding}" for finding in findings if finding.kind in FATAL]
    if faults:
        more = f"\n  and {len(faults) - LISTED_FAULTS} more" if len(faults) > LISTED_FAULTS else ""
        raise CorpusError(f"cannot train on these cases:{''.join(faults[:LISTED_FAULTS])}{more}")


def is_labelled(case: Case) -> bool:
    """Say whether a case has one of the labels."""
    return case.label in LABELS


def pair_repeated_ids(cases: Iterable[Case]) -> Iterator[tuple[int, int]]:
    """Yield the places of every case whose id an earlier one has, and of the first that has it."""
    first: dict[str, int] = {}
    for place, case in enumerate(cases):
        if first.setdefault(case.id, place) != place:
            yield place, first[case.id]


def _report(entry: LocatedCase, kind: Kind, message: str, severity: str = ERROR) -> Finding:
    return Finding(kind, message, severity, entry.file, entry.line, entry.case.id)


def _point_at(entry: LocatedCase) -> str:
    return f"{entry.file}:{entry.line} (case {entry.case.id})"


def _find_missing_labels(entries: Sequence[LocatedCase]) -> Iterator[Finding]:
    for entry in entries:
        if not is_labelled(entry.case):
            yield _report(entry, Kind.SCHEMA, f"no label out of {' '.join(LABELS)}")


def _find_repeated_ids(entries: Sequence[LocatedCase]) -> Iterator[Finding]:
    for place, first in pair_repeated_ids(entry.case for entry in entries):
        where = f"{entries[first].file}:{entries[first].line}"
        yield _report(entries[place], Kind.DUPLICATE_ID, f"the id is that of {where} too")


def _find_repeated_texts(entries: Sequence[LocatedCase], words: Sequence[Sequence[str]]) -> Iterator[Finding]:
    firsts: dict[tuple[str, ...], LocatedCase] = {}
    for entry, text in zip(entries, words, strict=False):
        first = firsts.setdefault(tuple(text), entry)
        if first.case.label != entry.case.label:
            labels = f"labelled {first.case.label} there and {entry.case.label} here"
            yield _report(entry, Kind.CONTRADICTION, f"the same text as {_point_at(first)}, {labels}")
        elif first.case.facts != entry.case.facts:
            yield _report(entry, Kind.DUPLICATE_TEXT, f"the same text as {_point_at(first)}, of another group")


def _find_near_duplicates(entries: Sequence[LocatedCase], overlaps: Iterable[Overlap]) -> Iterator[Finding]:
    near: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for overlap in overlaps:
        first, second = overlap.first, overlap.second
        if second < len(entries) and entries[first].case.facts != entries[second].case.facts:
            near[second].append((overlap.share, first))
    for place, others in sorted(near.items()):
        yield _report(entries[place], Kind.NEAR_DUPLICATE, f"{_describe_nearest(others, entries)}, of another group")


def _find_leaks(
    entries: Sequence[LocatedCase],
    against: Sequence[LocatedCase],
    words: Sequence[Sequence[str]],
    overlaps: Iterable[Overlap],
) -> Iterator[Finding]:
    tests = {tuple(text): test for test, text in zip(against, words[len(entries) :], strict=True)}
    leaked: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for overlap in overlaps:
        if overlap.first < len(entries) <= overlap.second:
            leaked[overlap.first].append((overlap.share, overlap.second - len(entries)))
    for place, entry in enumerate(entries):
        test = tests.get(tuple(words[place]))
        if test:
            yield _report(entry, Kind.LEAK, f"the same text is in the test set: {_point_at(test)}")
        elif place in leaked:
            yield _report(entry, Kind.LEAK, f"{_describe_nearest(leaked[place], against)}, in the test set")


def _describe_nearest(others: Sequence[tuple[float, int]], entries: Sequence[LocatedCase]) -> str:
    share, nearest = max(others)
    more = f" and some of {len(others) - 1} more" if len(others) > 1 else ""
    return f"{share:.0%} of the five-word sequences of the shorter text are also in {_point_at(entries[nearest])}{more}"


def _find_private_data(entries: Sequence[LocatedCase]) -> Iterator[Finding]:
    for entry in entries:
        for offset, kind in find_private(entry.case.text):
            yield _report(entry, Kind.PRIVATE_DATA, f"what looks like a {kind}, from character {offset} of the text")


def _find_wrong_languages(entries: Sequence[LocatedCase], words: Sequence[Sequence[str]]) -> Iterator[Finding]:
    sizes = map(len, words)
    told = [(e, n) for e, n in zip(entries, sizes, strict=False) if e.case.lang and n >= FEWEST_WORDS_TO_DETECT]
    found = detect_languages([entry.case.text for entry, _ in told])
    for (entry, size), detected in zip(told, found, strict=True):
        if detected != entry.case.lang:
            severity = ERROR if size >= FEWEST_WORDS_TO_BE_SURE else NOTE
            yield _report(entry, Kind.LANGUAGE, f"lang is {entry.case.lang}, the text reads as {detected}", severity)


ONE_SIDEDNESS: tuple[tuple[Kind, Callable[..., Iterator[str]]], ...] = (
    (Kind.IMBALANCE, find_uneven_labels),
    (Kind.LENGTH, find_uneven_lengths),
    (Kind.GENRE, find_owned_genres),
    (Kind.GIVEAWAY_WORD, find_giveaway_words),
)


def _find_one_sidedness(entries: Sequence[LocatedCase]) -> Iterator[Finding]:
    profiles = profile_cases([entry.case for entry in entries if is_labelled(entry.case)])
    for kind, find in ONE_SIDEDNESS:
        for message in find(profiles):
            yield Finding(kind, message, NOTE)
