"""Manifests that may not be written to a disk: refused whole, and nothing at all is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from trio.testing import MockClock

from lanspread import limits
from tests.hostile.support import (
    BLOCK,
    Scene,
    address_of,
    attempt,
    closed,
    offer,
    open_virtual_node,
    snapshot,
)
from tests.peers.support import listed, until
from tests.protocol.wire import Game

GOOD: Mapping[str, bytes] = {"data.eti": b"a" * 50_000, "version.ini": b"1.0\n"}


async def refused(scene: Scene, games: Sequence[Game]) -> list[tuple[str, str]]:
    """Offer and fetch them; (code of the failure, why the source was dropped) of each.

    Nothing below the whole temporary tree may have changed by it.
    """
    found = []
    async with open_virtual_node(scene.machine(), games) as node:
        session = await node.dial(address_of(scene.victim))
        await until(lambda: all(listed(scene.victim, game.id) for game in games))
        before = snapshot(scene.folder)
        for game in games:
            seen = await attempt(scene.victim, game.id)
            assert seen.last.type == "download.failed", game.rows[:3]
            dropped = seen.events.of("source.dropped")
            assert [event.data["peer_id"] for event in dropped] == [node.peer_id]
            assert snapshot(scene.folder) == before, game.rows[:3]
            # What it offers is refused; the session goes on.
            assert session.link.closed is None
            found.append((str(seen.last.data["code"]), str(dropped[0].data["reason"])))
    return found


UNSAFE = [
    "../x",
    "a/../../x",
    "a/..",
    "..",
    ".",
    "./a",
    "",
    "a//b",
    "a/",
    "/abs",
    "//host/share/x",
    "C:\\x",
    "C:x",
    "c:/x",
    "\\\\host\\share\\x",
    "..\\x",
    "file:stream",
    "local",
    "local/save",
    "LOCAL/save",
    "lo\u00adcal/save",
    "\uff4cocal~1/save\u2028",
    "LOCAL~1/save",
    ".local.backup/x",
    ".local.installing/x",
    ".lanspread.json",
    ".LANSPREAD.JSON",
    ".lanspread/download.json",
    ".lan\u200bspread/plan.json",
    "LANSPR~1.JSO",
    ".version.ini.tmp",
    ".version.ini.discarded",
    "version.ini/x",
    "Version.ini",
    "NUL",
    "nul.txt",
    "sub/CON",
    "aux .txt",
    "com1",
    "LPT\u00b9.log",
    "trailing.",
    "trailing ",
    "sub./x",
    "control\x1b[2J",
    "new\nline",
    "nul\x00byte",
    "\u0085",
    "Thumbs.db",
    "sub/desktop.ini",
    "._resource",
    "x" * 241,
    "/".join("d" * 65),
    "/".join(["d" * 100] * 11),
    "x" * 10_000,
]
MEETING = [
    ("Data", "data"),
    ("a", "a/b"),
    ("A/x", "a/y"),
    ("stra\u00dfe", "STRASSE"),
    ("caf\u00e9", "cafe\u0301"),
    ("so\u00adft", "soft"),
]


async def test_unsafe_paths(autojump_clock: MockClock, scene: Scene) -> None:
    games = [
        Game.of(f"Evil{number}", "1.0", {**GOOD, **dict.fromkeys(paths, b"owned")}, BLOCK)
        for number, paths in enumerate([*((path,) for path in UNSAFE), *MEETING])
    ]
    for code, reason in await refused(scene, games):
        assert code == "unsafe_path"
        assert reason.isprintable()
        assert len(reason) < 500
    await scene.still_well()


def _rows(*rows: list[Any], **listed: object) -> Game:
    """A game whose manifest is exactly these rows, with the hash that they have."""
    game = Game.of("Evil", "1.0", GOOD, BLOCK)
    game.rows = list(rows)
    game.listed = dict(listed)
    return game


SENTINEL: list[Any] = ["version.ini", 4, None]


async def test_sizes_and_order(autojump_clock: MockClock, scene: Scene) -> None:
    unsafe = [
        _rows(["b", 1, None], ["a", 1, None], SENTINEL),
        _rows(["a", 1, None], ["a", 1, None], SENTINEL),
        _rows(["a", -1, None], SENTINEL),
        _rows(["a", 2**60, None], SENTINEL),
        _rows(["a", 2**64 - 1, None], SENTINEL),
        _rows(["a", 2**50, None], ["b", 2**50, None], SENTINEL),
        _rows(["version.ini", 2 * 1024 * 1024, None]),
    ]
    # So many bytes are more blocks of 16 KiB than a game may have.
    too_large = [_rows(["a", 2**50 - 4, None], SENTINEL), _rows(["a", 2**40, None], SENTINEL)]
    games = [*unsafe, *too_large]
    for number, game in enumerate(games):
        game.id, game.announced = f"Evil{number}", {"size": 4}
    codes = [code for code, _ in await refused(scene, games)]
    assert codes == ["unsafe_path"] * len(unsafe) + ["manifest_too_large"] * len(too_large)
    await scene.still_well()


async def test_more_rows_than_memory_may_take(
    autojump_clock: MockClock, scene: Scene, soak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths without end, honestly hashed: refused before the last page is asked for."""
    rows = 80_000
    if not soak:
        monkeypatch.setattr(limits, "MAX_MANIFEST_BYTES", 2 * limits.MIB)
        rows = 4_000
    game = Game.of("Evil", "1.0", GOOD, BLOCK)
    wide = "x" * 200
    game.rows = [[f"{number:06}/{wide}/{wide}/{wide}/{wide}", 0, None] for number in range(rows)]
    game.rows.append(SENTINEL)
    game.rows_per_page = 800
    game.announced = {"size": 4}
    assert [code for code, _ in await refused(scene, [game])] == ["manifest_too_large"]
    await scene.still_well()


async def test_250_001_files(autojump_clock: MockClock, scene: Scene) -> None:
    """The number itself breaks the message: that ends the session."""
    game = Game.of("Evil", "1.0", GOOD, BLOCK)
    game.listed = {"file_count": 250_001}
    async with open_virtual_node(scene.machine(), [game]) as node:
        session = await offer(scene, node, "Evil")
        before = snapshot(scene.folder)
        seen = await attempt(scene.victim, "Evil")
        assert seen.last.data["reason"] == "no_sources"
        assert await closed(session.link) == (
            0x01,
            "malformed GameManifest: file_count is out of range",
        )
        assert snapshot(scene.folder) == before
    await scene.still_well()
