"""The corpus commands on small files: each kind of finding, and what comes close to it but is none."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CORPUS, Run, write_jsonl
from tipnlp.cases import LABELS, Case
from tipnlp.corpus import Finding, Kind, check_corpus, check_files
from tipnlp.overlap import SHARE, SHORTEST, find_overlaps
from tipnlp.privacy import find_private
from tipnlp.reading import LocatedCase

F, S, N = LABELS

ENGLISH = (
    "The inspectors came to the farm in the morning and spoke with every worker alone. Nobody had been paid since the "
    "spring, and the owner kept the papers of all of them in a locked drawer. Those who asked for money were told that "
    "the police would send them home, and so they stayed until the end of the harvest."
)
GERMAN = (
    "Die Beamten kamen am Morgen auf den Hof und sprachen mit jedem Arbeiter allein. Seit dem Frühjahr war niemand "
    "bezahlt worden, und der Besitzer hielt die Papiere aller Arbeiter in einer verschlossenen Schublade. Wer nach "
    "Geld fragte, dem wurde gesagt, dass die Polizei ihn nach Hause schicken würde, und so blieben sie bis zuletzt."
)


def make_text(seed: int, words: int = 60) -> str:
    """Nonsense that shares nothing with the nonsense of another seed."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(words))


def make_case(number: int, **columns: Any) -> dict[str, Any]:
    record = {"id": f"c{number}", "text": make_text(number), "label": LABELS[number % 3], **columns}
    return {name: value for name, value in record.items() if value is not None}


def check(*records: dict[str, Any]) -> list[Finding]:
    return check_files([write_jsonl(Path("in.jsonl"), records)]).findings


def list_errors(*records: dict[str, Any]) -> list[str]:
    return [str(finding) for finding in check(*records) if finding.severity == "error"]


def list_notes(kind: Kind, *records: dict[str, Any]) -> list[str]:
    return [finding.message for finding in check(*records) if finding.kind == kind]


def test_clean_corpus(run: Run) -> None:
    write_jsonl(Path("in.jsonl"), [make_case(i) for i in range(3)])
    result = run("corpus", "check", "in.jsonl", "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "3 cases; 0 errors" in result.stderr


def test_findings_are_lines_with_file_line_kind_and_case_errors_first(run: Run) -> None:
    records = [make_case(0), make_case(1), make_case(0, label=S), make_case(1, id="c9")]
    path = write_jsonl(Path("in.jsonl"), records)
    path.write_text(path.read_text(encoding="utf-8") + "[\n", encoding="utf-8")
    result = run("corpus", "check", "in.jsonl")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "in.jsonl:5: schema: not a JSON object at column 1",
        "in.jsonl:3: duplicate id: the id is that of in.jsonl:1 too (case c0)",
        f"in.jsonl:3: contradiction: the same text as in.jsonl:1 (case c0), labelled {F} there and {S} here (case c0)",
        "in.jsonl:4: duplicate text: the same text as in.jsonl:2 (case c1), of another group (case c9)",
    ]
    assert len(lines) > 4
    assert all(line.startswith("imbalance: ") for line in lines[4:])
    assert "4 cases; 4 errors (1 schema, 1 duplicate id, 1 contradiction, 1 duplicate text); " in result.stderr
    assert run("corpus", "check", "in.jsonl", "--quiet").stdout.splitlines() == lines[:4]


def test_notes_alone_are_no_failure(run: Run) -> None:
    write_jsonl(Path("in.jsonl"), [make_case(i, label=F) for i in range(4)])
    result = run("corpus", "check", "in.jsonl")
    assert result.exit_code == 0
    assert "imbalance" in result.stdout


