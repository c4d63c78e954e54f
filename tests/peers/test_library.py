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
from lanspread.peer import Peer
from lanspread.sync import messages as m
from lanspread.sync.exchange import Exchange, open_exchange
from lanspread.sync.session import Session
from lanspread.testing import VirtualLan
from tests.peers.support import Party, connected, listed, until, write_game

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
