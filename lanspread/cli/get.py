"""`get` and `cancel`: start or end an operation, then follow its events to the last one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import trio

from lanspread.cli import output, text
from lanspread.cli.client import Client, open_client
from lanspread.cli.events import operation_text
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE, FAILED, INTERRUPTED

PLAIN_INTERVAL_S = 2.0
CANCEL_S = 30.0
_ENDINGS = {"finished": DONE, "failed": FAILED, "cancelled": FAILED}

Show = Callable[[dict[str, Any]], None]


async def get_game(state: str, game: str, variant: str | None, no_wait: bool, as_json: bool) -> int:
    """`lanspread get`. Ctrl-C leaves the download running in the peer."""

    async def work() -> int:
        async with open_client(state) as client:
            if not no_wait:
                await client.call("subscribe")
            named: dict[str, Any] = {} if variant is None else {"variant": variant}
            operation_id = (await client.call("game.download", id=game, **named))["operation_id"]
            if no_wait:
                answer = {"operation_id": operation_id}
                output.json_line(answer) if as_json else output.line(operation_id)
                return DONE
            with _display(game, as_json) as show:
                return await _follow(client, operation_id, show)

    code = await until_interrupted(work)
    if code == INTERRUPTED and not as_json and sys.stderr is not None:
        print(
            f"lanspread: the download goes on; `lanspread cancel {text.clean(game)}` ends it",
            file=sys.stderr,
        )
    return code


async def cancel_game(state: str, game: str, as_json: bool) -> int:
    """`lanspread cancel`: done when the operation has ended."""

    async def work() -> int:
        async with open_client(state) as client:
            await client.call("subscribe")
            operation_id = (await client.call("game.cancel", id=game))["operation_id"]
            with _display(game, as_json) as show, trio.fail_after(CANCEL_S):
                await _follow(client, operation_id, show)
            return DONE

    return await until_interrupted(work)


async def _follow(client: Client, operation_id: str, show: Show) -> int:
    while True:
        event = await client.next_event()
        if event["data"].get("operation_id") != operation_id:
            continue
        show(event)
        area, _, what = str(event["type"]).partition(".")
        if area != "source" and what in _ENDINGS:
            return _ENDINGS[what]


def _display(game: str, as_json: bool) -> AbstractContextManager[Show]:
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
