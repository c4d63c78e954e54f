"""Following one operation to its end: its events as JSON, as lines for a log, or as a bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import trio

from lanspread.cli import output, text
from lanspread.cli.client import Client
from lanspread.cli.events import operation_text
from lanspread.cli.main import DONE, FAILED

PLAIN_INTERVAL_S = 2.0
_ENDINGS = {"finished": DONE, "failed": FAILED, "cancelled": FAILED}

Show = Callable[[dict[str, Any]], None]


async def follow(client: Client, operation_id: str, kind: str, show: Show) -> int:
    """Show the events of an operation until it has ended; returns the exit code.

    `kind` is the operation's own: an update may have a whole download in it, with an end of its
    own.
    """
    while True:
        event = await next_of(client, operation_id)
        show(event)
        area, _, what = str(event["type"]).partition(".")
        if area == kind and what in _ENDINGS:
            return _ENDINGS[what]


async def next_of(client: Client, operation_id: str) -> dict[str, Any]:
    """The next event of an operation."""
    while True:
        event = await client.next_event()
        if event["data"].get("operation_id") == operation_id:
            return event


def display(game: str, as_json: bool) -> AbstractContextManager[Show]:
    """How the events of an operation are shown: JSON, a bar on a terminal, lines elsewhere."""
    if as_json:
        return nullcontext(output.json_line)
    if output.on_terminal():
        return ProgressBar(game)
    return nullcontext(_PlainLines(game).show)


class _PlainLines:
    """Lines for a log: every change, and progress at most every 2 s."""

    def __init__(self, game: str) -> None:
        self._game = game
        self._next_s = -1.0

    def show(self, event: dict[str, Any]) -> None:
        if str(event["type"]).endswith(".progress"):
            now = trio.current_time()
            if now < self._next_s:
                return
            self._next_s = now + PLAIN_INTERVAL_S
        output.line(text.clean(f"{self._game}: {operation_text(event['type'], event['data'])}"))


class ProgressBar:
    """A bar with rate and time left; what is worth keeping is printed above it.

    It is drawn when an event comes: no thread, no clock of its own.
    """

    def __init__(self, game: str, total_bytes: int = 0) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[game]}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
            auto_refresh=False,
        )
        self._task = self._progress.add_task(
            "", total=total_bytes or None, game=text.clean(game), amount="", note=""
        )

    def __enter__(self) -> Show:
        self._progress.start()
        return self.show

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, event: dict[str, Any]) -> None:
        """Draw one event of the operation."""
        data = event["data"]
        match str(event["type"]).partition(".")[2]:
            case "begin":
                self.update(0, data["total_bytes"], "")
            case "progress":
                eta = "" if data["eta_s"] is None else f"{text.duration(data['eta_s'])} left"
                self.update(
                    data["done_bytes"], data["total_bytes"], f"{text.rate(data['rate'])} {eta}"
                )
                return
            case "finished":
                total = self._progress.tasks[0].total or 1
                self.update(int(total), int(total), "done")
        self.say(operation_text(event["type"], data))

    def update(self, done_bytes: int, total_bytes: int, note: str) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            completed=done_bytes,
            total=total_bytes or None,
            amount=f"{text.size(done_bytes)}/{text.size(total_bytes)}",
            note=text.clean(note),
            refresh=True,
        )

    def say(self, words: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text.clean(words), markup=False, highlight=False)
