"""stdout: one JSON value a line, tables that fit the terminal, aligned text elsewhere."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import attrs

from lanspread.cli.text import clean

_GAP = "  "
# What may be shortened keeps so many cells, or it says nothing any more; and what is enough.
_LEAST, _ENOUGH = 10, 32


@attrs.frozen
class Column:
    """A column's title; `right` for numbers, `wide` for the ones that may be shortened.

    On a terminal that is too narrow for all, those with the highest `spare` are left out first,
    those with 0 never.
    """

    title: str
    right: bool = False
    wide: bool = False
    spare: int = 0


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


def fit(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Which columns are shown, by number, and how wide, for natural widths and cells of a line.

    What a person types again, the first column, is kept whole as long as that leaves others room.
    """
    shown = dict(enumerate(widths))
    while True:
        left = room - len(_GAP) * (len(shown) - 1)
        most = max(shown, key=lambda number: columns[number].spare)
        last = not columns[most].spare or len(shown) == 1
        fitted = dict(shown)
        for keep in (_ENOUGH, _LEAST) if last else (_ENOUGH,):
            _shorten(columns, fitted, left, keep)
        if last or sum(fitted.values()) <= left:
            return list(fitted.items())
        del shown[most]


def _shorten(columns: Sequence[Column], widths: dict[int, int], room: int, keep: int) -> None:
    """The widest of those that may be shortened give way, a cell at a time; `keep`: those that are
    always shown keep so much."""
    least = {
        number: _LEAST if columns[number].spare else keep
        for number in widths
        if columns[number].wide
    }
    while sum(widths.values()) > room:
        open_ = [number for number in least if widths[number] > least[number]]
        if not open_:
            return
        widths[max(open_, key=lambda number: widths[number])] -= 1


def _rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    cells = [[clean(value) for value in row] for row in rows]
    titles = [column.title for column in columns]
    widths = [
        max(_width(row[number]) for row in [titles, *cells]) for number in range(len(columns))
    ]
    fitted = fit(columns, widths, console.width)
    shown = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="dim")
    for number, width in fitted:
        shown.add_column(
            columns[number].title,
            justify="right" if columns[number].right else "left",
            overflow="ellipsis",
            no_wrap=True,
            width=width,
        )
    for row in cells:
        # Text, not a plain string: square brackets in a name are no markup.
        shown.add_row(*(Text(row[number]) for number, _ in fitted))
    console.print(shown)


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
        line(_GAP.join(parts).rstrip())


def _width(text: str) -> int:
    """Cells a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
