"""`tipnlp evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tipnlp.cli.app import (
    DEFAULT_MODEL,
    FINDINGS,
    AllowLeakOption,
    EncodingOption,
    ForceOption,
    Inputs,
    JsonOption,
    ModelOption,
    StrictOption,
    app,
    leave,
    report_errors,
    report_leaks,
    report_rejects,
    say,
)


@app.command()
def evaluate(
    labelled: Inputs,
    model: ModelOption = DEFAULT_MODEL,
    by: Annotated[
        list[str] | None, typer.Option(help="A column to break the figures down by; may be repeated.")
    ] = None,
    json_file: JsonOption = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a report with charts and the list of errors to this file.")
    ] = None,
    with_text: Annotated[bool, typer.Option("--with-text", help="Show the text of errors in the HTML report.")] = False,
    require_precision: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="End with status 1 when a label's precision is not surely this high."),
    ] = None,
    allow_leak: AllowLeakOption = False,
    encoding: EncodingOption = "utf-8-sig",
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Hold a model against labelled cases: every figure with its n and its 95 % interval."""
    from tipnlp.evaluation import evaluate_predictions
    from tipnlp.model import load_model, load_seen
    from tipnlp.prediction import list_probabilities, predict_cases
    from tipnlp.reading import read_cases
    from tipnlp.report import format_evaluation
    from tipnlp.seen import find_leaks
    from tipnlp.writing import Rejects, refuse_existing, write_text

    with report_errors():
        refuse_existing(json_file, html_file, force=force)
        rejected = Rejects()
        loaded = load_model(model)
        cases = list(read_cases(labelled, labelled=True, encoding=encoding, on_reject=None if strict else rejected))
        leaks = find_leaks(load_seen(model), cases)
        report_leaks(leaks, len(cases), allowed=allow_leak)
        predictions = list(predict_cases(loaded, cases))
        found = evaluate_predictions(
            [p.case for p in predictions],
            [p.label for p in predictions],
            [p.decision for p in predictions],
            by or [],
            list_probabilities(predictions),
        )
        typer.echo(format_evaluation(found, f"Model {loaded.manifest.id}"))
        if json_file:
            report = {"model": loaded.manifest.id, **found.to_dict()}
            write_text(json_file, json.dumps(report, ensure_ascii=False, indent=2) + "\n", force=force)
        if html_file:
            from tipnlp.html import render_evaluation

            write_text(html_file, render_evaluation(found, predictions, with_text=with_text), force=force)
        report_rejects(rejected)
        missed = found.list_below(require_precision or 0.0)
        for score in missed:
            say(f"tipnlp: precision of {score.label} is not surely {require_precision} or more: {score.decided}")
        if rejected.count or missed:
            leave(FINDINGS)
