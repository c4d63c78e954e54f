"""Requests that ask for what is not theirs, too much, or never take the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from tests.hostile.support import (
    HONEST_FILES,
    Scene,
    address_of,
    closed,
    open_virtual_node,
    snapshot,
)
from tests.peers.support import fetch, forbid_dialing, read_game, write_game
from tests.protocol.independent import Node, Session
from tests.protocol.links import Pipe, PipeReset, Refused
from tests.protocol.wire import encode, frame, message

PROTOCOL = 0x01
GAME = "FromVictim"
HASH = bytes(32)


async def greet(scene: Scene, node: Node) -> tuple[Session, bytes]:
    """A session, and the manifest_hash of the victim's game."""
    session = await node.dial(address_of(scene.victim))
    summary = (await session.library())[GAME]
    return session, summary["manifest_hash"]


HIDDEN = {
    "local/save.dat": b"mine",
    ".lanspread.json": b"{}",
    ".lanspread/download.json": b"not ours",
    ".local.backup/save.dat": b"mine",
    ".version.ini.tmp": b"x",
    "Thumbs.db": b"x",
}
PATHS = [
    *HIDDEN,
    "../FromVictim/data.eti",
    "../../state/key.pem",
    "../../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "..\\..\\state\\key.pem",
    "C:\\Windows\\win.ini",
    "file:///etc/passwd",
    "./data.eti",
    "sub/../data.eti",
    "sub//file.bin",
    "DATA.ETI",
    "data.eti/",
    "data.eti\x00.txt",
    "sub",
    "",
    ".",
    "local",
    "link.txt",
    "folder-link/passwd",
    "\u202edata.eti",
    "x" * 1_024,
]


async def test_files_that_are_not_served(autojump_clock: MockClock, scene: Scene) -> None:
    write_game(scene.folder / "victim", GAME, HIDDEN)
    (scene.games / GAME / "link.txt").symlink_to("/etc/passwd")
    (scene.games / GAME / "folder-link").symlink_to("/etc")
    before = snapshot(scene.games / GAME)
    async with open_virtual_node(scene.machine()) as node:
        session, manifest_hash = await greet(scene, node)
        for path in PATHS:
            asked = session.ask("GetGameFileData", id=GAME, path=path, manifest_hash=manifest_hash)
            with pytest.raises(Refused, match="NotFound"):
                await asked.answer("FileData")
        data = await session.whole_file(GAME, manifest_hash, "version.ini")
        assert data == HONEST_FILES["version.ini"]
        _, rows = await session.manifest(GAME)
        assert {row[0] for row in rows} == set(HONEST_FILES)
    assert snapshot(scene.games / GAME) == before
    await scene.still_well()


async def test_ids_that_are_no_game(autojump_clock: MockClock, scene: Scene) -> None:
    ids = [
        "",
        ".",
        "..",
        "../games/FromVictim",
        "/etc",
        "state",
        ".lanspread",
        "CON",
        "\x00",
        "\x1b",
    ]
    async with open_virtual_node(scene.machine()) as node:
        session, manifest_hash = await greet(scene, node)
        for id in ids:
            for type, fields in _requests(id, manifest_hash).items():
                with pytest.raises(Refused, match="NotFound"):
                    await session.ask(type, **fields).answer("Nothing")
        for type, fields in _requests(GAME, HASH).items():
            if type != "GetGame":
                with pytest.raises(Refused, match="Changed"):
                    await session.ask(type, **fields).answer("Nothing")
    await scene.still_well()


def _requests(id: str, manifest_hash: bytes) -> dict[str, dict[str, Any]]:
    known = {"id": id, "manifest_hash": manifest_hash}
    return {
        "GetGame": {"id": id, "known_manifest_hash": None, "known_content_hash": None},
        "GetBlockDigests": known,
        "GetGameFileData": {**known, "path": "version.ini"},
        "GetGameFileChunk": {**known, "extents": [[0, 0, 1]]},
    }


