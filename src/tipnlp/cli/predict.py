"""`tipnlp predict`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from tipnlp.prediction import Prediction


@app.command()
def predict(
    inputs: Inputs,
    model: ModelOption = DEFAULT_MODEL,
    output: Annotated[str, typer.Option("--output", "-o", help="A .jsonl, .csv or .parquet file, or - (JSONL).")] = "-",
    rejects: Annotated[
        Path | None, typer.Option(help="Where unusable records are named; next to the output unless given.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the evidence: terms for and against with their places, concepts.")
    ] = False,
    with_text: Annotated[bool, typer.Option("--with-text", help="Keep the case text in the output.")] = False,
    encoding: EncodingOption = "utf-8-sig",
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Label new case files: one prediction a case, with probabilities, decision and reason."""
    from tipnlp.model import load_model
    from tipnlp.prediction import predict_cases
    from tipnlp.reading import find_sources, read_cases
    from tipnlp.writing import STDOUT, RejectsFile, name_rejects, open_writer

    with report_errors():
        if rejects is None and output != STDOUT:
            rejects = name_rejects(Path(output))
        rejected = RejectsFile(rejects, force=force)
        find_sources(inputs)
        loaded = load_model(model)
        with open_writer(output, force=force) as write:
            on_reject = None if strict else rejected
            cases = read_cases(inputs, encoding=encoding, on_reject=on_reject)
            for prediction in _show_progress(predict_cases(loaded, cases, explain=explain)):
                write(prediction.to_record(with_text=with_text))
        rejected.close()
        if rejected.count:
            where = f", named in {rejects}" if rejects else ":\n" + rejected.describe()
            say(f"tipnlp: {rejected.count} records could not be used{where}")
            leave(FINDINGS)


def _show_progress(predictions: Iterable[Prediction]) -> Iterable[Prediction]:
    """Show items and rate on standard error while they pass, silent when that is not a terminal."""
    from tqdm import tqdm

    shown: Iterable[Prediction] = tqdm(predictions, unit=" cases", disable=None, leave=False, smoothing=0.1)
    return shown
