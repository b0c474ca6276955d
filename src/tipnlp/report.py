"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tipnlp.cases import LABELS
from tipnlp.confidence import Confidence
from tipnlp.decision import Promise
from tipnlp.evaluation import Evaluation
from tipnlp.model import Manifest
from tipnlp.seen import Leak
from tipnlp.statistics import WIDE_INTERVAL, Interval, Proportion
from tipnlp.tables import format_table
from tipnlp.tally import COLUMNS, YearTally

# How many of a list are named.
SHOWN = 10


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


def format_tally(tallies: Sequence[YearTally]) -> str:
    """Return the table of years and labels and the sentence of each year."""
    rows = [["year", *COLUMNS, "all"]]
    rows += [[t.year, *(str(t.counts[name]) for name in COLUMNS), str(t.total)] for t in tallies]
    return "\n".join([format_table(rows, indent=""), "", *(tally.sentence for tally in tallies)])


def format_cases(records: Iterable[Mapping[str, Any]]) -> str:
    """Return one line a prediction: id, decision, likeliest label and its probability, reason for review."""
    rows = [["case", "decision", "most likely", "probability", "why review"]]
    for record in records:
        label = str(record.get("label", "-"))
        probability = (record.get("probabilities") or {}).get(label)
        share = "-" if probability is None else f"{probability:.2f}"
        rows.append(
            [str(record.get("id")), str(record.get("decision", "-")), label, share, str(record.get("reason", ""))]
        )
    return format_table(rows, indent="")


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
