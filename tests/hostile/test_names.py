"""Names and ids from others: shown clean, never made a path."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import DownloadGame
from lanspread.errors import LanspreadError
from lanspread.eventhub import json_value
from tests.hostile.claims import game_summary, page, serve
from tests.hostile.support import BLOCK, Scene, address_of, open_virtual_node, snapshot
from tests.peers.support import END, Events, begin, listed, until
from tests.protocol.wire import Game

UGLY = "\x1b[2J\x1b[31mred\x07\r\nnext\u202e\u2028line\x00\x9b5n\ufeff"


def texts(value: object) -> list[str]:
    """Every text in a value, keys too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.items() for text in texts(list(item))]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return []


async def test_names_are_fit_for_terminals_and_pages(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Nothing that a peer sent moves a cursor or ends a line where a front-end shows it."""
    games = [
        game_summary("Plain", name=UGLY, eti_version="1.0" + UGLY[:9]),
        game_summary("Giant", name="\u5927" * 128, eti_version="9" * 64),
        game_summary("Nameless", name="\x07"),
        *(
            game_summary(id)
            for id in (UGLY[:40], "../../etc", "a/b", "CON", ".hidden", "", " ", "x.")
        ),
    ]
    events = Events(scene.victim)
    async with open_virtual_node(scene.machine()) as node:
        serve(node, page(node, games))
        node.claims |= {
            "name": UGLY + "\u5927" * 90,
            "features": {
                UGLY: UGLY,
                "deep": [[[[UGLY]]]],
                "number": 2**64 - 1,
                "infinite": float("inf"),
                "nan": float("nan"),
                "big": "x" * 40_000,
            },
            "listen_addrs": [UGLY, "::", "10.0.0.9:0", "[fe80::1%\x1b]:1"],
        }
        await node.dial(address_of(scene.victim))
        await until(lambda: listed(scene.victim, "Plain"))
        await events.wait_for("library.updated")
        views = json_value([scene.victim.games(), scene.victim.peers()])
        reported = [json_value(event.data) for event in events.seen]
        json.dumps([views, reported], allow_nan=False)
        for text in texts([views, reported]):
            assert text.isprintable(), ascii(text)
            assert len(text) <= 256
        shown = {game.id: game for game in scene.victim.games()}
        assert set(shown) == {"Plain", "Giant", "Nameless", "FromVictim", "FromBystander"}
        assert shown["Plain"].name == "[2J[31mrednextline5n"
        assert shown["Giant"].name == "\u5927" * 128
        assert shown["Nameless"].name == "Nameless"
        record = scene.victim.directory.get(node.peer_id)
        assert record is not None
        assert record.name.startswith("[2J[31mred")
        assert not record.verified
    await scene.still_well()


@pytest.mark.parametrize("id", ["../Evil", "..", "/tmp/Evil", "CON", ".lanspread", "Evil/local"])
async def test_a_game_whose_id_is_no_name_is_not_fetched(
    autojump_clock: MockClock, scene: Scene, id: str
) -> None:
    game = Game.of(id, "1.0", {"a": b"1", "version.ini": b"1.0\n"}, BLOCK)
    async with open_virtual_node(scene.machine(), [game]) as node:
        session = await node.dial(address_of(scene.victim))
        await trio.sleep(2)
        assert session.link.closed is None
        before = snapshot(scene.folder)
        events = Events(scene.victim)
        with pytest.raises(LanspreadError) as caught:
            await scene.victim.execute(DownloadGame(id=id))
        assert caught.value.code == "not_found"
        assert "download.begin" not in events.types()
        assert snapshot(scene.folder) == before
    await scene.still_well()


async def test_a_remote_game_is_the_local_one_of_the_same_folded_name(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """It does not become a second folder, nor does an older version replace what is here."""
    game = Game.of("FROMVICTIM", "0.9", {"data.eti": b"old", "version.ini": b"0.9\n"}, BLOCK)
    async with open_virtual_node(scene.machine(), [game]) as node:
        await node.dial(address_of(scene.victim))
        await trio.sleep(2)
        before = snapshot(scene.games)
        events = Events(scene.victim)
        await begin(scene.victim, "fromVICTIM")
        end = await events.wait_for(*END)
        assert (end.type, end.data["bytes_fetched"]) == ("download.finished", 0)
        assert snapshot(scene.games) == before
    await scene.still_well()
