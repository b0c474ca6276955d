"""`tipnlp check-model`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tipnlp.cli.app import DEFAULT_MODEL, FINDINGS, ForceOption, JsonOption, ModelOption, app, leave, report_errors, say


@app.command()
def check_model(
    model: ModelOption = DEFAULT_MODEL,
    json_file: JsonOption = None,
    require: Annotated[
        float | None, typer.Option(min=0, max=1, help="End with status 1 when a check passes less often than this.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Print every failure, not the first only.")] = False,
    force: ForceOption = False,
) -> None:
    """Check how a model behaves: no label may hang on origin, gender, city, name or currency."""
    from tipnlp.behaviour import check_behaviour, format_behaviour
    from tipnlp.model import load_model
    from tipnlp.writing import refuse_existing, write_text

    with report_errors():
        refuse_existing(json_file, force=force)
        loaded = load_model(model)
        report = check_behaviour(loaded)
        typer.echo(format_behaviour(report, f"Model {loaded.manifest.id}", show_all=show_all))
        if json_file:
            record = {"model": loaded.manifest.id, **report.to_dict()}
            write_text(json_file, json.dumps(record, ensure_ascii=False, indent=2) + "\n", force=force)
        missed = report.list_below(require or 0.0)
        for check in missed:
            say(f"tipnlp: {check}: passed less often than {require}: {report.measure_check(check)}")
        if missed:
            leave(FINDINGS)
