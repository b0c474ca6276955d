"""Numbers and words for people: counts, and tables for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equal length below a title; the first row is the header."""

    title: str
    rows: Rows

    @property
    def text(self) -> str:
        """The table for a terminal."""
        return f"{self.title}\n{format_table(self.rows)}"

    @property
    def markdown(self) -> str:
        """The table for a Markdown file."""
        return f"**{self.title}**\n\n{format_markdown(self.rows)}"


def format_table(rows: Rows, indent: str = "  ") -> str:
    """Return rows as aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(indent + "  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def format_markdown(rows: Rows) -> str:
    """Return rows as a Markdown table: the first column to the left, the others to the right."""
    header, *others = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *others])


def format_count(count: int, noun: str) -> str:
    """Return `1 case`, `2 cases`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
