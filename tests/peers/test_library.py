"""Libraries between whole peers: restored state, and what asking may cost the asked."""

from __future__ import annotations

import shutil
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.fs.state import State
from lanspread.model import GameSummary
from lanspread.peer import Peer
from lanspread.sync import messages as m
from lanspread.sync.exchange import Exchange, open_exchange
from lanspread.sync.remote import RemoteLibrary
from lanspread.sync.session import Session
from lanspread.testing import VirtualLan
from tests.peers.support import (
    SMALL_GAME,
    Events,
    Party,
    connected,
    game,
    listed,
    offering,
    until,
    write_game,
)
from tests.sync.support import summary

TINY = {"data.eti": b"some bytes", "version.ini": b"1.0\n"}


def session_between(peer: Peer, other: Peer) -> Session:
    session = peer.sessions.get(other.peer_id)
    assert session is not None
    return session


@asynccontextmanager
async def a_pair(lan: VirtualLan, party: Party, folder: Path) -> AsyncIterator[tuple[Peer, Peer]]:
    """A peer with five games, and one that has none and knows the first."""
    for number in range(5):
        write_game(folder / "owner", f"Game{number}", TINY)
    owner = await party.start(lan.add_host("owner"), folder / "owner")
    asker = await party.start(lan.add_host("asker"), folder / "asker")
    await until(lambda: all(listed(asker, f"Game{number}") for number in range(5)))
    yield owner, asker


