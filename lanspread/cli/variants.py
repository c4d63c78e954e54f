"""Which variants there are of a game, and which of them a person means by the start of a hash."""

from __future__ import annotations

from typing import Any

from lanspread.cli import output, text
from lanspread.cli.client import Client, open_client
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE
from lanspread.cli.output import Column
from lanspread.errors import Code, LanspreadError

# What is shown of a hash, unless more is needed to tell it from the others; and what may be given.
_SHOWN = 10
_LEAST = 4


async def variants(state: str, game: str, as_json: bool) -> int:
    """`lanspread variants`: what connected peers offer of a game, the best first."""

    async def work() -> int:
        async with open_client(state) as client:
            found = await client.call("game.get", id=game)
        offered: list[dict[str, Any]] = found["variants"]
        if as_json:
            output.json_line(offered)
            return DONE
        columns = (
            Column("VARIANT"),
            Column("VERSION", wide=True),
            Column("SIZE", right=True, spare=2),
            Column("PEERS", right=True, spare=1),
            Column("HERE"),
        )
        hashes = [_hash(one) for one in offered]
        rows = [
            (
                shortest(hash_, hashes),
                one["version"],
                text.size(one["size"]),
                str(len(one["peers"])),
                "here" if one.get("here") else "-",
            )
            for hash_, one in zip(hashes, offered, strict=True)
        ]
        output.table(columns, rows, "no connected peer offers it")
        if found["downloaded"] and offered and not any(one.get("here") for one in offered):
            output.line("what is here is none of these")
        return DONE

    return await until_interrupted(work)


async def whole_hash(client: Client, game: str, given: str) -> str:
    """The hash that is meant by its start. One that fits nothing is returned as it is, for the
    peer to judge; raises `LanspreadError` where several variants fit."""
    begun = given.strip().lower()
    if not _LEAST <= len(begun) < 64:
        return given
    found = await client.call("game.get", id=game)
    for name in ("content_hash", "manifest_hash"):
        fitting = {one[name] for one in found["variants"] if (one[name] or "").startswith(begun)}
        if len(fitting) > 1:
            raise LanspreadError(
                Code.NOT_AVAILABLE,
                f"{len(fitting)} variants begin with {text.clean(begun)}",
                f"give more of the hash: see `lanspread variants {text.clean(game)}`",
            )
        if fitting:
            return str(fitting.pop())
    return given


def shortest(hash_: str, others: list[str]) -> str:
    """As much of a hash as tells it from the others, and no less than people compare."""
    length = _SHOWN
    while any(one != hash_ and one.startswith(hash_[:length]) for one in others):
        length += 1
    return hash_[:length]


def _hash(variant: dict[str, Any]) -> str:
    return str(variant["content_hash"] or variant["manifest_hash"])
