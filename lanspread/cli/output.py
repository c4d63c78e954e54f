"""stdout: one JSON value a line, tables that fit the terminal, aligned text elsewhere."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import attrs

from lanspread.cli.text import clean


@attrs.frozen
class Column:
    """A column's title; `right` for numbers, `wide` for the ones that may be shortened."""

    title: str
    right: bool = False
    wide: bool = False


def on_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def line(text: str) -> None:
    """One line, at once. Raises `BrokenPipeError` when the reader is gone."""
    if sys.stdout is None:
        return
    text = text.encode(sys.stdout.encoding or "utf-8", "replace").decode(
        sys.stdout.encoding or "utf-8"
    )
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def json_line(value: Any) -> None:
    """One JSON value on one line. ASCII only: names of other peers never reach the terminal raw."""
    line(json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f"))


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Rows of texts, which may come from other peers, under their titles."""
    if not rows:
        line(empty)
    elif on_terminal():
        _rich_table(columns, rows)
    else:
        _plain_table(columns, rows)


def _rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="ellipsis",
            no_wrap=True,
            ratio=None,
            min_width=6 if column.wide else None,
        )
    for row in rows:
        # Text, not a plain string: square brackets in a name are no markup.
        shown.add_row(*(Text(clean(value)) for value in row))
    Console().print(shown)


def _plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    cells = [
        [column.title for column in columns],
        *[[clean(value) for value in row] for row in rows],
    ]
    widths = [max(_width(row[number]) for row in cells) for number in range(len(columns))]
    for row in cells:
        parts = []
        for column, value, width in zip(columns, row, widths, strict=True):
            space = " " * (width - _width(value))
            parts.append(space + value if column.right else value + space)
        line("  ".join(parts).rstrip())


def _width(text: str) -> int:
    """Cells a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
