"""Our peer and one that was written from docs/protocol.md alone, over real sockets on loopback."""

from __future__ import annotations

import ast
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import cbor2
import pytest
import trio

from lanspread.commands import DownloadGame, GetGame
from lanspread.config import Config
from lanspread.peer import Peer, open_peer
from lanspread.platform import real_seams
from lanspread.seams import Address
from lanspread.views import GameDetail
from tests.protocol import wire
from tests.protocol.independent import Node, Session, open_node, serve_game, serve_library
from tests.protocol.links import CHANGED, LinkClosed, Pipe, Refused
from tests.protocol.wire import Game, message

BLOCK = 4_096
FILES: Mapping[str, bytes] = {
    "data.eti": random.Random(1).randbytes(5 * BLOCK + 17),
    "exact.eti": random.Random(2).randbytes(2 * BLOCK),
    "empty": b"",
    "deep/folder/of its own/ünïcode 日本.txt": b"hello",
    "many/one": b"1",
    "many/two": b"22",
    "version.ini": b"1.0\r\nsecond line\n",
}
# Long ago, so that nothing counts as just changed.
PAST = 1_600_000_000


def write_game(folder: Path, game_id: str) -> None:
    for path, data in FILES.items():
        file = folder / "games" / game_id / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (PAST, PAST))


def read_game(folder: Path, game_id: str) -> dict[str, bytes]:
    game = folder / "games" / game_id
    return {
        str(file.relative_to(game)): file.read_bytes()
        for file in game.rglob("*")
        if file.is_file() and not file.relative_to(game).parts[0].startswith(".")
    }


@asynccontextmanager
async def open_ours(folder: Path, *peers: tuple[str, int]) -> AsyncIterator[Peer]:
    for name in ("games", "state"):
        (folder / name).mkdir(exist_ok=True)
    config = Config(
        games=str(folder / "games"),
        state=str(folder / "state"),
        name="ours",
        listen=(Address("127.0.0.1", 0),),
        peers=tuple(f"{host}:{port}" for host, port in peers),
        mdns=False,
        block_bytes=BLOCK,
    )
    async with open_peer(config, real_seams(config)) as peer:
        yield peer


def port_of(peer: Peer) -> tuple[str, int]:
    host, _, port = peer.listen[0].rpartition(":")
    return host, int(port)


async def until_listed(session: Session, game_id: str) -> wire.Message:
    """The summary of a game, once its content is known."""
    with trio.fail_after(30):
        while True:
            found = (await session.library()).get(game_id)
            if found is not None and found["content_hash"] is not None:
                return found
            await trio.sleep(0.05)


async def download(peer: Peer, game_id: str, sources: int = 1) -> tuple[str, list[str]]:
    """Fetch a game once so many offer it; (type of the last event, who was dropped)."""
    subscription = peer.events.subscribe(None)
    dropped = []
    with trio.fail_after(30):
        while not any(len(game.peers) == sources for game in peer.games() if game.id == game_id):
            await trio.sleep(0.05)
        await peer.execute(DownloadGame(id=game_id))
        while True:
            for event in await subscription.next_batch():
                if event.type == "source.dropped":
                    dropped.append(str(event.data["peer_id"]))
                elif event.type in ("download.finished", "download.failed", "download.cancelled"):
                    return event.type, dropped


# -- the independent peer keeps to itself ---------------------------------------------------------


def test_it_imports_nothing_of_ours() -> None:
    allowed = {"aioquic", "cbor2", "blake3", "cryptography", "trio", "tests"} | set(
        sys.stdlib_module_names
    )
    for name in ("wire", "links", "independent", "lanes"):
        tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            for module in names:
                assert module.split(".")[0] in allowed
                assert not module.startswith("tests.") or module.startswith("tests.protocol")


# -- a whole game, both ways ----------------------------------------------------------------------


async def test_it_fetches_a_whole_game_from_ours(tmp_path: Path) -> None:
    write_game(tmp_path, "Quake")
    async with open_ours(tmp_path) as ours, open_node() as node:
        session = await node.dial(port_of(ours))
        assert session.peer_id == ours.peer_id
        summary = await until_listed(session, "Quake")
        assert summary["size"] == sum(map(len, FILES.values()))
        game = Game.of("Quake", "1.0", FILES, BLOCK)
        assert (summary["manifest_hash"], summary["content_hash"]) == (
            game.manifest_hash,
            game.content_hash,
        )
        assert await session.fetch_game("qUAKE") == FILES
        offered = [cbor2.loads(data) for page in await session.pages("GameList", "ListGames")
                   for data in page["games"]]  # fmt: skip
        assert [found["id"] for found in offered] == ["Quake"]


