"""The model card: what a model is, trained on what, how good, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USE = """\
It sorts free-text descriptions of investigations into three labels and shows how sure it is.
It is a tool for sorting and for showing evidence. It gives no verdict: a label says what a text
resembles, not what happened. Do not use it to decide about a person, to open or close a case,
or to publish a figure that nobody has checked.
"""


def write_card(manifest: Mapping[str, Any]) -> str:
    """Return the model card of a manifest, in Markdown."""
    metrics, corpus = manifest["metrics"], manifest["corpus"]
    lines = [
        f"# Model {manifest['id']}",
        "",
        USE,
        "## Trained on",
        "",
        f"{corpus['cases']} cases in {corpus['groups']} groups, on {manifest['date']}.",
        "",
        "| language | " + " | ".join(manifest["labels"]) + " |",
        "|---|" + "---|" * len(manifest["labels"]),
    ]
    for language, counts in corpus["by_language"].items():
        lines.append(f"| {language} | " + " | ".join(str(counts[label]) for label in manifest["labels"]) + " |")
    lines += [
        "",
        "## How good",
        "",
        "Out of fold: every case was judged by a model that had not seen its group. On texts of another",
        "origin it will be lower: evaluate it on labelled cases of your own (`tipnlp evaluate`).",
        "",
        f"Macro-F1 {_format(metrics['macro_f1'])} on {metrics['n']} cases"
        f" (calling everything by the most frequent label: {metrics['majority_macro_f1']:.2f}).",
        "",
        "| label | precision | recall | F1 |",
        "|---|---|---|---|",
    ]
    for label, scores in metrics["by_label"].items():
        cells = [_format(scores[name]) for name in ("precision", "recall", "f1")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += ["", "In brackets: 95 % intervals (Wilson; bootstrap by group for F1).", "", "## Made with", ""]
    lines += [f"- {name} {number}" for name, number in sorted(manifest["versions"].items())]
    lines += [f"- {name} = {value}" for name, value in sorted(manifest["config"].items())]
    return "\n".join(lines) + "\n"


def _format(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "none"
    low, high = figure["interval"]
    size = f" n={figure['n']}" if "n" in figure else ""
    return f"{figure['value']:.2f} [{low:.2f}, {high:.2f}]{size}"