SIZE = len(HONEST_FILES["data.eti"])
NUMBER = "malformed GetGameFileChunk: file number out of range"
OVERLAP = "malformed GetGameFileChunk: extents overlap or do not ascend"
BEYOND = "an extent beyond the end of its file"
EXTENTS: Mapping[str, tuple[object, str]] = {
    "none": ([], "malformed GetGameFileChunk: wrong number of extents"),
    "1,025": (
        [[0, n, 1] for n in range(1_025)],
        "malformed GetGameFileChunk: wrong number of extents",
    ),
    "a file that is not there": ([[3, 0, 1]], BEYOND),
    "file -1": ([[-1, 0, 1]], NUMBER),
    "file 2^32": ([[2**32, 0, 1]], NUMBER),
    "beyond the end": ([[0, SIZE, 1]], BEYOND),
    "across the end": ([[0, SIZE - 1, 2]], BEYOND),
    "offset -1": ([[0, -1, 1]], "malformed GetGameFileChunk: offset out of range"),
    "offset 2^60": ([[0, 2**60, 1]], "malformed GetGameFileChunk: offset out of range"),
    "offset 2^50": ([[0, 2**50, 1]], BEYOND),
    "empty": ([[0, 0, 0]], "malformed GetGameFileChunk: an empty extent"),
    "length -1": ([[0, 5, -1]], "malformed GetGameFileChunk: an empty extent"),
    "overlapping": ([[0, 0, 10], [0, 9, 10]], OVERLAP),
    "the same twice": ([[0, 0, 10], [0, 0, 10]], OVERLAP),
    "descending": ([[1, 0, 10], [0, 0, 10]], OVERLAP),
    "8 MiB and a byte": ([[0, 0, 2**23 + 1]], "malformed GetGameFileChunk: the chunk is too large"),
    "2^62 bytes": ([[0, 0, 2**62]], "malformed GetGameFileChunk: the chunk is too large"),
    "pairs": ([[0, 1]], "malformed GetGameFileChunk: expected an extent of three numbers"),
    "floats": ([[0, 0.0, 1]], "malformed GetGameFileChunk: expected an extent of three numbers"),
    "a map": ({}, "malformed GetGameFileChunk: expected an array of extents"),
}


@pytest.mark.parametrize("name", EXTENTS)
async def test_extents_that_break_a_rule(
    autojump_clock: MockClock, scene: Scene, name: str
) -> None:
    extents, reason = EXTENTS[name]
    async with open_virtual_node(scene.machine()) as node:
        session, manifest_hash = await greet(scene, node)
        session.ask("GetGameFileChunk", id=GAME, manifest_hash=manifest_hash, extents=extents)
        assert await closed(session.link) == (PROTOCOL, reason)
    await scene.still_well()


async def test_digests_asked_for_in_parallel(autojump_clock: MockClock, scene: Scene) -> None:
    """One game per session at a time; the others hear Busy, and one answer is right."""
    async with open_virtual_node(scene.machine()) as node:
        session, manifest_hash = await greet(scene, node)
        asked = [
            session.ask("GetBlockDigests", id=GAME, manifest_hash=manifest_hash) for _ in range(60)
        ]
        codes = []
        for pipe in asked:
            try:
                await pipe.answer("BlockDigests")
                codes.append("")
            except Refused as refused:
                codes.append(refused.code)
        assert set(codes) <= {"", "Busy"}
        assert "" in codes
    await scene.still_well()


PAGES: Mapping[str, tuple[bytes, str]] = {
    "a page that is not the next": (
        message("NextPage", page=2),
        "asked for another page than the next one",
    ),
    "the first page again": (
        message("NextPage", page=0),
        "asked for another page than the next one",
    ),
    "another request": (message("ListGames"), "asked for another page than the next one"),
    "gibberish": (frame(b"\xff"), "malformed CBOR"),
}


def many_games(scene: Scene, count: int) -> None:
    for number in range(count):
        folder = scene.games / f"{number:04}{'x' * 55}"
        folder.mkdir()
        (folder / "version.ini").write_bytes(b"1.0\n")


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 100)


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_that_is_asked_for_wrongly(
    autojump_clock: MockClock, scene: Scene, small_pages: None, name: str
) -> None:
    data, reason = PAGES[name]
    async with open_virtual_node(scene.machine()) as node:
        session, _ = await greet(scene, node)
        pipe = session.ask(
            "GetGame", end=False, id=GAME, known_manifest_hash=None, known_content_hash=None
        )
        assert (await pipe.answer("GameManifest"))["more"]
        pipe.send(data)
        code, seen = await closed(session.link)
        assert code == PROTOCOL
        assert seen.startswith(reason)
    await scene.still_well()