async def test_ours_dials_and_is_asked_on_the_same_connection(tmp_path: Path) -> None:
    write_game(tmp_path, "Quake")
    async with open_node() as node, open_ours(tmp_path, node.address) as ours:
        with trio.fail_after(10):
            session = await node.sessions.receive()
        assert session.peer_id == ours.peer_id
        await until_listed(session, "Quake")
        assert await session.fetch_game("Quake") == FILES


@pytest.mark.parametrize("rows_per_page", [1_000, 2])
async def test_ours_fetches_a_whole_game_from_it(tmp_path: Path, rows_per_page: int) -> None:
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    game.rows_per_page = rows_per_page
    async with open_node([game]) as node, open_ours(tmp_path, node.address) as ours:
        assert await download(ours, "Quake") == ("download.finished", [])
    assert read_game(tmp_path, "Quake") == FILES


async def test_ours_asks_for_digests_that_the_manifest_leaves_out(tmp_path: Path) -> None:
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    game.rows = [[path, size, None] for path, size, _ in game.rows]
    game.digests_per_page = 3
    async with open_node([game]) as node, open_ours(tmp_path) as ours:
        await node.dial(port_of(ours))
        assert await download(ours, "Quake") == ("download.finished", [])
    assert read_game(tmp_path, "Quake") == FILES


async def test_ours_hears_of_a_game_that_comes_later(tmp_path: Path) -> None:
    async with open_node() as node, open_ours(tmp_path) as ours:
        session = await node.dial(port_of(ours))
        node.library.games["Quake"] = Game.of("Quake", "1.0", FILES, BLOCK)
        node.library.rev += 1
        session.announce()
        assert await download(ours, "Quake") == ("download.finished", [])
        with trio.fail_after(10):
            # Our new game is announced: all else of it is known by then.
            while not any(heard.get("added") or heard.get("updated") for heard in session.heard):
                await trio.sleep(0.05)
    assert read_game(tmp_path, "Quake") == FILES


# -- what the page says besides -------------------------------------------------------------------


async def test_answers_that_the_page_promises(tmp_path: Path) -> None:
    write_game(tmp_path, "Quake")
    async with open_ours(tmp_path) as ours, open_node() as node:
        session = await node.dial(port_of(ours))
        summary = await until_listed(session, "Quake")
        hashes = summary["manifest_hash"], summary["content_hash"]
        known = session.ask(
            "GetGame", id="Quake", known_manifest_hash=hashes[0], known_content_hash=hashes[1]
        )
        assert await known.answer("NotModified") == {"type": "NotModified"}
        for error, type, fields in (
            ("Unsupported", "MakeCoffee", {"strong": True}),
            ("Unsupported", "Ping", {}),
            ("NotFound", "GetBlockDigests", {"id": "Nothing", "manifest_hash": hashes[0]}),
            ("Changed", "GetBlockDigests", {"id": "Quake", "manifest_hash": bytes(32)}),
            (
                "NotFound",
                "GetGameFileData",
                {"id": "Quake", "path": "local/save", "manifest_hash": hashes[0]},
            ),
        ):
            with pytest.raises(Refused) as caught:
                await session.ask(type, **fields).answer("anything else")
            assert caught.value.code == error, type
        # Unknown control messages and fields are ignored, and the session goes on.
        session.control.send(message("Rumour", about=[1, 2]) + message("Ping", loud=True))
        assert await session.whole_file("Quake", hashes[0], "empty") == b""


async def test_an_asker_that_stops_early_keeps_its_session(tmp_path: Path) -> None:
    write_game(tmp_path, "Quake")
    async with open_ours(tmp_path) as ours, open_node() as node:
        session = await node.dial(port_of(ours))
        manifest_hash = (await until_listed(session, "Quake"))["manifest_hash"]
        pipe = session.ask(
            "GetGameFileChunk", id="Quake", manifest_hash=manifest_hash, extents=[[0, 0, BLOCK]]
        )
        pipe.stop()
        pipe.reset()
        assert await session.fetch_game("Quake") == FILES


async def until_view(session: Session, *ids: str) -> None:
    with trio.fail_after(30):
        while set(session.view.games) != set(ids):
            await trio.sleep(0.02)


