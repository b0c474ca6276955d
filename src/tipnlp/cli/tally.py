"""`tipnlp tally`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tipnlp.cli.app import DEFAULT_MODEL, EncodingOption, ForceOption, Inputs, app, report_errors

if TYPE_CHECKING:
    from tipnlp.tally import Tally


class Form(StrEnum):
    """How the table is printed."""

    TEXT = "text"
    MARKDOWN = "md"
    CSV = "csv"
    JSON = "json"
    HTML = "html"


@app.command()
def tally(
    predictions: Inputs,
    by: Annotated[str, typer.Option(help="The column to count by; year is taken from date.")] = "year",
    form: Annotated[Form, typer.Option("--format", help="How the table is printed.")] = Form.TEXT,
    errors: Annotated[
        Path | None,
        typer.Option(
            help="What the model got wrong on labelled cases: a file of 'evaluate --json', or a model folder"
            f" (its out-of-fold errors). Unless given: {DEFAULT_MODEL}, if it made the predictions."
        ),
    ] = None,
    suppress_below: Annotated[
        int, typer.Option(min=0, help="Hide counts smaller than this, and what would give them away.")
    ] = 0,
    htcds: Annotated[
        Path | None, typer.Option(help="Write the cases decided as trafficking to this file, in HTCDS codes.")
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="Print every case first (text only).")] = False,
    default_year: Annotated[str, typer.Option(help="The year of cases without a date.")] = "undated",
    encoding: EncodingOption = "utf-8-sig",
    force: ForceOption = False,
) -> None:
    """Count predictions or labelled cases by year and label, with intervals and the sentence for the report."""
    from tipnlp.htcds import convert_records
    from tipnlp.known_errors import find_errors
    from tipnlp.reading import read_records
    from tipnlp.report import format_cases
    from tipnlp.tally import count_records, tally_counts
    from tipnlp.writing import open_writer, refuse_existing

    with report_errors():
        refuse_existing(htcds, force=force)
        records: Iterable[Mapping[str, Any]] = read_records(predictions, encoding=encoding)
        if list_cases or htcds:
            records = list(records)
        counts = count_records(records, default_year, by)
        known = find_errors(errors, DEFAULT_MODEL, counts.models)
        tallies = tally_counts(counts, known.confusion if known else None, suppress_below)
        if list_cases and form is Form.TEXT:
            typer.echo(format_cases(records) + "\n")
        typer.echo(_load_formatter(form)(tallies, known.source if known else ""))
        if htcds:
            with open_writer(htcds, force=force) as write:
                for row in convert_records(records):
                    write(row)


def _load_formatter(form: Form) -> Callable[[Sequence[Tally], str], str]:
    from tipnlp import report

    if form is Form.HTML:
        from tipnlp.html import render_tally

        return render_tally
    formatters: dict[Form, Callable[[Sequence[Tally], str], str]] = {
        Form.TEXT: report.format_tally,
        Form.MARKDOWN: report.format_tally_markdown,
        Form.CSV: report.format_tally_csv,
        Form.JSON: report.format_tally_json,
    }
    return formatters[form]
