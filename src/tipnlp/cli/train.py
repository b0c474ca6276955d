"""`tipnlp train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tipnlp.cli.app import (
    EncodingOption,
    ForceOption,
    Inputs,
    JobsOption,
    app,
    report_errors,
    say,
)


@app.command()
def train(
    corpus: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to make.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Grouped folds for the out-of-fold figures.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the folds.")] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Decide only where this precision is kept with 95 % confidence."),
    ] = None,
    encoding: EncodingOption = "utf-8-sig",
    jobs: JobsOption = 1,
    force: ForceOption = False,
) -> None:
    """Train a model on labelled cases and print how good it is on cases it has not seen."""
    from tipnlp.corpus import check_files, refuse_faults
    from tipnlp.model import save_model
    from tipnlp.pipeline import read_config
    from tipnlp.report import format_evaluation, format_promises
    from tipnlp.tables import format_count
    from tipnlp.training import train_model
    from tipnlp.writing import refuse_existing

    with report_errors():
        refuse_existing(output, force=force)
        settings = read_config(config, folds=folds, seed=seed, min_precision=min_precision)
        checked = check_files(corpus, encoding=encoding)
        refuse_faults(checked.findings)
        if checked.findings:
            found = format_count(len(checked.findings), "finding")
            say(f"corpus check: {found}; see 'tipnlp corpus check {shlex.join(corpus)}'")
        say(f"training on {len(checked.cases)} cases ...")
        trained = train_model(checked.cases, settings, jobs)
        model = save_model(trained.model, output, force=force)
        typer.echo(format_evaluation(trained.evaluation, "Out of fold"))
        if trained.promises:
            typer.echo("\n" + format_promises(trained.promises, settings.min_precision))
        say(f"model {model.manifest.id} saved to {output}")