async def test_it_follows_ours_by_deltas(tmp_path: Path) -> None:
    """Announced ones, and the answer to a position; by a snapshot before it has anything."""
    write_game(tmp_path, "Quake")
    async with open_ours(tmp_path) as ours, open_node() as node:
        session = await node.dial(port_of(ours))
        await until_listed(session, "Quake")
        await session.follow()
        write_game(tmp_path, "Doom")
        ours.library.request_walk("Doom")
        await until_view(session, "Quake", "Doom")
        shutil.rmtree(tmp_path / "games/Quake")
        ours.library.request_walk("Quake")
        await until_view(session, "Doom")
        assert session.applied[0] == "snapshot"
        assert set(session.applied[1:]) == {"delta"}
        before = state_of(session)
        again = await node.dial(port_of(ours))
        again.view = session.view
        await again.follow()
        assert again.applied == ["delta"]
        assert state_of(again) == before


def state_of(session: Session) -> tuple[bytes, int, dict[str, bytes]]:
    view = session.view
    return view.epoch, view.rev, dict(view.games)


@pytest.mark.parametrize("announced", [True, False])
async def test_ours_follows_it_by_deltas(tmp_path: Path, announced: bool) -> None:
    """It sends what changed, or says only where it stands and answers what changed since."""
    asked: list[object] = []

    async def answer(session: Session, pipe: Pipe, request: wire.Message) -> None:
        asked.append(request["since"])
        await serve_library(session, pipe, request)

    games = {name: Game.of(name, "1.0", FILES, BLOCK) for name in ("Quake", "Doom", "Hexen")}
    async with open_node([games["Doom"]]) as node, open_ours(tmp_path) as ours:
        node.handlers["GetLibrary"] = answer
        session = await node.dial(port_of(ours))
        await until_shown(ours, "Doom")
        assert asked == [None]
        for name in ("Quake", "Hexen"):
            await trio.sleep(0.15)
            del node.library.games[next(iter(node.library.games))]
            node.library.games[name] = games[name]
            before = {"epoch": node.library.epoch, "rev": node.library.rev}
            node.library.rev += 1
            session.announce(by_delta=announced)
            await until_shown(ours, name)
            assert asked[1:] == [] if announced else asked[-1] == before
        assert await download(ours, "Hexen") == ("download.finished", [])
        assert session.link.closed is None


async def until_shown(peer: Peer, *ids: str) -> None:
    with trio.fail_after(10):
        while {game.id for game in peer.games()} != set(ids):
            await trio.sleep(0.02)


async def test_it_sends_a_manifest_once(tmp_path: Path) -> None:
    """Asked again, it says that nothing has changed, and until something has that is believed."""
    asked: list[object] = []

    async def answer(session: Session, pipe: Pipe, request: wire.Message) -> None:
        asked.append(request["known_content_hash"])
        await serve_game(session, pipe, request)

    game = Game.of("Quake", "1.0", FILES, BLOCK)
    async with open_node([game]) as node, open_ours(tmp_path) as ours:
        node.handlers["GetGame"] = answer
        await node.dial(port_of(ours))
        await until_shown(ours, "Quake")
        for _ in range(2):
            detail = await ours.execute(GetGame(id="Quake"))
            assert isinstance(detail, GameDetail)
            assert {entry.path for entry in detail.files} == set(FILES)
        assert await download(ours, "Quake") == ("download.finished", [])
        assert asked == [None, game.content_hash, game.content_hash]


# -- sources that are not as they should be -------------------------------------------------------


async def test_a_source_with_a_flipped_byte_is_named(tmp_path: Path) -> None:
    good, bad = (Game.of("Quake", "1.0", FILES, BLOCK) for _ in range(2))
    for number, blob in enumerate(bad.blobs):
        if blob:
            bad.flip(number, len(blob) - 1)
    async with open_node([good]) as node, open_node([bad]) as liar, open_ours(tmp_path) as ours:
        await node.dial(port_of(ours))
        await liar.dial(port_of(ours))
        assert await download(ours, "Quake", 2) == ("download.finished", [liar.peer_id])
    assert read_game(tmp_path, "Quake") == FILES


