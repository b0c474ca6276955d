"""Results as text for a terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from tipnlp.cases import LABELS
from tipnlp.comparison import Change, Comparison
from tipnlp.confidence import Confidence
from tipnlp.evaluation import Evaluation
from tipnlp.manifest import Manifest
from tipnlp.prediction import Prediction
from tipnlp.promise import Promise
from tipnlp.seen import Leak
from tipnlp.statistics import WIDE_INTERVAL, Interval, Proportion
from tipnlp.tables import Rows, format_count, format_markdown, format_table
from tipnlp.tally import COLUMNS, YEAR, Tally, read_probabilities
from tipnlp.writing import escape_formula, flatten_record

# How many of a list are named.
SHOWN, SHOWN_PLACES = 10, 3


def format_evaluation(evaluation: Evaluation, title: str) -> str:
    """Return an evaluation as text: figures with n and interval, the matrix, the slices, plain words."""
    parts = [
        f"{title}: {evaluation.n} cases",
        f"\nmacro-F1 {evaluation.macro_f1:.3f} {evaluation.macro_f1_interval}"
        f"   (always the most frequent label: {evaluation.majority_macro_f1:.3f})",
        _format_scores(evaluation),
        "\nRows: what the cases are. Columns: what they were called.",
        _format_confusion(evaluation),
        "",
        *_describe_decisions(evaluation),
    ]
    if evaluation.confidence:
        parts += ["", *_describe_confidence(evaluation.confidence)]
    for column, slices in evaluation.slices.items():
        parts += ["", f"By {column}:", _format_slices(column, evaluation, slices)]
    parts.append("\nIn brackets: 95 % intervals (Wilson for shares, bootstrap by group for F1).")
    return "\n".join(parts)


def _format_scores(evaluation: Evaluation) -> str:
    rows = [["", "precision", "", "n", "recall", "", "n", "F1", ""]]
    for score in evaluation.scores:
        rows.append(
            [
                score.label,
                *_format_proportion(score.precision),
                *_format_proportion(score.recall),
                *_format_value(score.f1, score.f1_interval),
            ]
        )
    return format_table(rows)


def _format_proportion(share: Proportion) -> list[str]:
    return [*_format_value(share.value, share.interval), str(share.n)]


def _format_value(value: float | None, interval: Interval | None) -> list[str]:
    return ["-", ""] if value is None else [f"{value:.2f}", str(interval)]


def _format_confusion(evaluation: Evaluation) -> str:
    rows = [["", *LABELS]]
    rows += [[label, *map(str, cells)] for label, cells in zip(LABELS, evaluation.confusion, strict=True)]
    return format_table(rows)


def _describe_decisions(evaluation: Evaluation) -> list[str]:
    share = evaluation.decided
    review = evaluation.n - share.hits
    lines = [f"Decided {share.hits} of {share.n} cases, sent {review} to review."]
    return lines + [_describe_score(score.decided, score.label.replace("_", " ")) for score in evaluation.scores]


def _describe_score(share: Proportion, name: str) -> str:
    if share.value is None or share.interval is None:
        return f"No case was called {name}: nothing can be said of its precision."
    noun, verb = ("case", "was") if share.n == 1 else ("cases", "were")
    text = f"Of {share.n} {noun} called {name}, {share.hits} {verb} ({format_share(share)})."
    if share.is_vague:
        text += f" Too few to judge: the interval is wider than {round(100 * WIDE_INTERVAL)} points."
    return text


def format_share(share: Proportion) -> str:
    """Return a share in words: `93 %, 95 % interval 80-98 %`."""
    if share.value is None or share.interval is None:
        return "none"
    low, high = round(100 * share.interval.low), round(100 * share.interval.high)
    return f"{round(100 * share.value)} %, 95 % interval {low}-{high} %"


def _describe_confidence(confidence: Confidence) -> list[str]:
    covered = [["surest cases", "n", "from probability", "right", ""]]
    for point in confidence.points:
        share = f"{round(100 * (point.coverage.value or 0))} %"
        right = _format_value(point.precision.value, point.precision.interval)
        covered.append([share, str(point.precision.n), f"{point.threshold:.2f}", *right])
    bins = [["probability", "n", "mean", "right", ""]]
    for each in confidence.bins:
        right = _format_value(each.right.value, each.right.interval)
        bins.append([f"{each.low:.1f}-{each.high:.1f}", str(each.right.n), f"{each.probability:.2f}", *right])
    return [
        "If only the surest cases were decided:",
        format_table(covered),
        f"  area under the risk-coverage curve {confidence.risk_area:.3f} (0 is best)",
        "",
        "Probability of the likeliest label, and how often that label was right:",
        format_table(bins),
        f"  expected calibration error {confidence.calibration_error:.3f},"
        f" Brier score {confidence.brier:.3f} (0 is best)",
    ]


def format_leaks(leaks: Sequence[Leak], asked: int) -> str:
    """Return which test cases a model has seen in training, and what to do."""
    shown = [f"  {leak.case_id} ({'the same text' if leak.share == 1 else 'much the same'})" for leak in leaks[:SHOWN]]
    more = [f"  and {len(leaks) - SHOWN} more"] if len(leaks) > SHOWN else []
    head = f"{len(leaks)} of {asked} cases were seen in training, the figures would be too good:"
    way = "Take them out of the test set, or pass --allow-leak to evaluate all the same."
    return "\n".join([head, *shown, *more, way])


def format_promises(promises: Sequence[Promise], precision: float) -> str:
    """Return how each label's threshold was found, and what is missing where there is none."""
    lines = [f"Thresholds that keep a precision of {precision:.2f} with 95 % confidence, out of fold:"]
    for promise in promises:
        name, decided = promise.label.replace("_", " "), promise.decided
        if promise.threshold is not None:
            text = f"{name}: decided from probability {promise.threshold:.3f} on, {decided.n} of {promise.called} cases"
            lines.append(f"  {text}, {decided.hits} of them right.")
            continue
        text = f"{name}: always sent to review. The best threshold had {decided.hits} right of {decided.n}"
        if promise.needed is None:
            lines.append(f"  {text}: too few right, more cases of the same kind would not be enough.")
        else:
            lines.append(f"  {text}: about {promise.needed - decided.n} more cases like these would do.")
    return "\n".join(lines)