async def test_a_peer_whose_state_was_restored_from_a_copy(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """It has the same epoch and a lower revision, and its library is right all the same."""
    host = lan.add_host("owner")
    write_game(tmp_path / "owner", "Old", TINY)
    await party.start(host, tmp_path / "owner")
    await party.leave(host)
    shutil.copytree(tmp_path / "owner/state", tmp_path / "copy")
    other = await party.start(lan.add_host("other"), tmp_path / "other")
    owner = await party.start(host, tmp_path / "owner")
    for number in range(10):
        write_game(tmp_path / "owner", f"Lost{number}", TINY)
        owner.library.request_walk(f"Lost{number}")
        await until(lambda: listed(other, f"Lost{number}"))  # noqa: B023
    held = other.directory.get(owner.peer_id)
    assert held is not None
    assert held.library is not None
    before = held.library.position
    await party.leave(host)
    shutil.rmtree(tmp_path / "owner/state")
    shutil.copytree(tmp_path / "copy", tmp_path / "owner/state")
    for number in range(10):
        shutil.rmtree(tmp_path / f"owner/games/Lost{number}")
    write_game(tmp_path / "owner", "New", TINY)
    owner = await party.start(host, tmp_path / "owner")
    await until(lambda: listed(other, "New"))
    assert not listed(other, "Lost0")
    after = held.library.position
    assert after.epoch == before.epoch
    assert after.rev < before.rev


def view_of(peer: Peer, other: Peer) -> RemoteLibrary:
    record = peer.directory.get(other.peer_id)
    assert record is not None
    assert record.library is not None
    return record.library


async def test_the_regrown_state(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """A peer lost its state and grew back to the same revision with other content."""
    host, folder = lan.add_host("owner"), tmp_path / "owner"
    write_game(folder, "Old", TINY)
    await party.start(host, folder)
    await party.leave(host)
    shutil.copytree(folder / "state", tmp_path / "copy")
    other = await party.start(lan.add_host("other"), tmp_path / "other")
    write_game(folder, "Lost", TINY)
    owner = await party.start(host, folder)
    await until(lambda: offering(other, "Lost"))
    before = view_of(other, owner).position
    await party.leave(host)
    shutil.rmtree(folder / "state")
    shutil.copytree(tmp_path / "copy", folder / "state")
    shutil.rmtree(folder / "games/Lost")
    # Cut off, so that the other hears of nothing in between.
    lan.partition([host])
    owner = await party.start(host, folder)
    games: dict[str, GameSummary] = {}
    owner._publisher._summaries = games.values
    while owner._publisher.current.rev < before.rev:
        games["New"] = summary("New", size=len(games) + owner._publisher.current.rev)
        await owner._publisher.refresh()
    now = owner._publisher.current
    assert (now.epoch, now.rev) == (before.epoch, before.rev)
    assert now.digest != before.digest
    lan.heal()
    await until(lambda: listed(other, "New"))
    assert not listed(other, "Lost")
    assert view_of(other, owner).position == owner._publisher.current.position


async def test_a_restart_with_the_same_games_keeps_the_revision(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """Nobody asks for anything, and nobody hears of a change."""
    host, folder = lan.add_host("owner"), tmp_path / "owner"
    write_game(folder, "Game", TINY)
    owner = await party.start(host, folder)
    other = await party.start(lan.add_host("other"), tmp_path / "other")
    await until(lambda: offering(other, "Game"))
    await trio.sleep(5)
    before = owner._publisher.current.position
    events = Events(other)
    await party.leave(host)
    await events.wait_for("peer.lost")
    owner = await party.start(host, folder)
    await events.wait_for("peer.connected")
    await trio.sleep(5)
    assert owner._publisher.current.position == before
    assert view_of(other, owner).position == before
    await party.leave(host)
    await events.wait_for("peer.lost")
    assert not events.of("library.updated")


async def test_a_crash_between_saving_and_announcing(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was saved and never said is what the next start says, under the same revision."""
    host, folder = lan.add_host("owner"), tmp_path / "owner"
    write_game(folder, "Game", TINY)
    owner = await party.start(host, folder)
    other = await party.start(lan.add_host("other"), tmp_path / "other")
    await until(lambda: offering(other, "Game"))
    await trio.sleep(5)
    before, saved = owner._publisher.current.rev, trio.Event()

    async def save_and_hang(epoch: bytes, rev: int, digest: bytes) -> None:
        owner._state.save_revision(epoch, rev, digest)
        saved.set()
        await trio.sleep_forever()

    monkeypatch.setattr(owner._publisher, "_save", save_and_hang)
    (folder / "games/Game/local").mkdir()
    owner.library.request_walk("Game")
    await saved.wait()
    assert not game(other, "Game").installed
    await party.kill(host)
    host.come_back()
    owner = await party.start(host, folder)
    assert owner._publisher.current.rev == before + 1
    await until(lambda: view_of(other, owner).position == owner._publisher.current.position)
    assert view_of(other, owner).games["game"].installed


async def test_one_game_of_ten_thousand(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """The whole library once; after that each change costs what it is."""
    owner = await party.start(lan.add_host("owner"), tmp_path / "owner")
    games = {f"game {number}": summary(f"Game {number}") for number in range(10_000)}
    owner._publisher._summaries = games.values
    await owner._publisher.refresh()
    other = await party.start(lan.add_host("other"), tmp_path / "other")
    await until(lambda: connected(other) and len(view_of(other, owner).games) == 10_000)
    await trio.sleep(10)
    session = session_between(owner, other)
    snapshot_bytes = session.connection.statistics().bytes_sent
    assert snapshot_bytes > 1_500_000
    events = Events(other)
    for number in range(20):
        games[f"game {number}"] = summary(f"Game {number}", size=2)
        owner._publisher.touch()
        news = await events.wait_for("library.updated")
        assert news.data["games"] == [f"Game {number}"]
    found = view_of(other, owner)
    assert found.position == owner._publisher.current.position
    assert found.games["game 7"].size == 2
    moved = session.connection.statistics().bytes_sent - snapshot_bytes
    assert moved < 20 * 1_000
    print(f"snapshot: {snapshot_bytes} bytes, a change: {moved / 20:.0f}")


async def test_a_session_that_reads_nothing_holds_one_announcement(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """However often the library changes meanwhile; then it hears of all of it at once."""
    async with a_pair(lan, party, tmp_path) as (owner, asker):
        session = session_between(owner, asker)
        games: dict[str, GameSummary] = {}
        owner._publisher._summaries = games.values
        for number in range(3 * limits.OUTBOX):
            games["game"] = summary("Game", size=number + 1)
            await owner._publisher.refresh()
            assert session._outbox_in.statistics().current_buffer_used <= 1
        assert session.alive
        await until(lambda: view_of(asker, owner).position == owner._publisher.current.position)


# -- what asking may cost -------------------------------------------------------------------------


async def test_a_request_that_claims_to_be_long_is_refused(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    async with a_pair(lan, party, tmp_path) as (owner, asker):
        session = session_between(asker, owner)
        stream = await session.connection.open_stream()
        await stream.send_all(struct.pack(">I", limits.MAX_REQUEST_BYTES + 1))
        with trio.fail_after(5):
            ended = await session.connection.wait_closed()
        assert ended.code == m.CLOSE_PROTOCOL_ERROR
        assert ended.reason.startswith("a frame of 65537 bytes")
        await until(lambda: connected(asker) == {owner.peer_id})


async def test_requests_that_never_become_complete_are_counted(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """What 64 of them make us hold is what the endpoint says it holds, and soon given up."""
    async with a_pair(lan, party, tmp_path) as (owner, asker):
        ours = session_between(owner, asker).connection
        theirs = session_between(asker, owner).connection
        for _ in range(limits.MAX_SERVED_REQUESTS):
            stream = await theirs.open_stream()
            head = struct.pack(">I", limits.MAX_REQUEST_BYTES)
            await stream.send_all(head + bytes(limits.MAX_REQUEST_BYTES - 1))
        await trio.sleep(1)
        held = limits.MAX_SERVED_REQUESTS * (limits.MAX_REQUEST_BYTES - 1)
        assert ours.statistics().unread_bytes == held
        assert owner.statistics().buffered_bytes >= held
        await trio.sleep(limits.REQUEST_ARRIVAL_S)
        assert ours.statistics().unread_bytes == 0
        assert ours.closed is None


async def test_answers_in_pages_take_turns(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever begins many and finishes none has a few under way; the others hold nothing."""
    monkeypatch.setattr(limits, "PAGE_BYTES", 100)
    async with a_pair(lan, party, tmp_path) as (owner, asker):
        connection = session_between(asker, owner).connection
        begun: list[Exchange] = []

        async def begin(enough: trio.Event) -> None:
            request = m.GetLibrary(since=None)
            async with open_exchange(connection, request, paged=True) as exchange:
                assert (await exchange.answer(m.LibrarySnapshot)).more
                begun.append(exchange)
                await enough.wait()
                await exchange.finish_asking()

        async with trio.open_nursery() as nursery:
            enough = trio.Event()
            for _ in range(3 * limits.MAX_SERVED_PAGED_PER_SESSION):
                nursery.start_soon(begin, enough)
            await trio.sleep(5)
            assert len(begun) == limits.MAX_SERVED_PAGED_PER_SESSION
            enough.set()
            await trio.sleep(5)
            assert len(begun) == 3 * limits.MAX_SERVED_PAGED_PER_SESSION
        assert connection.closed is None


async def test_a_library_is_not_told_before_its_revision_is_kept(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a full state disk: others keep what they saw, and see the new when there is room."""
    write_game(tmp_path / "a", "old", SMALL_GAME)
    host = lan.add_host("a")
    anna = await party.start(host, tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: listed(ben, "old"))
    await party.leave(host)
    write_game(tmp_path / "a", "new", SMALL_GAME)

    def full(self: State, epoch: bytes, rev: int, digest: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(State, "save_revision", full)
        anna = await party.start(host, tmp_path / "a")
        await until(lambda: connected(ben) == {anna.peer_id})
        await trio.sleep(30)
        assert listed(ben, "old")
        assert not listed(ben, "new")
    await until(lambda: listed(ben, "new"))
    assert listed(ben, "old")
