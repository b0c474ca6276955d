"""`tipnlp corpus`."""

from __future__ import annotations

from typing import Annotated

import typer

from tipnlp.cli.app import FINDINGS, EncodingOption, Inputs, corpus_app, leave, report_errors, say


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
