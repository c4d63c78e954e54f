"""A source of a download that misbehaves, beside an honest one and alone.

Beside an honest one the download finishes with the right bytes, soon; alone nothing is ever called
downloaded. Who lied is named, who merely failed is not; nothing outside the game's folder changes.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import cbor2
import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import GetGame
from lanspread.errors import LanspreadError
from lanspread.views import GameDetail
from tests.hostile import sabotage as s
from tests.hostile.support import (
    BLOCK,
    Scene,
    closed,
    offer,
    open_virtual_node,
    snapshot,
)
from tests.peers.support import END, Events, begin, game, listed, read_game, until
from tests.protocol.independent import Node, Session
from tests.protocol.links import Pipe
from tests.protocol.wire import Game, message

FILES = {
    "data.eti": random.Random(5).randbytes(700_000),
    "many/one": b"1",
    "version.ini": b"1.0\n",
}
PROTOCOL_ERROR = 0x01


@attrs.frozen(kw_only=True)
class Case:
    """`dropped`: it is named. `reason`: its session ends with 0x01 and this reason.

    `seconds` bounds (in virtual time) how much it may hold up an honest source's download.
    `patient`: alone, it is waited for.
    """

    name: str
    sabotage: s.Sabotage
    dropped: bool = False
    reason: str | None = None
    seconds: float = 10.0
    patient: bool = False


def lies(name: str, sabotage: s.Sabotage) -> Case:
    return Case(name=name, sabotage=sabotage, dropped=True)


def breaks(name: str, sabotage: s.Sabotage, reason: str) -> Case:
    return Case(name=name, sabotage=sabotage, dropped=True, reason=reason)


def fails(name: str, sabotage: s.Sabotage, seconds: float = 10.0) -> Case:
    return Case(name=name, sabotage=sabotage, seconds=seconds)


async def _too_few_digests(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, b"".join(game.digests)[:-32]), end=True)


async def _too_many_digests(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, b"".join(game.digests) + bytes(32)), end=True)


async def _half_a_digest(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, b"".join(game.digests)[:-1]), end=True)


async def _lying_digests(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, bytes(32 * len(game.digests))), end=True)


async def _digests_of_another(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, b"", manifest_hash=bytes(32)), end=True)


async def _pages_out_of_order(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, b"", page=1), end=True)


async def _empty_page(session: Session, pipe: Pipe, game: Game) -> None:
    pipe.send(s.digests(game, b"", more=True))


async def _silence(session: Session, pipe: Pipe, game: Game) -> None:
    await trio.sleep_forever()


def _flip_first_digest(rows: list[list[object]]) -> None:
    known = rows[0][2]
    assert isinstance(known, bytes)
    rows[0][2] = bytes([known[0] ^ 1]) + known[1:]


def _shorten_digests(rows: list[list[object]]) -> None:
    known = rows[0][2]
    assert isinstance(known, bytes)
    rows[0][2] = known[:-32]


def _unsafe_row(rows: list[list[object]]) -> None:
    rows[1][0] = "../x"


def _another_size(rows: list[list[object]]) -> None:
    rows[1][1] = 2


def _no_sentinel(rows: list[list[object]]) -> None:
    del rows[-1]


SILENT_SENTINEL = message("FileData", size=4) + b"1."
WRONG_SENTINEL = message("FileData", size=4) + b"2.0\n"

MANIFEST = [
    lies("rows of another hash", s.change_rows(_another_size)),
    lies("an unsafe row under an honest hash", s.change_rows(_unsafe_row)),
    lies("version.ini left out", s.change_rows(_no_sentinel)),
    lies("a wrong digest in a row", s.change_rows(_flip_first_digest)),
    lies("too few digests in a row", s.change_rows(_shorten_digests)),
    lies("block size 0", s.change(block_size=0)),
    lies("block size 1", s.change(block_size=1)),
    lies("another block size", s.change(block_size=2 * BLOCK)),
    breaks(
        "a huge block size",
        s.change(block_size=2**40),
        "malformed GameManifest: block_size is out of range",
    ),
    lies("another number of files", s.change(file_count=7)),
    lies("another manifest_hash", s.change(manifest_hash=bytes(32))),
    fails("another version", s.change(eti_version="6.66")),
    breaks("no manifest at all", s.on_first("GetGame"), "the answer ended before it was complete"),
    breaks(
        "an answer of another type",
        s.on_first("GetGame", message("Pong")),
        "asked for GameManifest, answered with Pong",
    ),
    breaks(
        "an answer of an unknown type",
        s.on_first("GetGame", message("Gibberish")),
        "asked for GameManifest, answered with Gibberish",
    ),
    breaks(
        "NotModified although nothing is known",
        s.on_first("GetGame", message("NotModified")),
        "asked for GameManifest, answered with NotModified",
    ),
    fails("NotFound", s.on_first("GetGame", message("Error", code="NotFound", message=""))),
    fails("an unknown error", s.on_first("GetGame", message("Error", code="?", message="\x1b[2J"))),
    fails("silence instead of a manifest", s.on_first("GetGame", end=False)),
    fails("half a frame, then silence", s.on_first("GetGame", b"\0\0", end=False)),
    breaks(
        "pages that hold nothing and never end",
        s.never_ending_pages,
        "an empty page that is not the last",
    ),
    lies("too few digests", s.without_digests(_too_few_digests)),
    lies("half a digest", s.without_digests(_half_a_digest)),
    lies("lying digests", s.without_digests(_lying_digests)),
    breaks(
        "too many digests",
        s.without_digests(_too_many_digests),
        "more digests than there are blocks",
    ),
    breaks(
        "digests of another manifest",
        s.without_digests(_digests_of_another),
        "digests of another manifest",
    ),
    breaks(
        "digest pages out of order",
        s.without_digests(_pages_out_of_order),
        "a page came out of order",
    ),
    breaks(
        "an empty page of digests",
        s.without_digests(_empty_page),
        "an empty page that is not the last",
    ),
    # To compute digests takes minutes, so nobody can say when silence is a failure.
    Case(name="silence instead of digests", sabotage=s.without_digests(_silence), patient=True),
    fails("silent version.ini", s.on_first("GetGameFileData", SILENT_SENTINEL, end=False)),
    lies("a wrong version.ini", s.on_first("GetGameFileData", WRONG_SENTINEL)),
]
BYTES = [
    lies("a flipped byte", s.on_bytes(s.flip)),
    lies("another game's bytes", s.serve_another),
    breaks("too few bytes", s.on_bytes(s.too_few), "an answer that ends early"),
    breaks("too many bytes", s.on_bytes(s.too_many), "an answer that goes on behind its end"),
    breaks("endless bytes", s.on_bytes(s.endless), "an answer that goes on behind its end"),
    breaks(
        "a header of another size",
        s.on_bytes(s.larger_header),
        "an answer of another length than asked for",
    ),
    breaks(
        "a header of another kind",
        s.on_bytes(s.header_of_another_kind),
        "asked for ChunkData, answered with FileData",
    ),
    fails("silence in the middle", s.on_bytes(s.silent_in_the_middle)),
    fails("silence from the start", s.on_bytes(s.silent_from_the_start)),
    fails("all bytes and no end", s.on_bytes(s.without_an_end)),
    fails("a byte a second", s.on_bytes(s.trickle)),
    fails("the first byte withheld", s.on_bytes(s.first_byte_withheld)),
    fails("reset: cancelled", s.on_bytes(s.reset_with(0x20))),
    fails("reset: changed", s.on_bytes(s.reset_with(0x21))),
    fails("reset: busy", s.on_bytes(s.reset_with(0x22))),
    fails("reset: unknown code", s.on_bytes(s.reset_with(2**60))),
    fails("Busy", s.on_bytes(s.error("Busy"))),
    fails("Changed", s.on_bytes(s.error("Changed"))),
    fails("vanishes", s.on_bytes(s.vanish)),
    fails("hangs up", s.on_bytes(s.hang_up)),
]


def prize() -> Game:
    return Game.of("Prize", "1.0", FILES, BLOCK)


@asynccontextmanager
async def open_liar(
    scene: Scene, case: Case, **announced: object
) -> AsyncIterator[tuple[Node, Session]]:
    """A source of an honest-looking game that misbehaves once it is asked."""
    lying = prize()
    async with open_virtual_node(scene.machine(), [lying]) as node:
        summary = cbor2.loads(lying.summary())
        case.sabotage(node, lying)
        # Whatever is served, what is announced is the very game that others have.
        lying.announced = summary | announced
        yield node, await offer(scene, node, "Prize")


async def check_end(case: Case, node: Node, session: Session, events: Events) -> None:
    dropped = {str(event.data["peer_id"]) for event in events.of("source.dropped")}
    assert dropped == ({node.peer_id} if case.dropped else set())
    if case.reason is not None:
        assert await closed(session.link) == (PROTOCOL_ERROR, case.reason)
    elif case.dropped:
        assert session.link.closed is None


@pytest.mark.parametrize("case", MANIFEST + BYTES, ids=lambda case: case.name)
async def test_beside_an_honest_source(autojump_clock: MockClock, scene: Scene, case: Case) -> None:
    # The liar is the first that is asked.
    async with (
        open_liar(scene, case) as (node, session),
        open_virtual_node(scene.machine(), [prize()]) as honest,
    ):
        await offer(scene, honest, "Prize")
        await until(lambda: len(game(scene.victim, "Prize").peers) == 2)
        before = snapshot(scene.folder / "victim/games")
        events = Events(scene.victim)
        await begin(scene.victim, "Prize")
        end = await events.wait_for(*END, within=case.seconds)
        assert end.type == "download.finished"
        assert read_game(scene.folder / "victim", "Prize") == FILES
        await check_end(case, node, session, events)
        assert snapshot(scene.games, without=scene.games / "Prize") == before
    await scene.still_well()


@pytest.mark.parametrize("case", MANIFEST, ids=lambda case: case.name)
async def test_one_that_joins_without_a_content_hash(
    autojump_clock: MockClock, scene: Scene, case: Case
) -> None:
    """What it says of the game is checked when it joins, and fails nobody's download."""
    async with (
        open_liar(scene, case, content_hash=None) as (node, _),
        open_virtual_node(scene.machine(), [prize()]) as honest,
    ):
        await offer(scene, honest, "Prize")
        await until(lambda: len(game(scene.victim, "Prize").peers) == 2)
        events = Events(scene.victim)
        await begin(scene.victim, "Prize")
        end = await events.wait_for(*END, within=10)
        assert end.type == "download.finished"
        assert read_game(scene.folder / "victim", "Prize") == FILES
        dropped = {str(event.data["peer_id"]) for event in events.of("source.dropped")}
        assert dropped <= {node.peer_id}
    await scene.still_well()