def test_no_text_of_a_case_comes_out(run: Run) -> None:
    secret = make_text(7).split()
    text = " ".join([*secret, "her.name@example.org", "+352 621 987 654"])
    records = [
        make_case(0, text=text),
        make_case(1, text=text),
        make_case(2, text=f"{text} more"),
        make_case(0, text=text),
    ]
    write_jsonl(Path("in.jsonl"), [*records, {"id": "x", "text": text}, {"id": "y", "text": [text]}])
    result = run("corpus", "check", "in.jsonl", "--against", "in.jsonl")
    assert result.exit_code == 1
    shown = result.stdout + result.stderr
    for kind in (Kind.SCHEMA, Kind.DUPLICATE_ID, Kind.CONTRADICTION, Kind.LEAK, Kind.NEAR_DUPLICATE, Kind.PRIVATE_DATA):
        assert f": {kind}: " in shown
    for word in (*secret, "her.name", "987"):
        assert word not in shown


@pytest.mark.parametrize("label", [None, "maybe"])
def test_missing_and_unknown_labels(label: str | None) -> None:
    (error,) = list_errors(make_case(0), make_case(1, label=label))
    assert error.startswith("in.jsonl:2: schema: ")
    assert error.endswith("(case c1)")


def test_library_callers_get_missing_labels_too() -> None:
    (error,) = [f for f in check_corpus([LocatedCase("x", 4, Case(id="a", text="words"))]) if f.severity == "error"]
    assert (error.kind, error.file, error.line, error.case_id) == (Kind.SCHEMA, "x", 4, "a")


def test_same_words_in_another_dress_are_the_same_text() -> None:
    dressed = "  " + make_text(0).upper().replace(" ", " —\n") + "!"
    (error,) = list_errors(make_case(0), make_case(3, text=dressed))
    assert "duplicate text" in error


def test_same_text_within_a_group_is_allowed_but_not_with_two_labels() -> None:
    assert not list_errors(make_case(0, group="g"), make_case(3, text=make_text(0), group="g"))
    (error,) = list_errors(make_case(0, group="g"), make_case(1, text=make_text(0), group="g"))
    assert "contradiction" in error


def splice(text: str, other: str, words: int) -> str:
    """The text with some words of another in the middle."""
    return " ".join([*text.split()[:30], *other.split()[:words], *text.split()[30:]])


@pytest.mark.parametrize(("words", "found"), [(9, False), (10, True), (30, True)])
def test_near_duplicates_from_a_tenth_of_the_shorter_text_on(words: int, found: bool) -> None:
    """The shorter text has 56 sequences: 5 of them are less than a tenth, 6 are more."""
    errors = list_errors(make_case(0), make_case(1, text=splice(make_text(1), make_text(0), words)))
    assert len(errors) == found
    assert all(f"near duplicate: {(words - 4) / 56:.0%} of the five-word sequences" in error for error in errors)


def test_near_duplicates_of_one_group_or_too_short_to_judge_are_none() -> None:
    near = splice(make_text(1), make_text(0), 30)
    assert not list_errors(make_case(0, group="g"), make_case(1, text=near, group="g"))
    assert not list_errors(make_case(0, text=make_text(0, 20)), make_case(1, text=f"{make_text(0, 20)} more"))


def test_every_copy_of_a_template_is_found() -> None:
    records = [make_case(i, text=f"{make_text(0)} {make_text(i + 1, 9)}") for i in range(70)]
    assert sum("near duplicate" in error for error in list_errors(*records)) == 69


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_overlaps_are_those_of_a_slow_comparison(seed: int, alphabet: int) -> None:
    rng = random.Random(seed)
    words = [rng.choices("abcdefghi"[:alphabet], k=rng.randrange(80)) for _ in range(rng.randrange(7))]
    sequences = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in words]
    expected = {}
    for j, second in enumerate(sequences):
        for i, first in enumerate(sequences[:j]):
            smaller = min(len(first), len(second))
            if smaller >= SHORTEST and len(first & second) > SHARE * smaller:
                expected[i, j] = len(first & second) / smaller
    assert {(o.first, o.second): o.share for o in find_overlaps(words)} == expected


