"""`tipnlp tally`."""

from __future__ import annotations

from typing import Annotated

import typer

from tipnlp.cli.app import EncodingOption, Inputs, app, report_errors


@app.command()
def tally(
    predictions: Inputs,
    list_cases: Annotated[bool, typer.Option("--list", help="Print every case first.")] = False,
    default_year: Annotated[str, typer.Option(help="The year of cases without a date.")] = "undated",
    encoding: EncodingOption = "utf-8-sig",
) -> None:
    """Count predictions or labelled cases by year and label, with the sentence for the report."""
    from tipnlp.reading import read_records
    from tipnlp.report import format_cases, format_tally
    from tipnlp.tally import tally_records

    with report_errors():
        if list_cases:
            typer.echo(format_cases(read_records(predictions, encoding=encoding)) + "\n")
        typer.echo(format_tally(tally_records(read_records(predictions, encoding=encoding), default_year)))
