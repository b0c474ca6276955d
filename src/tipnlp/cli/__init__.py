"""The command line: parse, call, print. One file a command; heavy imports inside the commands."""

from tipnlp.cli import check_model, compare, corpus, evaluate, explain, info, predict, tally, train  # noqa: F401 - each adds its command
from tipnlp.cli.app import app

__all__ = ["app"]
