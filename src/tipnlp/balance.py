"""How evenly labelled cases are spread, and what gives a label away without any facts."""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from tipnlp.cases import LABELS, Case, resolve_languages
from tipnlp.overlap import split_words

# Below and above these parts of its even share a label is called rare or frequent.
EVEN_LOW, EVEN_HIGH = 0.75, 1.33

# Of fewer cases nothing is said about genres and lengths.
FEWEST_IN_GENRE, FEWEST_IN_BAND = 15, 50

# A word or genre belongs to a label when this share of its cases has the label. Half a case is added
# to both sides, so that few cases have to be clearer than many.
OWNED = 0.92
SMOOTHING = 0.5

FEWEST_WITH_WORD = 25
LISTED_WORDS = 10

# Upper limits of the length bands, in words.
LENGTHS = (30, 80, 180, 500)
BANDS = (f"under {LENGTHS[0]}", *(f"{low}-{high - 1}" for low, high in pairwise(LENGTHS)), f"from {LENGTHS[-1]}")

LabelCounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """What balance looks at in one case."""

    label: str
    language: str
    genre: str
    band: str
    words: frozenset[str]
    paired: bool


def profile_cases(cases: Sequence[Case]) -> list[Profile]:
    """Describe cases for the functions below; their languages are detected where they have none."""
    paired = find_pairs(cases)
    profiles = []
    for case in resolve_languages(cases):
        words = split_words(case.text)
        profiles.append(
            Profile(
                label=case.label or "-",
                language=case.lang or "-",
                genre=case.genre or "-",
                band=BANDS[bisect(LENGTHS, len(words))],
                words=frozenset(words),
                paired=case.facts in paired,
            )
        )
    return profiles


def find_pairs(cases: Iterable[Case]) -> set[str]:
    """Return the facts that are told under more than one label: the contrast pairs."""
    labels: dict[str, set[str | None]] = defaultdict(set)
    for case in cases:
        labels[case.facts].add(case.label)
    return {facts for facts, found in labels.items() if len(found) > 1}


def find_uneven_labels(profiles: Iterable[Profile]) -> Iterator[str]:
    """Say which labels are rare or frequent in a language."""
    for language, counts in _count_labels((p.language, p.label) for p in profiles):
        yield from _describe_uneven(language, counts)


def find_uneven_lengths(profiles: Iterable[Profile]) -> Iterator[str]:
    """Say which labels are rare or frequent among the texts of one length in a language."""
    keys = ((f"{p.language}, {p.band} words", p.label) for p in profiles)
    for band, counts in _count_labels(keys):
        if sum(counts.values()) >= FEWEST_IN_BAND:
            yield from _describe_uneven(band, counts)


def _describe_uneven(where: str, counts: LabelCounts) -> Iterator[str]:
    total = sum(counts.values())
    for label in LABELS:
        share = counts.get(label, 0) * len(LABELS) / total
        if not EVEN_LOW <= share <= EVEN_HIGH:
            yield f"{where}: {counts.get(label, 0)} of {total} cases are {label}, {share:.2f} of an even share"


def find_owned_genres(profiles: Iterable[Profile]) -> Iterator[str]:
    """Say which genres of a language belong to one label."""
    for genre, counts in _count_labels((f"{p.language}, {p.genre}", p.label) for p in profiles):
        label, hits, total = _find_commonest(counts)
        if total >= FEWEST_IN_GENRE and _is_owned(hits, total):
            yield f"{genre}: {hits} of {total} cases are {label}"


def find_giveaway_words(profiles: Iterable[Profile]) -> Iterator[str]:
    """Say which words of a language belong to one label, clearest first.

    Contrast pairs are left out. A word that is named stands in at least `FEWEST_WITH_WORD` cases,
    so it is no one's in particular.
    """
    counted = (
        (f"{p.language} {word}", p.label) for p in profiles if not p.paired for word in p.words if word.isalpha()
    )
    found: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for key, counts in _count_labels(counted):
        label, hits, total = _find_commonest(counts)
        if total >= FEWEST_WITH_WORD and _is_owned(hits, total):
            language, word = key.split(" ")
            found[language, label].append((-_measure_odds(hits, total), f"{word} {hits}/{total}"))
    for (language, label), words in sorted(found.items()):
        more = f" and {len(words) - LISTED_WORDS} more" if len(words) > LISTED_WORDS else ""
        yield f"{language}, {label}: {', '.join(word for _, word in sorted(words)[:LISTED_WORDS])}{more}"


def _count_labels(keys: Iterable[tuple[str, str]]) -> list[tuple[str, LabelCounts]]:
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for (key, label), count in Counter(keys).items():
        counts[key][label] = count
    return sorted(counts.items())


def _find_commonest(counts: LabelCounts) -> tuple[str, int, int]:
    label = max(counts, key=lambda name: (counts[name], name))
    return label, counts[label], sum(counts.values())


def _is_owned(hits: int, total: int) -> bool:
    return _measure_odds(hits, total) >= log(OWNED / (1 - OWNED))


def _measure_odds(hits: int, total: int) -> float:
    return log((hits + SMOOTHING) / (total - hits + SMOOTHING))
