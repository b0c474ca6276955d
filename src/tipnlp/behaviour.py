"""Behavioural checks of a model: what must not change a label, what must not raise a probability.

In the spirit of CheckList (Ribeiro et al. 2020). `checks/<language>.toml` holds invented texts:

``[fillers]``    for each of `KINDS` a table; its first row is the base, its first column names a row
``[templates]``  by label, texts with slots: ``{city.name}`` is the column `name` of a row of `city`;
                 a capital, ``{gender.Subject}``, begins a sentence; ``{nationality.{gender.form}}`` agrees
``[evidence]``   texts with one marked passage, ``[[...]]``, that speaks for trafficking

An invariance check fills one slot with every other row: the most likely label must stay. A direction check
takes the marked passage away: the probability of trafficking must not rise.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tipnlp.cases import LABELS, Case
from tipnlp.errors import LexiconError
from tipnlp.language import LANGUAGES
from tipnlp.statistics import Proportion
from tipnlp.tables import format_count, format_table

GENDER = "gender"
KINDS = ("nationality", GENDER, "city", "name", "currency")
EVIDENCE = "evidence"
CHECKS = (*KINDS, EVIDENCE)

# How much the probability of trafficking may rise when evidence is taken away: below this it is noise.
TOLERANCE = 0.02

# How many failures are named unless all are asked for.
SHOWN = 20

# A slot without another slot in it: nested ones are filled from the inside out.
SLOT = re.compile(r"\{(\w+)\.(\w+)\}")
MARKED = re.compile(r"\[\[(.+?)\]\]")

Row = Mapping[str, str]


class Predictor(Protocol):
    """What a check needs of a model; `tipnlp.model.Model` is one."""

    def predict_probabilities(self, cases: Sequence[Case | str]) -> NDArray[np.float64]:
        """Return probabilities, shape `(n, 3)`, columns in the order of `LABELS`."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with slots, and the label that it has whatever fills them."""

    id: str
    lang: str
    label: str
    text: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its slots, in the order of `KINDS`."""
        return tuple(kind for kind in KINDS if f"{{{kind}." in self.text)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A text with one marked passage that speaks for trafficking."""

    id: str
    lang: str
    text: str

    @property
    def passage(self) -> str:
        """The marked passage."""
        passage: str = MARKED.findall(self.text)[0]
        return passage

    @property
    def complete(self) -> str:
        """The text with the passage."""
        return MARKED.sub(r"\1", self.text)

    @property
    def reduced(self) -> str:
        """The text without the passage."""
        return " ".join(MARKED.sub("", self.text).split())


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The texts of one language and what fills them."""

    lang: str
    fillers: Mapping[str, tuple[Row, ...]]
    templates: tuple[Template, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Two texts to hold against each other.

    Attributes:
        check: one of `CHECKS`.
        lang: the language of both.
        item: the id of the template or of the text with evidence.
        change: what differs, for a person to read.
        before, after: the texts.
        label: what the text before is; None where nothing is said of it.
    """

    check: str
    lang: str
    item: str
    change: str
    before: str
    after: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model says of a probe: probabilities in the order of `LABELS`."""

    probe: Probe
    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def passed(self) -> bool:
        """Whether the model behaves as it must."""
        if self.probe.check == EVIDENCE:
            return sum_trafficking(self.after) <= sum_trafficking(self.before) + TOLERANCE
        return find_label(self.before) == find_label(self.after)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain data, with the texts: they are ours."""
        return {
            "check": self.probe.check,
            "lang": self.probe.lang,
            "item": self.probe.item,
            "change": self.probe.change,
            "before": _describe_side(self.probe.before, self.before),
            "after": _describe_side(self.probe.after, self.after),
        }

    def __str__(self) -> str:
        head = f"{self.probe.check} {self.probe.lang} {self.probe.item}: {self.probe.change}"
        if self.probe.check == EVIDENCE:
            return f"{head}: trafficking {sum_trafficking(self.before):.2f} -> {sum_trafficking(self.after):.2f}"
        before, after = find_label(self.before), find_label(self.after)
        return f"{head}: {before} {max(self.before):.2f} -> {after} {max(self.after):.2f}"


