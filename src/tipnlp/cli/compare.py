"""`tipnlp compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tipnlp.cli.app import (
    FINDINGS,
    AllowLeakOption,
    EncodingOption,
    ForceOption,
    Inputs,
    JsonOption,
    StrictOption,
    app,
    leave,
    report_errors,
    report_leaks,
    report_rejects,
)


@app.command()
def compare(
    model_a: Annotated[Path, typer.Argument(help="The model to compare with.")],
    model_b: Annotated[Path, typer.Argument(help="The model that may be better.")],
    labelled: Inputs,
    json_file: JsonOption = None,
    all_changes: Annotated[bool, typer.Option("--all", help="List every case whose label changes.")] = False,
    allow_leak: AllowLeakOption = False,
    encoding: EncodingOption = "utf-8-sig",
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Compare two models on the same labelled cases: what differs, and whether it could be chance."""
    from tipnlp.comparison import compare_predictions
    from tipnlp.model import load_model, load_seen
    from tipnlp.prediction import predict_cases
    from tipnlp.reading import read_cases
    from tipnlp.report import format_comparison
    from tipnlp.seen import find_leaks
    from tipnlp.writing import Rejects, refuse_existing, write_text

    with report_errors():
        refuse_existing(json_file, force=force)
        rejected = Rejects()
        models = [load_model(model_a), load_model(model_b)]
        cases = list(read_cases(labelled, labelled=True, encoding=encoding, on_reject=None if strict else rejected))
        leaks = {leak.case_id: leak for path in (model_a, model_b) for leak in find_leaks(load_seen(path), cases)}
        report_leaks(list(leaks.values()), len(cases), allowed=allow_leak)
        first, second = ([p.label for p in predict_cases(model, cases)] for model in models)
        found = compare_predictions(cases, first, second)
        names = [model.manifest.id for model in models]
        typer.echo(format_comparison(found, *names, every_change=all_changes))
        if json_file:
            report = {"models": names, **found.to_dict()}
            write_text(json_file, json.dumps(report, ensure_ascii=False, indent=2) + "\n", force=force)
        report_rejects(rejected)
        if rejected.count:
            leave(FINDINGS)
