"""`get`: fetch a game, install it if that is wanted, and follow both to the end."""

from __future__ import annotations

from typing import Any

from lanspread.cli import output
from lanspread.cli.client import Client, open_client
from lanspread.cli.follow import display, follow
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE, INTERRUPTED
from lanspread.cli.operate import say_it_goes_on
from lanspread.cli.variants import whole_hash
from lanspread.errors import Code, LanspreadError


async def get_game(
    state: str,
    game: str,
    variant: str | None,
    no_wait: bool,
    as_json: bool,
    *,
    install: bool = False,
) -> int:
    """`lanspread get`. Ctrl-C leaves what is under way running in the peer."""

    async def work() -> int:
        async with open_client(state) as client:
            if not no_wait:
                await client.call("subscribe")
            named: dict[str, Any] = {}
            if variant is not None:
                named["variant"] = await whole_hash(client, game, variant)
            operation_id = (await client.call("game.download", id=game, **named))["operation_id"]
            if no_wait:
                answer = {"operation_id": operation_id}
                output.json_line(answer) if as_json else output.line(operation_id)
                return DONE
            with display(game, as_json) as show:
                code = await follow(client, operation_id, "download", show)
            if code == DONE and install:
                return await _install(client, game, as_json, named=variant is not None)
            return code

    code = await until_interrupted(work)
    if code == INTERRUPTED and not as_json:
        say_it_goes_on(game)
    return code


async def _install(client: Client, game: str, as_json: bool, *, named: bool) -> int:
    """Install what was fetched, or follow whoever does; `named`: a variant was, so that nothing
    newer is wanted."""
    found = await _shown(client, game)
    kind = "update" if found is not None and found["installed"] and not named else "install"
    operation_id, kind = await _begun(client, game, kind)
    with display(game, as_json) as show:
        return await follow(client, operation_id, kind, show)


async def _begun(client: Client, game: str, kind: str) -> tuple[str, str]:
    """The operation that installs the game, and its kind: begun now, or by the peer itself, which
    may install unasked what was fetched."""
    try:
        return (await client.call(f"game.{kind}", id=game))["operation_id"], kind
    except LanspreadError as error:
        if error.code is not Code.BUSY:
            raise
        found = await _shown(client, game)
        running = None if found is None else found["operation"]
        if running is None:
            # That one has ended since.
            return (await client.call(f"game.{kind}", id=game))["operation_id"], kind
        if running["kind"] not in ("install", "update"):
            raise
        return running["operation_id"], running["kind"]


async def _shown(client: Client, game: str) -> dict[str, Any] | None:
    games: list[dict[str, Any]] = await client.call("games.list")
    return next((one for one in games if one["id"].casefold() == game.casefold()), None)
