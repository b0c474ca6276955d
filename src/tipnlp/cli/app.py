"""The Typer application, the options that several commands share, and the way out on errors."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tipnlp.errors import TipnlpError

if TYPE_CHECKING:
    from tipnlp.seen import Leak
    from tipnlp.writing import Rejects

# When all ends there is nothing to collect, and to look for it takes longer than to label a short case.
atexit.register(gc.freeze)

DONE, FINDINGS, UNUSABLE = 0, 1, 2

DEFAULT_MODEL = Path("models/default")

app = typer.Typer(
    name="tipnlp",
    help="Sort investigation descriptions into forced labour, sex trafficking and not trafficking, and show how sure.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Check and describe labelled cases.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(corpus_app, name="corpus")

Inputs = Annotated[
    list[str], typer.Argument(help="Case files (.jsonl .csv .tsv .parquet .txt), folders of them, or - for JSONL.")
]
ModelOption = Annotated[Path, typer.Option("--model", "-m", help="Model folder.")]
EncodingOption = Annotated[str, typer.Option(help="Encoding of text files, for example cp1252.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first record that cannot be used.")]
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes to work with.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write everything to this file as well.")]
AllowLeakOption = Annotated[bool, typer.Option("--allow-leak", help="Go on although cases were seen in training.")]


def say(text: str) -> None:
    """Print words for the person, on standard error."""
    typer.echo(text, err=True)


def leave(status: int) -> NoReturn:
    """End the command with an exit status."""
    raise typer.Exit(status)


def report_rejects(rejected: Rejects) -> None:
    """Say which records could not be used, or where they are named."""
    if rejected.count:
        where = f", named in {rejected.path}" if rejected.path else ""
        # A file that broke off is more than a record: it is named here in any case.
        told = rejected.broken if rejected.path else [rejected.describe()]
        say("\n".join([f"tipnlp: {rejected.count} records could not be used{where}{':' if told else ''}", *told]))


def report_leaks(leaks: Sequence[Leak], asked: int, *, allowed: bool) -> None:
    """Say which cases were seen in training, and end the command unless that is allowed."""
    from tipnlp.report import format_leaks

    if leaks:
        say(f"tipnlp: {format_leaks(leaks, asked)}")
        if not allowed:
            leave(FINDINGS)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn the errors of the library into one message and an exit status."""
    try:
        yield
    except TipnlpError as error:
        say("\n".join([f"tipnlp: {error}", *getattr(error, "__notes__", [])]))
        leave(UNUSABLE)
    except BrokenPipeError:
        # The reader of our output is gone (`tipnlp ... | head`): that is its right.
        discard_stdout()
        leave(DONE)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        say(f"tipnlp: {place}{error.strerror or type(error).__name__}")
        try:
            sys.stdout.flush()
        except OSError:
            discard_stdout()
        leave(UNUSABLE)


def discard_stdout() -> None:
    """Let nowhere be written what standard output does not take: the interpreter tries once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.callback(invoke_without_command=True)
def show_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Sort investigation descriptions into forced labour, sex trafficking and not trafficking, and show how sure."""
    if version:
        from importlib.metadata import version as find_version

        typer.echo(f"tipnlp {find_version('tipnlp')}")
        leave(DONE)