async def test_a_game_that_changes_while_it_is_sent_is_nobodys_fault(tmp_path: Path) -> None:
    game = Game.of("Quake", "1.0", FILES, BLOCK)
    cut_short = 0

    async def serve(session: Session, pipe: Pipe, request: wire.Message) -> None:
        nonlocal cut_short
        cut_short += 1
        if cut_short > 1:
            await serve_game(session, pipe, request)
            return
        pipe.send(message("ChunkData", size=sum(extent[2] for extent in request["extents"])) + b"x")
        await trio.sleep(0.1)
        pipe.reset(CHANGED)

    async with open_node([game]) as node, open_ours(tmp_path) as ours:
        node.handlers["GetGameFileChunk"] = serve
        session = await node.dial(port_of(ours))
        assert await download(ours, "Quake") == ("download.finished", [])
        assert session.link.closed is None
    assert cut_short > 1
    assert read_game(tmp_path, "Quake") == FILES


@pytest.mark.parametrize("lies_about_its_hash", [False, True])
async def test_an_unsafe_manifest_does_not_keep_a_game_from_others(
    tmp_path: Path, lies_about_its_hash: bool
) -> None:
    good = Game.of("Quake", "1.0", FILES, BLOCK)
    evil = Game.of("Quake", "1.0", {**FILES, "../x": b"boo"}, BLOCK)
    evil.announced = {"manifest_hash": good.manifest_hash, "content_hash": good.content_hash}
    evil.listed = evil.announced if lies_about_its_hash else {}
    async with open_node([evil]) as liar, open_node([good]) as node, open_ours(tmp_path) as ours:
        await liar.dial(port_of(ours))
        await node.dial(port_of(ours))
        assert (await download(ours, "Quake", 2))[0] == "download.finished"
    assert read_game(tmp_path, "Quake") == FILES
    assert sorted(os.listdir(tmp_path)) == ["games", "state"]


# -- who is sent away -----------------------------------------------------------------------------


async def closed_with(peer: Peer, node: Node, data: bytes) -> LinkClosed:
    """What a session is closed with when `data` comes on a stream of its own."""
    session = await node.dial(port_of(peer))
    session.link.open().send(data, end=True)
    with trio.fail_after(10):
        return await session.link.wait_closed()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        wire.frame(b""),
        wire.frame(b"\xc1\x00"),
        b"\x00\x00\x00\x09short",
        message("GetGame", id="Quake", known_manifest_hash=None),
        message("GetGame", id=5, known_manifest_hash=None, known_content_hash=None),
        message("GetGameFileChunk", id="Quake", manifest_hash=bytes(32), extents=[]),
        message("GetGameFileChunk", id="Quake", manifest_hash=bytes(32), extents=[[0, 0, 9 << 20]]),
    ],
)
async def test_a_malformed_request_ends_the_session(tmp_path: Path, data: bytes) -> None:
    async with open_ours(tmp_path) as ours, open_node() as node:
        closed = await closed_with(ours, node, data)
        assert (closed.application, closed.code) == (True, 0x01)


@pytest.mark.parametrize(
    ("code", "claims", "hello_claims"),
    [
        (0x02, {"proto_ver": 4}, {}),
        (0x05, {"peer_id": wire.Identity().peer_id}, {}),
        (0x05, {}, {"key": wire.Identity().spki}),
        (0x05, {}, {"proof": b"\x00"}),
        (0x01, {"instance": b"short"}, {}),
        (0x01, {}, {"body": b"\xa0"}),
    ],
)
async def test_who_is_refused_at_the_door(
    tmp_path: Path, code: int, claims: wire.Message, hello_claims: wire.Message
) -> None:
    async with open_ours(tmp_path) as ours, open_node() as node:
        node.claims, node.hello_claims = claims, hello_claims
        if "body" in hello_claims:
            # The proof comes first: it must be right for the body to be looked at.
            link = await node.connect(port_of(ours))
            hello_claims["proof"] = node.identity.prove(link.peer_spki, hello_claims["body"])
        with pytest.raises(LinkClosed) as caught:
            await node.dial(port_of(ours))
        assert (caught.value.application, caught.value.code) == (True, code)


async def test_a_new_start_of_a_peer_replaces_its_old_session(tmp_path: Path) -> None:
    async with open_ours(tmp_path) as ours, open_node() as node:
        first = await node.dial(port_of(ours))
        node.instance = os.urandom(16)
        second = await node.dial(port_of(ours))
        with trio.fail_after(10):
            assert (await first.link.wait_closed()).code == 0x04
        assert await second.library() == {}
        lost = [view for view in ours.peers() if view.state != "connected"]
        assert not lost