def test_leaks_are_named_with_the_test_case(run: Run) -> None:
    write_jsonl(Path("in.jsonl"), [make_case(i) for i in range(4)])
    near = splice(make_text(9), make_text(2), 30)
    write_jsonl(Path("test.jsonl"), [{"id": "t1", "text": make_text(1)}, {"id": "t2", "text": near}, make_case(8)])
    result = run("corpus", "check", "in.jsonl", "--against", "test.jsonl", "--quiet")
    assert result.exit_code == 1
    exact, close = result.stdout.splitlines()
    assert exact == "in.jsonl:2: leak: the same text is in the test set: test.jsonl:1 (case t1) (case c1)"
    assert close.startswith("in.jsonl:3: leak: 46% of the five-word sequences")
    assert "test.jsonl:2 (case t2), in the test set" in close
    write_jsonl(Path("test.jsonl"), [make_case(8), make_case(9), make_case(8)])
    assert run("corpus", "check", "in.jsonl", "--against", "test.jsonl", "--quiet").exit_code == 0


def test_several_test_sets(run: Run) -> None:
    write_jsonl(Path("in.jsonl"), [make_case(i) for i in range(3)])
    for number in (1, 2):
        write_jsonl(Path(f"{number}.jsonl"), [make_case(number)])
    result = run("corpus", "check", "in.jsonl", "--against", "1.jsonl", "--against", "2.jsonl", "--quiet")
    assert result.stdout.count(": leak: ") == 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to anna.b@mail.example.lu now", "e-mail address"),
        ("see https://example.test/x?y=1", "web address"),
        ("on www.example.test", "web address"),
        ("advertised on girls-here.lu since", "web address"),
        ("to LU28 0019 4006 4475 0000 every month", "IBAN"),
        ("to DE89370400440532013000", "IBAN"),
        ("to GB82 WEST 1234 5698 7654 32.", "IBAN"),
        ("+352 26 12 34 56", "phone number"),
        ("+33 (0)6 12 34 56 78", "phone number"),
        ("0049 30 1234567", "phone number"),
        ("06.12.34.56.78", "phone number"),
        ("0612345678", "phone number"),
        ("0221/1234567", "phone number"),
        ("0475/12.34.56", "phone number"),
        ("044 123 45 67", "phone number"),
        ("020 7946 0958", "phone number"),
        ("07700 900123", "phone number"),
        ("(212) 555-0147", "phone number"),
        ("212-555-0147", "phone number"),
        ("621 123 456", "phone number"),
        ("Tél. : 47 68 01", "phone number"),
        ("Handy Nr. 12 34 56", "phone number"),
        ("passport AB1234567", "long number"),
    ],
)
def test_private_data(text: str, kind: str) -> None:
    ((offset, found),) = find_private(f"Note: {text}")
    assert found == kind
    assert offset >= len("Note: ")
    (error,) = list_errors(make_case(0, text=f"Note: {text}"))
    assert error == f"in.jsonl:1: private data: what looks like a {kind}, from character {offset} of the text (case c0)"


@pytest.mark.parametrize(
    "text",
    [
        "12 000 euros, 2.500.000 Euro, 1,200,000 dollars",
        "+12 000 000 euros",
        "691 000 000 euros, € 691 000 000, phone 1 200 000 Euro",
        "in 2019 and 2020, 1998-2003",
        "on 05/03/2021, 12 people; 05.03.2021 14 people",
        "05.03.-12.04.2021, 05.03.21 - 12.04.21, 01.2020-03.2021, 12/03-15/03/2020",
        "AB12 3456 7890 1234",
        "to LU29 9019 4006 4475 0000",
        "500-1000 euros, 08.00 - 17.00, 123456",
        "Art. 382-1, 18 U.S.C. 1591, z.B. heute, e.g. this",
        "a mobile 2021",
    ],
)
def test_sums_years_and_references_are_not_private(text: str) -> None:
    assert list(find_private(f"Note: {text}.")) == []


def test_private_data_are_looked_for_in_the_text_only() -> None:
    assert not list_errors(make_case(0, source="https://example.test/1234567", file_number="0612345678"))


