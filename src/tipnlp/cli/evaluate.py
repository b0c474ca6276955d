"""`tipnlp evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tipnlp.cli.app import (
    DEFAULT_MODEL,
    FINDINGS,
    EncodingOption,
    ForceOption,
    Inputs,
    ModelOption,
    StrictOption,
    app,
    leave,
    report_errors,
    say,
)


@app.command()
def evaluate(
    labelled: Inputs,
    model: ModelOption = DEFAULT_MODEL,
    by: Annotated[
        list[str] | None, typer.Option(help="A column to break the figures down by; may be repeated.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file as well.")] = None,
    encoding: EncodingOption = "utf-8-sig",
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Hold a model against labelled cases: every figure with its n and its 95 % interval."""
    from tipnlp.errors import OutputError
    from tipnlp.evaluation import evaluate_predictions
    from tipnlp.model import load_model
    from tipnlp.prediction import predict_cases
    from tipnlp.reading import read_cases
    from tipnlp.report import format_evaluation
    from tipnlp.writing import RejectsFile, write_text

    with report_errors():
        if json_file and json_file.exists() and not force:
            raise OutputError.from_existing(json_file)
        rejected = RejectsFile(None)
        loaded = load_model(model)
        cases = read_cases(labelled, labelled=True, encoding=encoding, on_reject=None if strict else rejected)
        predictions = list(predict_cases(loaded, cases))
        found = evaluate_predictions(
            [p.case for p in predictions],
            [p.label for p in predictions],
            [p.decision for p in predictions],
            by or [],
        )
        typer.echo(format_evaluation(found, f"Model {loaded.manifest.id}"))
        if json_file:
            report = {"model": loaded.manifest.id, **found.to_dict()}
            write_text(json_file, json.dumps(report, ensure_ascii=False, indent=2) + "\n", force=force)
        if rejected.count:
            say(f"tipnlp: {rejected.count} records could not be used:\n{rejected.describe()}")
            leave(FINDINGS)
