"""`tipnlp corpus`."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tipnlp.cli.app import (
    FINDINGS,
    EncodingOption,
    ForceOption,
    Inputs,
    JobsOption,
    corpus_app,
    leave,
    report_errors,
    report_rejects,
    say,
)


class SuspectKind(StrEnum):
    """Which suspects to list."""

    MISSED = "missed"
    WRONG = "wrong"


@corpus_app.command()
def check(
    corpus: Inputs,
    against: Annotated[
        list[str] | None, typer.Option(help="Cases that must not be in the corpus, as the test set; may be repeated.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Leave the notes out.")] = False,
    encoding: EncodingOption = "utf-8-sig",
) -> None:
    """Check labelled cases: schema, duplicates, leaks, private data, languages (errors); balance (notes)."""
    from tipnlp.corpus import ERROR, NOTE, check_files

    with report_errors():
        checked = check_files(corpus, against or [], encoding)
        for finding in checked.findings:
            if not (quiet and finding.severity == NOTE):
                typer.echo(str(finding))
        say(f"tipnlp: {checked.summary}")
        if checked.count(ERROR):
            leave(FINDINGS)


@corpus_app.command()
def stats(
    corpus: Inputs,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    encoding: EncodingOption = "utf-8-sig",
) -> None:
    """Count labelled cases by language, genre, length, source, topic and group: the tables of a data card."""
    from tipnlp.census import describe_corpus_tables
    from tipnlp.reading import read_cases

    with report_errors():
        tables = describe_corpus_tables(list(read_cases(corpus, labelled=True, encoding=encoding)))
        typer.echo("\n\n".join(table.markdown if markdown else table.text for table in tables))


@corpus_app.command()
def suspects(
    corpus: Inputs,
    folds: Annotated[int | None, typer.Option(min=2, help="Grouped folds; 5 unless the settings differ.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the folds; 0 unless the settings differ.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings, as for train.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many are printed.")] = 50,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write all to a .jsonl, .csv or .parquet file, or - (JSONL).")
    ] = None,
    only: Annotated[
        SuspectKind | None,
        typer.Option(help="missed: labelled non_trafficking, perhaps trafficking; wrong: the others."),
    ] = None,
    encoding: EncodingOption = "utf-8-sig",
    jobs: JobsOption = 1,
    force: ForceOption = False,
) -> None:
    """Rank labelled cases that a model which has not seen them contradicts: mislabelled or missed, perhaps."""
    from tipnlp.pipeline import read_config
    from tipnlp.reading import read_cases
    from tipnlp.suspects import describe_suspects, find_suspects, format_suspects
    from tipnlp.writing import STDOUT, Rejects, open_writer

    with report_errors():
        rejected = Rejects()
        with ExitStack() as stack:
            write = stack.enter_context(open_writer(output, force=force)) if output else None
            cases = list(read_cases(corpus, labelled=True, encoding=encoding, on_reject=rejected))
            found = find_suspects(cases, read_config(config, folds=folds, seed=seed), jobs)
            listed = [s for s in found if only is None or s.missed == (only == SuspectKind.MISSED)]
            if write:
                for suspect in listed:
                    write(suspect.to_record())
        if output != STDOUT:
            typer.echo(format_suspects(listed[:limit]))
            if len(listed) > limit:
                say(f"tipnlp: the first {limit} of {len(listed)}; --limit prints more, -o writes all")
        say(f"tipnlp: {describe_suspects(found, len(cases))}")
        report_rejects(rejected)
        if rejected.count:
            leave(FINDINGS)
