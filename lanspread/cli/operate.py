"""What is done with one game: install, update, uninstall, remove, pause, resume, cancel."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import trio

from lanspread.cli import text
from lanspread.cli.client import open_client
from lanspread.cli.follow import display, follow, next_of
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE, FAILED, INTERRUPTED, complain

CANCEL_S = 30.0
PAUSE_S = 10.0
# The events that show that a download has paused, or goes on.
_SHOWS = {"pause": ("paused",), "resume": ("resumed", "begin", "progress")}


async def operate(state: str, kind: str, game: str, as_json: bool, **params: Any) -> int:
    """Begin an operation of a kind, or join it, and follow it to the end.

    Ctrl-C leaves it running in the peer.
    """

    async def work() -> int:
        async with open_client(state) as client:
            await client.call("subscribe")
            answer = await client.call(f"game.{kind}", id=game, **params)
            with display(game, as_json) as show:
                return await follow(client, answer["operation_id"], kind, show)

    code = await until_interrupted(work)
    if code == INTERRUPTED and not as_json:
        say_it_goes_on(game)
    return code


async def pause_or_resume(state: str, what: str, game: str, as_json: bool) -> int:
    """`lanspread pause` and `lanspread resume`: done when the download has paused, or goes on."""

    async def work() -> int:
        async with open_client(state) as client:
            subscribed = await client.call("subscribe")
            operation_id = (await client.call(f"game.{what}", id=game))["operation_id"]
            before = _operation(subscribed, operation_id)
            with display(game, as_json) as show, trio.move_on_after(PAUSE_S):
                if what == "pause" and before is not None and before["state"] == "paused":
                    show(_paused_before(game, operation_id))
                    return DONE
                while True:
                    event = await next_of(client, operation_id)
                    show(event)
                    word = str(event["type"]).partition(".")[2]
                    if word in _SHOWS[what]:
                        return DONE
                    if word in ("finished", "failed", "cancelled"):
                        return DONE if word == "finished" else FAILED
            complain(f"{text.clean(game)} was asked to {what}, and does not yet")
            return FAILED

    return await until_interrupted(work)


async def cancel_game(state: str, game: str, as_json: bool) -> int:
    """`lanspread cancel`: done when the operation has ended."""

    async def work() -> int:
        async with open_client(state) as client:
            subscribed = await client.call("subscribe")
            operation_id = (await client.call("game.cancel", id=game))["operation_id"]
            operation = _operation(subscribed, operation_id)
            # One that began in between is a download in all likelihood, and not an update with one.
            kind = "download" if operation is None else operation["kind"]
            with display(game, as_json) as show, trio.move_on_after(CANCEL_S):
                await follow(client, operation_id, kind, show)
                return DONE
            complain(f"{text.clean(game)} was cancelled, and has not stopped yet")
            return FAILED

    return await until_interrupted(work)


def say_it_goes_on(game: str) -> None:
    """What is to be known after Ctrl-C."""
    if sys.stderr is not None:
        print(
            f"lanspread: it goes on in the peer; `lanspread cancel {text.clean(game)}` ends it",
            file=sys.stderr,
        )


def _operation(subscribed: dict[str, Any], operation_id: str) -> dict[str, Any] | None:
    operations: list[dict[str, Any]] = subscribed["snapshot"]["status"]["operations"]
    return next((one for one in operations if one["operation_id"] == operation_id), None)


def _paused_before(game: str, operation_id: str) -> dict[str, Any]:
    """What to show of a download that is paused already: its event is past, so it has no number."""
    data = {"operation_id": operation_id, "id": game, "reason": "user"}
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"seq": None, "time": now, "type": "download.paused", "data": data}