def _format_slices(column: str, whole: Evaluation, slices: Mapping[str, Evaluation]) -> str:
    rows = [[column, "n", "macro-F1", "", "accuracy", "", ""]]
    for value, part in slices.items():
        rows.append(
            [
                value,
                str(part.n),
                *_format_value(part.macro_f1, part.macro_f1_interval),
                *_format_value(part.accuracy.value, part.accuracy.interval),
                _mark_difference(part.accuracy, whole.accuracy),
            ]
        )
    return format_table(rows) + "\n  * the interval of the accuracy leaves out that of all cases"


def _mark_difference(part: Proportion, whole: Proportion) -> str:
    if part.interval is None or whole.value is None:
        return ""
    return "" if part.interval.low <= whole.value <= part.interval.high else "*"


def list_tally(tallies: Sequence[Tally]) -> list[list[str]]:
    """Return the table of years and decisions as rows of cells, the header first."""
    rows = [[tallies[0].column if tallies else YEAR, *COLUMNS, "all", "share to review"]]
    for tally in tallies:
        share = "-" if tally.is_hidden or tally.review.value is None else f"{tally.review.value:.0%}"
        rows.append([tally.value, *tally.cells.values(), share])
    return rows


def list_estimates(tallies: Sequence[Tally]) -> list[list[str]]:
    """Return the estimated numbers as rows of cells, the header first; empty where there are none to show."""
    rows = []
    for tally in tallies:
        for label, expected in {} if tally.is_hidden else tally.expected.items():
            corrected = tally.corrected.get(label)
            cells = [f"{e.mean:.1f}", str(e)] if (e := corrected) else ["-", ""]
            counted = str(tally.counts[label])
            rows.append([f"{tally.value} {label}", counted, f"{expected.mean:.1f}", str(expected), *cells])
    return [["", "decided", "expected", "95 %", "corrected", "95 %"], *rows] if rows else []


def explain_estimates(source: str) -> list[str]:
    """Return what the estimated numbers mean; `source` says whose errors were corrected for."""
    errors = f"as {source}" if source else "as on labelled cases (not known here: give --errors)"
    return [
        "expected: how many there really are if the probabilities are right, cases sent to review among them.",
        f"corrected: how many there really are if the model errs {errors}.",
    ]


def format_tally(tallies: Sequence[Tally], source: str = "") -> str:
    """Return the table of years and labels, the estimates, and the sentence of each year."""
    return _join_tally(tallies, source, partial(format_table, indent=""))


def format_tally_markdown(tallies: Sequence[Tally], source: str = "") -> str:
    """Return the same in Markdown."""
    return _join_tally(tallies, source, format_markdown)


def _join_tally(tallies: Sequence[Tally], source: str, form: Callable[[Rows], str]) -> str:
    parts = [form(list_tally(tallies))]
    estimates = list_estimates(tallies)
    if estimates:
        parts += [form(estimates), "\n".join(explain_estimates(source))]
    return "\n\n".join([*parts, "\n".join(tally.sentence for tally in tallies)])


def format_tally_json(tallies: Sequence[Tally], source: str = "") -> str:
    """Return the rows as JSON."""
    rows = [{**tally.to_record(), "sentence": tally.sentence} for tally in tallies]
    return json.dumps({"errors_of": source or None, "rows": rows}, ensure_ascii=False, indent=2)


def format_tally_csv(tallies: Sequence[Tally], source: str = "") -> str:  # noqa: ARG001 - one signature for all forms
    """Return one line a year as CSV, estimates in columns of their own."""
    records = [flatten_record(flatten_record(tally.to_record())) for tally in tallies]
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: escape_formula(v) for k, v in record.items()} for record in records)
    return text.getvalue().rstrip("\n")


