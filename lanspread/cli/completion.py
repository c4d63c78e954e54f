"""Completion in the shell: the script that asks us, and the games that we answer with."""

from __future__ import annotations

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


def games(state: str, begun: str) -> list[str]:
    """The IDs of the peer's games that begin like this; none where no peer answers in time."""
    try:
        found = trio.run(_listed, state)
    except Exception:
        return []  # A message would appear in the middle of the line that is being typed.
    return [one for one in found if one.startswith(begun) and harmless(one)]


def harmless(game_id: str) -> bool:
    """Whether an ID, which may be another peer's, means nothing to a shell that inserts it."""
    return game_id[:1] != "-" and all(char.isalnum() or char in _PLAIN for char in game_id)


async def _listed(state: str) -> list[str]:
    with trio.move_on_after(ANSWER_S):
        async with open_client(state) as client:
            return [str(game["id"]) for game in await client.call("games.list")]
    return []
