"""`tipnlp info`."""

from __future__ import annotations

import typer

from tipnlp.cli.app import DEFAULT_MODEL, ModelOption, app, report_errors


@app.command()
def info(model: ModelOption = DEFAULT_MODEL) -> None:
    """Say what a model is, trained on what, and how good."""
    from tipnlp.manifest import read_manifest
    from tipnlp.report import format_manifest

    with report_errors():
        typer.echo(format_manifest(read_manifest(model)))