def test_wrong_language_is_an_error_in_a_long_text_and_a_note_in_a_short_one() -> None:
    (error,) = check_language(text=ENGLISH, lang="fr")
    assert (error.severity, error.message) == ("error", "lang is fr, the text reads as en")
    (note,) = check_language(text=" ".join(ENGLISH.split()[:20]), lang="fr")
    assert note.severity == "note"


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ENGLISH, "lang": "en"},
        {"text": GERMAN, "lang": "de"},
        {"text": ENGLISH},
        {"text": " ".join(ENGLISH.split()[:11]), "lang": "fr"},
    ],
)
def test_right_missing_and_undecidable_languages_are_no_finding(columns: dict[str, str]) -> None:
    assert check_language(**columns) == []


def check_language(**columns: str) -> list[Finding]:
    return [finding for finding in check(make_case(0, **columns)) if finding.kind == Kind.LANGUAGE]


def make_many(counts: dict[str, int], **columns: Any) -> list[dict[str, Any]]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    start = random.Random(str((counts, columns))).randrange(10**6) * 1000
    return [make_case(start + i, label=label, lang="en", **columns) for i, label in enumerate(labels)]


def test_imbalance_is_noted_by_language() -> None:
    even = make_many({F: 30, S: 30, N: 30})
    assert list_notes(Kind.IMBALANCE, *even, *make_many({F: 8, S: 8, N: 8})) == []
    assert list_notes(Kind.IMBALANCE, *make_many({F: 30, S: 38, N: 23})) == []
    assert list_notes(Kind.IMBALANCE, *make_many({F: 30, S: 30, N: 60})) == [
        f"en: 60 of 120 cases are {N}, 1.50 of an even share"
    ]
    french = [{**record, "lang": "fr"} for record in make_many({F: 3})]
    assert [note[:3] for note in list_notes(Kind.IMBALANCE, *even, *french)] == ["fr:"] * 3


def test_lengths_are_noted_where_there_are_enough_cases() -> None:
    long = make_many({F: 20, S: 20, N: 20})
    short = make_many({F: 40, S: 5, N: 5}, text=None)
    for number, record in enumerate(short):
        record["text"] = make_text(9000 + number, 12)
    assert list_notes(Kind.LENGTH, *long, *short) == [
        f"en, under 30 words: 40 of 50 cases are {F}, 2.40 of an even share",
        f"en, under 30 words: 5 of 50 cases are {S}, 0.30 of an even share",
        f"en, under 30 words: 5 of 50 cases are {N}, 0.30 of an even share",
    ]
    assert list_notes(Kind.LENGTH, *long, *short[:49]) == []


def test_genre_of_one_label_is_noted() -> None:
    assert list_notes(Kind.GENRE, *make_many({N: 20}, genre="notice")) == [f"en, notice: 20 of 20 cases are {N}"]
    assert list_notes(Kind.GENRE, *make_many({N: 17, F: 3}, genre="notice")) == []
    assert list_notes(Kind.GENRE, *make_many({N: 9}, genre="notice")) == []


@pytest.mark.parametrize(
    ("counts", "found"),
    [({F: 25}, True), ({F: 24, S: 1}, True), ({F: 23, S: 2}, False), ({F: 24}, False), ({F: 20, N: 10}, False)],
)
def test_words_of_one_label_are_noted(counts: dict[str, int], found: bool) -> None:
    records = make_many(counts)
    for record in records:
        record["text"] += " Brickyard 1987"
    notes = list_notes(Kind.GIVEAWAY_WORD, *records)
    assert notes == ([f"en, {F}: brickyard {counts[F]}/{sum(counts.values())}"] if found else [])


def test_words_of_contrast_pairs_do_not_count() -> None:
    records = make_many({F: 30})
    for number, record in enumerate(records):
        record.update(text=f"{record['text']} brickyard", group=f"g{number}")
    others = [make_case(5000 + i, label=N, group=f"g{i}", lang="en") for i in range(30)]
    assert list_notes(Kind.GIVEAWAY_WORD, *records)
    assert not list_notes(Kind.GIVEAWAY_WORD, *records, *others)