@dataclass(frozen=True, slots=True)
class BehaviourReport:
    """All outcomes of a model."""

    outcomes: tuple[Outcome, ...]

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that must not be."""
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    @property
    def right(self) -> Proportion:
        """How many templates, with base fillers of each gender, are called what they are: else a flip says little."""
        found = {
            (o.probe.lang, o.probe.before): find_label(o.before) == o.probe.label
            for o in self.outcomes
            if o.probe.label
        }
        return Proportion(sum(found.values()), len(found))

    def measure_check(self, check: str, lang: str | None = None) -> Proportion:
        """Return the share of passes of a check, in one language or in all."""
        chosen = [o.passed for o in self.outcomes if o.probe.check == check and lang in (None, o.probe.lang)]
        return Proportion(sum(chosen), len(chosen))

    def list_below(self, least: float) -> list[str]:
        """Return the checks whose share of passes in all languages is below `least`."""
        shares = {check: self.measure_check(check).value for check in CHECKS}
        return [check for check, share in shares.items() if share is not None and share < least]

    def to_dict(self) -> dict[str, Any]:
        """Return shares and failures as plain data."""
        checks = {}
        for check in CHECKS:
            by_language = {lang: self.measure_check(check, lang).to_dict() for lang in LANGUAGES}
            checks[check] = {"all": self.measure_check(check).to_dict(), "by_language": by_language}
        return {
            "base_labels": self.right.to_dict(),
            "checks": checks,
            "failures": [failure.to_dict() for failure in self.failures],
        }


def find_label(probabilities: Sequence[float]) -> str:
    """Return the most likely label."""
    return LABELS[int(np.argmax(probabilities))]


def sum_trafficking(probabilities: Sequence[float]) -> float:
    """Return the probability of either form of trafficking."""
    return sum(p for label, p in zip(LABELS, probabilities, strict=True) if label != "non_trafficking")


def _describe_side(text: str, probabilities: Sequence[float]) -> dict[str, Any]:
    rounded = {label: round(p, 4) for label, p in zip(LABELS, probabilities, strict=True)}
    return {"text": text, "label": find_label(probabilities), "probabilities": rounded}


@cache
def load_behaviour(lang: str) -> Behaviour:
    """Read the texts and fillers of a language.

    Raises:
        LexiconError: the file is faulty; the message names file and entry.
    """
    name = f"checks/{lang}.toml"
    try:
        table = tomllib.loads((files("tipnlp") / name).read_text(encoding="utf-8"))
        fillers = {kind: parse_rows(table["fillers"][kind]) for kind in KINDS}
    except (tomllib.TOMLDecodeError, KeyError, ValueError) as error:
        raise LexiconError(f"{name}: {error}") from None
    templates = tuple(
        Template(key, lang, label, text) for label in LABELS for key, text in table["templates"][label].items()
    )
    evidence = tuple(Evidence(key, lang, text) for key, text in table["evidence"].items())
    for entry in evidence:
        if len(MARKED.findall(entry.text)) != 1:
            raise LexiconError(f"{name}: evidence {entry.id}: one passage is marked, [[like this]]")
    return Behaviour(lang, fillers, templates, evidence)


def parse_rows(table: str) -> tuple[Row, ...]:
    """Parse a table of fillers: a line of column names, then one row a line, cells between bars.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    header, *lines = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    return tuple(dict(zip(header, line, strict=True)) for line in lines)


def fill_template(template: Template, rows: Mapping[str, Row]) -> str:
    """Return the text of a template with its slots filled from one row of each kind.

    Raises:
        LexiconError: a slot names a kind or a column that there is not.
    """

    def fill_slot(match: re.Match[str]) -> str:
        kind, column = match.groups()
        try:
            word = rows[kind][column.lower()]
        except KeyError:
            raise LexiconError(f"checks/{template.lang}.toml: {template.id}: no filler {match[0]}") from None
        return word[:1].upper() + word[1:] if column[0].isupper() else word

    text = template.text
    while SLOT.search(text):
        text = SLOT.sub(fill_slot, text)
    return text


def expand_behaviour(behaviour: Behaviour) -> Iterator[Probe]:
    """Yield the probes of a language: every template with every other row of each slot, every removal."""
    for template in behaviour.templates:
        yield from expand_template(template, behaviour.fillers)
    for entry in behaviour.evidence:
        change = f'without "{entry.passage}"'
        yield Probe(EVIDENCE, behaviour.lang, entry.id, change, entry.complete, entry.reduced)


def expand_template(template: Template, fillers: Mapping[str, tuple[Row, ...]]) -> Iterator[Probe]:
    """Yield the probes of a template; the slots are tried with each gender: one may hide what another shows."""
    base = {kind: rows[0] for kind, rows in fillers.items()}
    genders = fillers[GENDER] if GENDER in template.kinds else (base[GENDER],)
    for kind in template.kinds:
        for gender in genders[:1] if kind == GENDER else genders:
            chosen = {**base, GENDER: gender}
            before = fill_template(template, chosen)
            note = f" ({_name_row(gender)})" if kind != GENDER and len(genders) > 1 else ""
            for row in fillers[kind][1:]:
                change = f"{_name_row(base[kind])} -> {_name_row(row)}{note}"
                after = fill_template(template, {**chosen, kind: row})
                yield Probe(kind, template.lang, template.id, change, before, after, template.label)


def _name_row(row: Row) -> str:
    return next(iter(row.values()))


def check_behaviour(model: Predictor, probes: Sequence[Probe] | None = None) -> BehaviourReport:
    """Hold a model against the checks that come with the package, or against probes of your own."""
    if probes is None:
        probes = [probe for lang in LANGUAGES for probe in expand_behaviour(load_behaviour(lang))]
    # Many probes share their base: each text is predicted once, and all in one batch.
    texts = dict.fromkeys((probe.lang, text) for probe in probes for text in (probe.before, probe.after))
    cases = [Case(id=str(number), text=text, lang=lang) for number, (lang, text) in enumerate(texts)]
    rows = dict(zip(texts, map(tuple, model.predict_probabilities(cases).tolist()), strict=True))
    return BehaviourReport(tuple(Outcome(p, rows[p.lang, p.before], rows[p.lang, p.after]) for p in probes))


def format_behaviour(report: BehaviourReport, title: str, *, show_all: bool = False) -> str:
    """Return a report as text: shares of passes by check and language, then the failures."""
    rows = [["check", "language", "passed", "", "n"]]
    for check in CHECKS:
        for lang in (*LANGUAGES, None):
            share = report.measure_check(check, lang)
            if share.value is not None:
                rows.append([check, lang or "all", f"{share.value:.3f}", str(share.interval), str(share.n)])
    shown = report.failures if show_all else report.failures[:SHOWN]
    more = len(report.failures) - len(shown)
    lines = [f"\n{format_count(len(report.failures), 'failure')}:", *(f"  {failure}" for failure in shown)]
    return "\n".join(
        [
            f"{title}: {format_count(len(report.outcomes), 'check')}",
            format_table(rows),
            f"\nTemplates called what they are, with base fillers of each gender: {report.right}",
            "In brackets: 95 % intervals (Wilson). Checks of one template are alike: read them as too narrow.",
            *(lines if shown else []),
            *([f"  and {more} more: --all shows them"] if more else []),
        ]
    )