@pytest.mark.parametrize("case", MANIFEST, ids=lambda case: case.name)
async def test_asking_for_the_files_of_a_false_manifest(
    autojump_clock: MockClock, scene: Scene, case: Case
) -> None:
    """An answer or a clear error, in time, and no path that must not be."""
    async with open_liar(scene, case):
        before = snapshot(scene.folder)
        code, found = "", None
        with trio.fail_after(30):
            try:
                found = await scene.victim.execute(GetGame(id="Prize"))
            except LanspreadError as error:
                code = error.code
        assert code in ("", "unsafe_path", "manifest_too_large", "not_available")
        if not code:
            assert isinstance(found, GameDetail)
            assert {entry.path for entry in found.files} <= set(FILES)
        assert snapshot(scene.folder) == before
    await scene.still_well()


@pytest.mark.parametrize("case", MANIFEST, ids=lambda case: case.name)
async def test_a_false_reference_alone_writes_nothing(
    autojump_clock: MockClock, scene: Scene, case: Case
) -> None:
    async with open_liar(scene, case) as (node, session):
        before = snapshot(scene.folder)
        events = Events(scene.victim)
        await begin(scene.victim, "Prize")
        with trio.move_on_after(100) as scope:
            end = await events.wait_for(*END, "download.paused")
            assert end.type in ("download.failed", "download.paused")
        assert scope.cancelled_caught == case.patient
        await check_end(case, node, session, events)
        assert snapshot(scene.folder) == before
    await scene.still_well()


