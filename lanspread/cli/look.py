"""The commands that look and the ones that are done at once."""

from __future__ import annotations

import contextlib
from typing import Any

import trio

from lanspread.cli import output, text
from lanspread.cli.client import ConnectionLostError, is_published, open_client, page_link
from lanspread.cli.events import event_line
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE, FAILED, complain
from lanspread.cli.output import Column

CONNECT_ANSWER_S = 60.0
SHUTDOWN_S = 5.0
_POLITE = ("polite", "polite_up", "polite_down")


async def _ask(state: str, method: str, timeout_s: float = 30.0, **params: object) -> Any:
    async with open_client(state) as client:
        return await client.call(method, timeout_s, **params)


async def games(state: str, as_json: bool) -> int:
    """`lanspread games`."""

    async def work() -> int:
        found = await _ask(state, "games.list")
        if as_json:
            output.json_line(found)
            return DONE
        columns = (
            Column("GAME", wide=True),
            Column("NAME", wide=True, spare=4),
            Column("VERSION", wide=True, spare=2),
            Column("SIZE", right=True, spare=1),
            Column("HERE"),
            Column("PEERS", right=True, spare=3),
        )
        rows = [
            (
                game["id"],
                game["name"],
                game["eti_version"],
                text.size(game["size"]),
                _here(game),
                str(len(game["peers"])),
            )
            for game in sorted(found, key=lambda game: str(game["name"]).casefold())
        ]
        output.table(columns, rows, "no games: none here, and no connected peer has one")
        return DONE

    return await until_interrupted(work)


def _here(game: dict[str, Any]) -> str:
    if game["operation"] is not None:
        operation = game["operation"]
        total = operation["total_bytes"] or 1
        return f"{operation['kind']} {operation['done_bytes'] * 100 // total} %"
    parts = [word for word in ("downloaded", "installed") if game[word]]
    if game["availability"] == "local_only":
        if game["downloaded"]:
            parts.append("local only")
        elif not game["installed"]:
            # A download that was cancelled, or a copy by hand without its version.ini.
            parts.append("partly here")
    if game["update_available"]:
        parts.append("update available")
    return ", ".join(parts) or "-"


async def peers(state: str, as_json: bool) -> int:
    """`lanspread peers`."""

    async def work() -> int:
        found = await _ask(state, "peers.list")
        if as_json:
            output.json_line(found)
            return DONE
        columns = (
            Column("NAME", wide=True),
            Column("STATE"),
            Column("GAMES", right=True, spare=2),
            Column("ADDRESSES", wide=True, spare=1),
            Column("LAST SEEN", spare=4),
            Column("PEER_ID", spare=3),
        )
        rows = [
            (
                peer["name"],
                peer["state"],
                str(peer["game_count"]),
                " ".join(peer["addresses"]),
                peer["last_seen"] or "-",
                peer["peer_id"],
            )
            for peer in sorted(found, key=lambda peer: str(peer["name"]).casefold())
        ]
        output.table(columns, rows, "no other peer has been found")
        return DONE

    return await until_interrupted(work)


def _lag(lag: dict[str, float] | None) -> str:
    if lag is None:
        return "-"
    mostly, worst = lag["p99_s"] * 1000, lag["max_s"] * 1000
    return f"{mostly:.0f} ms or less (99 % of the time), {worst:.0f} ms at worst"


async def status(state: str, as_json: bool) -> int:
    """`lanspread status`."""

    async def work() -> int:
        found = await _ask(state, "status")
        if as_json:
            output.json_line(found)
            return DONE
        rows = [
            ("name", found["name"]),
            ("peer_id", found["peer_id"]),
            ("version", found["version"]),
            ("games folder", found["games_dir"]),
            ("listening at", " ".join(found["listen"])),
            ("peers", str(found["peers"])),
            ("games", str(found["games"])),
            ("operations", str(len(found["operations"]))),
            ("sending", text.rate(found["up_rate"])),
            ("receiving", text.rate(found["down_rate"])),
            ("loop lag", _lag(found.get("loop_lag"))),
            ("running for", text.duration(found["uptime_s"])),
            # With the token: whoever can ask can read it in the state folder as well.
            ("page", page_link(state)),
        ]
        for name, value in rows:
            output.line(f"{name:<13} {text.clean(value)}")
        return DONE

    return await until_interrupted(work)


async def watch(state: str, as_json: bool) -> int:
    """`lanspread watch`: until Ctrl-C (130) or the peer is gone (1)."""

    async def work() -> int:
        async with open_client(state) as client:
            await client.call("subscribe")
            while True:
                event = await client.next_event()
                if as_json:
                    output.json_line(event)
                else:
                    output.line(event_line(event))

    return await until_interrupted(work)


async def connect(state: str, address: str, as_json: bool) -> int:
    """`lanspread connect`: done when the peer is connected."""

    async def work() -> int:
        result = await _ask(state, "peers.connect", CONNECT_ANSWER_S, address=address)
        if as_json:
            output.json_line(result)
        else:
            output.line(f"connected to {address}")
        return DONE

    return await until_interrupted(work)


async def polite(state: str, as_json: bool, wanted: bool | None = None) -> int:
    """`lanspread polite`: whether the peer goes slowly; with `wanted`, from now on."""

    async def work() -> int:
        asked = {} if wanted is None else {"polite": wanted}
        found = await _ask(state, "settings.set", **asked)
        if as_json:
            output.json_line({name: found[name] for name in _POLITE})
        elif found["polite"]:
            up, down = found["polite_up"], found["polite_down"]
            output.line(f"polite: at most {up:g} MB/s up, {down:g} MB/s down")
        else:
            output.line("not polite: only the limits that are set hold")
        return DONE

    return await until_interrupted(work)


async def shutdown(state: str, as_json: bool) -> int:
    """`lanspread shutdown`: done when the peer has taken its `api.json` back."""

    async def work() -> int:
        async with open_client(state) as client:
            result = await client.call("shutdown")
            with trio.move_on_after(SHUTDOWN_S), contextlib.suppress(ConnectionLostError):
                while True:
                    await client.next_event()
        with trio.move_on_after(SHUTDOWN_S):
            while is_published(state, client.hello["instance"]):  # noqa: ASYNC110  # a file
                await trio.sleep(0.05)
            if as_json:
                output.json_line(result)
            return DONE
        complain("the peer was asked to end, and has not yet")
        return FAILED

    return await until_interrupted(work)
