"""The tables of the data card: what cases there are, counted by what is known about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tipnlp.balance import BANDS, Profile, find_pairs, profile_cases
from tipnlp.cases import LABELS, Case
from tipnlp.tables import Table

INVENTED = "invented"
LISTED_TOPICS = 30

Described = Sequence[tuple[Case, Profile]]


def describe_corpus_tables(cases: Sequence[Case]) -> list[Table]:
    """Count labelled cases by language, genre, length, source, topic, group and contrast pair."""
    described = list(zip(cases, profile_cases(cases), strict=True))
    return [table for build in BUILDERS for table in build(described)]


def _count_languages(described: Described) -> list[Table]:
    return [_count_pairs("Cases by language and label", "language", LABELS, _key_by_label(described, _read_language))]


def _count_genres(described: Described) -> list[Table]:
    return [_count_pairs("Cases by genre and label", "genre", LABELS, _key_by_label(described, _read_genre))]


def _count_lengths(described: Described) -> list[Table]:
    tables = []
    for language in sorted({profile.language for _, profile in described}):
        pairs = [(p.band, p.label) for _, p in described if p.language == language]
        tables.append(_count_pairs(f"Cases by length and label: {language}", "words", LABELS, pairs, order=BANDS))
    return tables


def _count_sources(described: Described) -> list[Table]:
    columns = (INVENTED, "retold", "not named")
    pairs = [(profile.language, _name_origin(case)) for case, profile in described]
    return [_count_pairs("Cases by language and source", "language", columns, pairs)]


def _name_origin(case: Case) -> str:
    if case.source is None:
        return "not named"
    return INVENTED if case.source == INVENTED else "retold"


def _count_topics(described: Described) -> list[Table]:
    pairs = _key_by_label(described, lambda case, _: case.read_column("topic"))
    frequent = [topic for topic, _ in Counter(topic for topic, _ in pairs).most_common()]
    shown = frequent[:LISTED_TOPICS]
    title = f"Cases by topic and label: the {len(shown)} most frequent of {len(frequent)} topics"
    kept = [pair for pair in pairs if pair[0] in set(shown)]
    return [_count_pairs(title, "topic", LABELS, kept, order=shown)]


def _count_groups(described: Described) -> list[Table]:
    """Count the facts told, not the cases: a group counts once in its language."""
    paired = find_pairs(case for case, _ in described)
    sizes = Counter((profile.language, case.facts) for case, profile in described)
    columns = ("one case", "several cases", "several labels")
    pairs = []
    for (language, facts), size in sizes.items():
        pairs.append((language, columns[2] if facts in paired else columns[min(size, 2) - 1]))
    return [_count_pairs("Groups by language and what is in them", "language", columns, pairs)]


def _count_contrasts(described: Described) -> list[Table]:
    paired = find_pairs(case for case, _ in described)
    pairs = [(profile.language, profile.label) for case, profile in described if case.facts in paired]
    return [_count_pairs("Cases in contrast pairs by language and label", "language", LABELS, pairs)]


BUILDERS: tuple[Callable[[Described], list[Table]], ...] = (
    _count_languages,
    _count_genres,
    _count_lengths,
    _count_sources,
    _count_topics,
    _count_groups,
    _count_contrasts,
)


def _read_language(case: Case, profile: Profile) -> str:  # noqa: ARG001 - one signature for all keys
    return profile.language


def _read_genre(case: Case, profile: Profile) -> str:  # noqa: ARG001
    return profile.genre


def _key_by_label(described: Described, read_key: Callable[[Case, Profile], str]) -> list[tuple[str, str]]:
    return [(read_key(case, profile), profile.label) for case, profile in described]


def _count_pairs(
    title: str,
    heading: str,
    columns: Sequence[str],
    pairs: Iterable[tuple[str, str]],
    order: Sequence[str] = (),
) -> Table:
    """Build a table of pairs of row and column, with sums; rows in the given order, or sorted."""
    counts = Counter(pairs)
    keys = {key for key, _ in counts}
    rows = [[heading, *columns, "all"]]
    for key in [key for key in order if key in keys] or sorted(keys):
        cells = [counts[key, column] for column in columns]
        rows.append([key, *map(str, cells), str(sum(cells))])
    sums = [sum(counts[key, column] for key in keys) for column in columns]
    rows.append(["all", *map(str, sums), str(sum(sums))])
    return Table(title, rows)
