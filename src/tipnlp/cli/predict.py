"""`tipnlp predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tipnlp.cli.app import (
    DEFAULT_MODEL,
    DONE,
    FINDINGS,
    EncodingOption,
    ForceOption,
    Inputs,
    JobsOption,
    ModelOption,
    StrictOption,
    app,
    leave,
    report_errors,
    report_rejects,
    say,
)

if TYPE_CHECKING:
    from tipnlp.shards import ShardOptions


class Backend(StrEnum):
    """Where predictions are made."""

    LOCAL = "local"
    DASK = "dask"


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
    jobs: JobsOption = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run to the same output was broken off.")
    ] = False,
    backend: Annotated[
        Backend, typer.Option(help="Where to work: on this machine, or on a Dask cluster (the output is a folder).")
    ] = Backend.LOCAL,
    address: Annotated[str, typer.Option(help="Of the Dask scheduler, as tcp://host:8786.")] = "",
    encoding: EncodingOption = "utf-8-sig",
    strict: StrictOption = False,
    force: ForceOption = False,
) -> None:
    """Label new case files: one prediction a case, with probabilities, decision and reason."""
    from tipnlp.lines import predict_lines
    from tipnlp.manifest import check_model
    from tipnlp.reading import Sieve, find_sources, read_raw
    from tipnlp.runs import check_places, describe_run, open_run, open_stdout
    from tipnlp.writing import STDOUT, name_rejects, open_rejects

    with report_errors():
        options = {"explain": explain, "with_text": with_text}
        if backend is Backend.DASK:
            check_cluster_options(output, address, rejects, jobs)
            from tipnlp.shards import ShardOptions

            shards = ShardOptions(**options, encoding=encoding, strict=strict)
            leave(predict_on_cluster(model, inputs, Path(output), address, shards, resume=resume, force=force))
        sources = find_sources(inputs)
        target = None if output == STDOUT else Path(output)
        rejects = rejects or (target and name_rejects(target))
        check_places(inputs, sources, [path for path in (target, rejects) if path])
        run = describe_run(check_model(model).fingerprint, sources, {**options, "encoding": encoding})
        opened = open_run(target, run, resume=resume, force=force) if target else open_stdout(resume=resume)
        # The rejects get their name before the output does: where it is, they are.
        with opened as lines, open_rejects(rejects, force=force or lines.force) as rejected:
            sieve = Sieve(None if strict else rejected)
            ahead = lines.pass_over(read_raw(sources, encoding=encoding), sieve)
            for line in show_progress(sieve.sift(predict_lines(model, ahead, jobs=jobs, **options)), lines.done):
                lines.write(line)
            sieve.finish()
        report_rejects(rejected)
        if rejected.count:
            leave(FINDINGS)


def check_cluster_options(output: str, address: str, rejects: Path | None, jobs: int) -> None:
    """Refuse options that mean nothing on a cluster.

    Raises:
        UsageError: naming the option, and what to give instead.
    """
    from tipnlp.errors import UsageError
    from tipnlp.writing import STDOUT

    if not address:
        raise UsageError("--backend dask needs the scheduler's address: --address tcp://host:8786")
    if output == STDOUT:
        raise UsageError("--backend dask writes a part for each input file: name a folder with -o")
    if rejects is not None or jobs != 1:
        raise UsageError("--rejects and --jobs are for this machine: on a cluster every part has its own rejects file")


def predict_on_cluster(
    model: Path,
    inputs: list[str],
    output: Path,
    address: str,
    options: ShardOptions,
    *,
    resume: bool,
    force: bool,
) -> int:
    """Predict every input file as a part of its own on a cluster; return the exit status."""
    from tipnlp.cluster import predict_shards

    report = predict_shards(model, inputs, output, address, options=options, resume=resume, force=force, on_event=say)
    for name, reason in report.failed.items():
        say(f"tipnlp: {name}: {reason}")
    return FINDINGS if report.failed or report.rejects else DONE


def show_progress(lines: Iterable[bytes], done: int = 0) -> Iterable[bytes]:
    """Show items and rate on standard error while they pass, silent when that is not a terminal."""
    if not sys.stderr.isatty():
        return lines
    from tqdm import tqdm

    shown: Iterable[bytes] = tqdm(lines, unit=" cases", initial=done, leave=False, smoothing=0.1)
    return shown