def format_cases(records: Iterable[Mapping[str, Any]]) -> str:
    """Return one line a prediction: id, decision, likeliest label and its probability, reason for review."""
    rows = [["case", "decision", "most likely", "probability", "why review"]]
    for record in records:
        label = str(record.get("label", "-"))
        known = read_probabilities(record)
        share = f"{known[LABELS.index(label)]:.2f}" if known and label in LABELS else "-"
        rows.append(
            [str(record.get("id")), str(record.get("decision", "-")), label, share, str(record.get("reason", ""))]
        )
    return format_table(rows, indent="")


def format_comparison(comparison: Comparison, first: str, second: str, *, every_change: bool = False) -> str:
    """Return two models side by side, the test, and the cases whose label changes."""
    rows = [["", first, second, "second - first", ""]]
    for each in comparison.differences:
        cells = ["-" if value is None else f"{value:.3f}" for value in (each.first, each.second)]
        gain = "-" if each.first is None or each.second is None else f"{each.second - each.first:+.3f}"
        mark = " *" if each.is_evident else ""
        rows.append([each.name, *cells, gain, "" if each.interval is None else f"{each.interval}{mark}"])
    lines = [
        f"{comparison.n} cases",
        format_table(rows),
        "  * the interval (95 %, paired bootstrap by group) leaves out zero",
        f"\nOnly {first} is right in {format_count(comparison.only_first, 'case')},"
        f" only {second} in {comparison.only_second}: McNemar's exact test p = {comparison.p_value:.3g}.",
        _conclude(comparison, first, second),
    ]
    shown = comparison.changes if every_change else comparison.changes[:SHOWN]
    if shown:
        changes = [["case", "label", first, second, ""]]
        changes += [[c.case_id, c.gold, c.first, c.second, _judge_change(c)] for c in shown]
        more = len(comparison.changes) - len(shown)
        title = f"\n{format_count(len(comparison.changes), 'case')} with another label:"
        lines += [title, format_table(changes), *([f"  and {more} more (--all)"] if more else [])]
    return "\n".join(lines)


def _conclude(comparison: Comparison, first: str, second: str) -> str:
    if not comparison.is_evident:
        return "No evidence of a difference."
    return f"{second if comparison.only_second > comparison.only_first else first} is right more often."


def _judge_change(change: Change) -> str:
    if change.second == change.gold:
        return "mended"
    return "broken" if change.first == change.gold else ""


def format_explanation(prediction: Prediction, terms: int) -> str:
    """Return why a case got its label: terms for and against, the concepts found, what does not fit together."""
    found = prediction.explanation
    if found is None:
        raise ValueError("the prediction was not explained")
    text = prediction.case.text
    decided = prediction.decision if prediction.decision == found.label else f"review: {prediction.reason}"
    lines = [f"{prediction.case.id}: {found.label} {prediction.probabilities[found.label]:.2f}, {decided}"]
    rows = [["", "log-odds", "places"]]
    for name, contributions in (("for", found.supporting), ("against", found.opposing)):
        for each in contributions[:terms]:
            places = " ".join(f"{start}-{end}" for start, end in each.spans[:SHOWN_PLACES])
            rows.append([f"{name:8}{each.term} ({each.kind})", f"{each.value:+.2f}", places])
    sums = {
        "all other terms": found.sum_others(terms),
        "every text": found.intercept,
        "log-odds of the label": found.log_odds,
    }
    rows += [[f"{'':8}{name}", f"{value:+.2f}", ""] for name, value in sums.items()]
    lines.append(format_table(rows))
    for group, concepts in found.elements.items():
        passages = (f"{'not: ' if c.negated else ''}{c.name} ({text[slice(*c.span)]})" for c in concepts)
        lines.append(f"  {group}: {'; '.join(dict.fromkeys(passages))}")
    return "\n".join(lines + ([f"  note: {found.note}"] if found.note else []))


def format_manifest(manifest: Manifest) -> str:
    """Return what a model is, trained on what, how good."""
    corpus, metrics = manifest.corpus, manifest.metrics
    rows = [["language", *LABELS]]
    rows += [[lang, *(str(counts[x]) for x in LABELS)] for lang, counts in corpus["by_language"].items()]
    scores = [["", "precision", "recall", "F1"]]
    for label, figures in metrics["by_label"].items():
        scores.append([label, *(_format_figure(figures[name]) for name in ("precision", "recall", "f1"))])
    low, high = metrics["macro_f1"]["interval"]
    thresholds = ", ".join(f"{k} {'never' if v is None else f'{v:.2f}'}" for k, v in manifest.thresholds.items())
    return "\n".join(
        [
            f"model {manifest.id}, trained {manifest.date}, format {manifest.format}",
            f"\nTrained on {corpus['cases']} cases in {corpus['groups']} groups:",
            format_table(rows),
            f"\nOut of fold: macro-F1 {metrics['macro_f1']['value']:.3f} [{low:.2f}, {high:.2f}], n={metrics['n']}",
            format_table(scores),
            f"\nDecides from these probabilities on, below them it sends to review: {thresholds}",
            "Made with " + ", ".join(f"{name} {number}" for name, number in manifest.versions.items()),
        ]
    )


def _format_figure(figure: dict[str, object]) -> str:
    value = figure["value"]
    return "-" if value is None else f"{value:.2f}"