def test_encoding(run: Run) -> None:
    Path("in.csv").write_bytes(f"id;text;label\n1;Prügel;{F}\n".encode("cp1252"))
    assert run("corpus", "check", "in.csv", "--encoding", "cp1252").exit_code == 0
    result = run("corpus", "check", "in.csv")
    assert result.exit_code == 2
    assert "--encoding" in result.stderr
    assert "| all | 1 | 0 | 0 | 1 |" in run("corpus", "stats", "in.csv", "--encoding", "cp1252", "--markdown").stdout


@pytest.mark.parametrize("command", ["check", "stats"])
def test_missing_file(run: Run, command: str) -> None:
    result = run("corpus", command, "nowhere.jsonl")
    assert result.exit_code == 2
    assert "nowhere.jsonl: no such file" in result.stderr


def test_stats(run: Run) -> None:
    pair = [make_case(i, group="p", lang="lb", source="invented", genre="notice") for i in (0, 1)]
    alone = make_case(2, lang="de", source="https://example.test", topic="farm")
    unknown = make_case(3, lang="de", topic="farm", genre="a|b")
    write_jsonl(Path("in.jsonl"), [*pair, alone, unknown])
    shown = run("corpus", "stats", "in.jsonl")
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert shown.stdout.startswith("Cases by language and label\n")
    assert ["de", "1", "0", "1", "2"] in lines
    assert ["notice", "1", "1", "0", "2"] in lines
    assert ["30-79", "1", "1", "0", "2"] in lines
    assert ["farm", "1", "0", "1", "2"] in lines
    sources = shown.stdout.split("source\n")[1]
    assert [line.split() for line in sources.splitlines()[1:3]] == [
        ["de", "0", "1", "1", "2"],
        ["lb", "2", "0", "0", "2"],
    ]
    groups = shown.stdout.split("what is in them\n")[1]
    assert [line.split() for line in groups.splitlines()[1:3]] == [
        ["de", "2", "0", "0", "2"],
        ["lb", "0", "0", "1", "1"],
    ]
    assert shown.stdout.count("several labels") == 1
    marked = run("corpus", "stats", "in.jsonl", "--markdown").stdout
    assert (
        f"| language | {F} | {S} | {N} | all |\n| --- | ---: | ---: | ---: | ---: |\n| de | 1 | 0 | 1 | 2 |" in marked
    )
    assert "| a\\|b | 1 | 0 | 0 | 1 |" in marked


def test_stats_of_an_empty_file(run: Run) -> None:
    Path("in.jsonl").write_text("")
    assert run("corpus", "stats", "in.jsonl").exit_code == 0
    assert run("corpus", "check", "in.jsonl").exit_code == 0


def test_training_refuses_what_makes_its_figures_wrong(run: Run) -> None:
    records = [make_case(i) for i in range(9)]
    bad = [make_case(0), make_case(10, text=make_text(0)), {"id": "n", "text": "confidential"}]
    write_jsonl(Path("in.jsonl"), [*records, *bad])
    result = run("train", "in.jsonl", "-o", "m")
    assert result.exit_code == 2
    for kind, line in ((Kind.DUPLICATE_ID, 10), (Kind.CONTRADICTION, 11), (Kind.SCHEMA, 12)):
        assert f"in.jsonl:{line}: {kind}: " in result.stderr
    assert "confidential" not in result.stderr
    assert "training on" not in result.stderr
    assert not Path("m").exists()


def test_training_names_other_findings_in_one_line(run: Run) -> None:
    write_jsonl(Path("in.jsonl"), [*(make_case(i) for i in range(9)), make_case(12, text=make_text(0))])
    findings = check_files(["in.jsonl"]).findings
    assert Kind.DUPLICATE_TEXT in {finding.kind for finding in findings}
    result = run("train", "in.jsonl", "-o", "m")
    assert result.exit_code == 0
    noun = "finding" if len(findings) == 1 else "findings"
    said = f"corpus check: {len(findings)} {noun}; see 'tipnlp corpus check in.jsonl'"
    assert [line for line in result.stderr.splitlines() if "corpus check" in line] == [said]


def test_the_whole_corpus_is_checked_in_seconds() -> None:
    start = time.process_time()
    assert len(check_files([CORPUS]).cases) > 2000
    assert time.process_time() - start < 15