@pytest.mark.parametrize("case", BYTES, ids=lambda case: case.name)
async def test_false_bytes_alone_complete_nothing(
    autojump_clock: MockClock, scene: Scene, case: Case
) -> None:
    async with open_liar(scene, case) as (node, session):
        before = snapshot(scene.folder / "victim/games")
        events = Events(scene.victim)
        await begin(scene.victim, "Prize")
        with pytest.raises(trio.TooSlowError):
            await events.wait_for(*END, within=15)
        await check_end(case, node, session, events)
        assert not (scene.games / "Prize/version.ini").exists()
        assert snapshot(scene.games, without=scene.games / "Prize") == before
    await scene.still_well()


@pytest.mark.parametrize("serves_another", [True, False])
async def test_not_modified_proves_nothing(
    autojump_clock: MockClock, scene: Scene, serves_another: bool
) -> None:
    """It brings back what was verified under the announced hashes, and blocks are held to that."""
    async with open_virtual_node(scene.machine(), [prize()]) as honest:
        await offer(scene, honest, "Prize")
        await scene.victim.execute(GetGame(id="Prize"))
    await until(lambda: not listed(scene.victim, "Prize"))
    lying = prize()
    announced = cbor2.loads(lying.summary())
    async with open_virtual_node(scene.machine(), [lying]) as liar:
        if serves_another:
            s.serve_another(liar, lying)
        lying.announced = {**announced, "eti_version": "1.0" if serves_another else "6.66"}
        s.on_first("GetGame", message("NotModified"))(liar, lying)
        await offer(scene, liar, "Prize")
        detail = await scene.victim.execute(GetGame(id="Prize"))
        assert isinstance(detail, GameDetail)
        assert {entry.path for entry in detail.files} == set(FILES)
        events = Events(scene.victim)
        await begin(scene.victim, "Prize")
        await events.wait_for("source.dropped" if serves_another else "download.failed", within=30)
        assert not events.of("download.finished")
        assert not (scene.games / "Prize/version.ini").exists()
    await scene.still_well()
