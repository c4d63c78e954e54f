"""Completion in the shell: the script that asks us, and the games that we answer with."""

from __future__ import annotations

from typing import Any

import click
import trio
from click.shell_completion import get_completion_class

from lanspread.cli.client import open_client

VARIABLE = "_LANSPREAD_COMPLETE"
# Whoever pressed Tab waits for this.
ANSWER_S = 2.0
_PLAIN = "._+-@"


def script(command: click.Command, shell: str) -> str:
    """What the shell has to run to complete our commands."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    return kind(command, {}, "lanspread", VARIABLE).source()


def games(state: str, begun: str, command: str) -> list[str]:
    """The IDs that begin like this of games that a command can do something with; none where no
    peer answers in time."""
    try:
        found = trio.run(_listed, state)
    except Exception:
        return []  # A message would appear in the middle of the line that is being typed.
    ids = [str(game["id"]) for game in found if fits(command, game)]
    return [one for one in ids if one.startswith(begun) and harmless(one)]


def fits(command: str, game: dict[str, Any]) -> bool:
    """Whether a command has something to do with a game as it is now."""
    return bool(_fits(command, game))


def _fits(command: str, game: dict[str, Any]) -> Any:
    operation = game["operation"]
    idle = operation is None
    downloading = operation is not None and operation["kind"] == "download"
    match command:
        case "cancel":
            return operation is not None
        case "pause":
            return downloading and operation["state"] != "paused"
        case "resume":
            return downloading and operation["state"] != "running"
        case "get":
            wanted = not game["downloaded"] or game["update_available"]
            return downloading or (bool(game["peers"]) and wanted)
        case "install":
            return idle and game["downloaded"] and not game["installed"]
        case "update":
            return game["update_available"]
        case "uninstall":
            return idle and game["installed"]
        case "remove":
            return idle and (game["downloaded"] or game["availability"] is not None)
        case _:
            return True


def harmless(game_id: str) -> bool:
    """Whether an ID, which may be another peer's, means nothing to a shell that inserts it."""
    return game_id[:1] != "-" and all(char.isalnum() or char in _PLAIN for char in game_id)


async def _listed(state: str) -> list[dict[str, Any]]:
    with trio.move_on_after(ANSWER_S):
        async with open_client(state) as client:
            return list(await client.call("games.list"))
    return []
