"""`tipnlp explain`."""

from __future__ import annotations

import json
from enum import StrEnum
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
    report_rejects,
)


class Form(StrEnum):
    """How explanations are printed."""

    TEXT = "text"
    JSONL = "jsonl"


@app.command()
def explain(
    inputs: Inputs,
    model: ModelOption = DEFAULT_MODEL,
    form: Annotated[Form, typer.Option("--format", help="Text to read, or one JSON object a case.")] = Form.TEXT,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write a page with the texts marked to this file as well.")
    ] = None,
    terms: Annotated[int, typer.Option(min=1, help="How many terms for and against are listed.")] = 10,
    encoding: EncodingOption = "utf-8-sig",
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Show why each case gets its label: terms for and against with their places, concepts found. Shows case text."""
    from tipnlp.model import load_model
    from tipnlp.prediction import predict_cases
    from tipnlp.reading import find_sources, read_cases
    from tipnlp.report import format_explanation
    from tipnlp.writing import Rejects, refuse_existing, write_text

    with report_errors():
        refuse_existing(html_file, force=force)
        find_sources(inputs)
        rejected = Rejects()
        cases = read_cases(inputs, encoding=encoding, on_reject=None if strict else rejected)
        shown = []
        for prediction in predict_cases(load_model(model), cases, explain=True):
            if form is Form.JSONL:
                typer.echo(json.dumps(prediction.to_record(terms=terms), ensure_ascii=False))
            else:
                typer.echo(format_explanation(prediction, terms) + "\n")
            if html_file:
                shown.append(prediction)
        if html_file:
            from tipnlp.html import render_explanations

            write_text(html_file, render_explanations(shown), force=force)
        report_rejects(rejected)
        if rejected.count:
            leave(FINDINGS)