async def test_pages_that_are_not_asked_for(
    autojump_clock: MockClock, scene: Scene, small_pages: None
) -> None:
    """Given up after 30 s, each of them; the session goes on."""
    async with open_virtual_node(scene.machine()) as node:
        session, _ = await greet(scene, node)
        fields = {"id": GAME, "known_manifest_hash": None, "known_content_hash": None}
        pipes = [session.ask("GetGame", end=False, **fields) for _ in range(12)]
        began = trio.current_time()
        for pipe in pipes:
            assert (await pipe.answer("GameManifest"))["more"]
            with trio.fail_after(70), pytest.raises(PipeReset) as caught:
                await pipe.message()
            assert caught.value.code == 0x20
            pipe.reset()
        # Eight at a time.
        assert 59 < trio.current_time() - began < 65
        pipe = session.ask("GetGame", end=True, **fields)
        await pipe.answer("GameManifest")
        assert await pipe.message() is None
    await scene.still_well()


async def test_bytes_that_are_asked_for_and_never_taken(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """The honest are served all the while, and what waits is given up and bounded."""
    big = {"big.eti": bytes(8_000_000), "version.ini": b"1.0\n"}
    write_game(scene.folder / "victim", "Big", big)
    scene.victim.library.request_walk("Big")
    async with open_virtual_node(scene.machine()) as node:
        await trio.sleep(5)
        session = await node.dial(address_of(scene.victim))
        manifest_hash = (await session.library())["Big"]["manifest_hash"]
        session.link.freeze_credit()
        # Not even pings have room, so it would be found where it listens, and greeted anew.
        forbid_dialing(scene.victim)
        pipes: list[Pipe] = []
        for _ in range(100):
            pipes.append(
                session.ask(
                    "GetGameFileChunk",
                    id="Big",
                    manifest_hash=manifest_hash,
                    extents=[[0, 0, 8_000_000]],
                )
            )
        assert (await fetch(scene.bystander, "Big", within=20)).type == "download.finished"
        assert read_game(scene.folder / "bystander", "Big") == big
        await trio.sleep(40)
        assert session.link.closed is None
        # Whatever waits for this peer is within the share of one connection.
        connection = scene.victim.sessions.get(node.peer_id).connection  # type: ignore[union-attr]
        assert connection.statistics().queued_bytes <= limits.MAX_CONNECTION_QUEUE_BYTES
        session.control.send(message("Ping"))
        await trio.sleep(1)
        assert session.link.closed is None
    await scene.still_well()


async def test_a_request_with_more_behind_it(autojump_clock: MockClock, scene: Scene) -> None:
    """Frames behind a request that has one answer are ignored, and so are endless bytes."""
    async with open_virtual_node(scene.machine()) as node:
        session, manifest_hash = await greet(scene, node)
        pipe = session.ask(
            "GetGameFileData", end=False, id=GAME, path="version.ini", manifest_hash=manifest_hash
        )
        pipe.send(frame(encode({"type": "Ping"})) + bytes(2_000_000))
        assert (await pipe.answer("FileData"))["size"] == 4
        assert await pipe.exactly(4) == b"1.0\n"
        await session.library()
    await scene.still_well()


async def test_requests_that_are_dropped_at_once(
    autojump_clock: MockClock, scene: Scene, soak: bool
) -> None:
    async with open_virtual_node(scene.machine()) as node:
        session, manifest_hash = await greet(scene, node)
        for _ in range(2_000 if soak else 200):
            pipe = session.ask(
                "GetGameFileChunk",
                end=False,
                id=GAME,
                manifest_hash=manifest_hash,
                extents=[[0, 0, SIZE]],
            )
            pipe.stop()
            pipe.reset()
            await trio.sleep(0.002)
        await session.library()
        connection = scene.victim.sessions.get(node.peer_id).connection  # type: ignore[union-attr]
        assert connection.statistics().streams < 5
    await scene.still_well()
