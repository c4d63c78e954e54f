"""Slow wires, low limits, full disks, stubborn sources: what must not stick, flap or lie."""

from __future__ import annotations

import errno
import random
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import GetGame
from lanspread.fs.digests import hash_files
from lanspread.fs.state import State
from lanspread.peer import Peer
from lanspread.sync import messages as m
from lanspread.sync.session import Handler
from lanspread.testing import Link, VirtualLan
from lanspread.views import GameDetail
from tests.peers.support import (
    BLOCK,
    END,
    SMALL_GAME,
    Events,
    Party,
    begin,
    cancel,
    done_bytes,
    fetch,
    game,
    large_game,
    offering,
    read_game,
    until,
    write_game,
)


def answer_with(peer: Peer, request: type[m.Message], handler: Handler) -> None:
    """Have `peer` answer one kind of request of its present sessions by `handler`."""
    for session in peer.sessions.all():
        cast(dict[type[m.Message], Handler], session._handlers.requests)[request] = handler


async def refuse_busy(_: Any, __: Any, responder: Any) -> None:
    await responder.refuse(m.ERROR_BUSY)


async def never_answer(_: Any, __: Any, ___: Any) -> None:
    await trio.sleep_forever()


def fail_to_save(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_slow_wire_is_slow_and_nothing_else(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The chunks that a game of 256 MiB and more gets, without its size.
    monkeypatch.setattr(limits, "MIN_CHUNK_BYTES", limits.CHUNK_BYTES)
    size = 6_000_000
    files = {"big.eti": random.Random(1).randbytes(size), "version.ini": b"1.0\n"}
    write_game(tmp_path / "a", "Quake", files)
    anna = await party.start(lan.add_host("a"), tmp_path / "a", block_bytes=limits.MIB)
    ben = await party.start(lan.add_host("b"), tmp_path / "b", block_bytes=limits.MIB)
    await until(lambda: offering(ben, "Quake"))
    lan.set_default_link(Link(bytes_per_s=50_000.0))
    events = Events(ben)
    await begin(ben, "Quake")
    end = await events.wait_for(*END, within=3 * size / 50_000)
    assert end.type == "download.finished"
    assert "download.paused" not in events.types()
    assert anna.bytes_sent() < 1.2 * size


async def test_a_wire_that_swallows_jumbo_frames_costs_a_moment(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    size = 3_000_000
    files = {"big.eti": random.Random(1).randbytes(size), "version.ini": b"1.0\n"}
    write_game(tmp_path / "a", "Quake", files)
    hosts = [lan.add_host("a"), lan.add_host("b")]
    for host in hosts:
        host.payload_bytes = 8_972
    anna = await party.start(hosts[0], tmp_path / "a")
    ben = await party.start(hosts[1], tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    (session,) = anna.sessions.all()
    await until(lambda: session.connection.statistics().payload_bytes == 8_972)
    # Somebody puts an old switch between them.
    lan.set_default_link(Link(payload_bytes=1_400))
    events = Events(ben)
    began = trio.current_time()
    await begin(ben, "Quake")
    end = await events.wait_for(*END, within=5)
    assert end.type == "download.finished"
    assert "download.paused" not in events.types()
    assert trio.current_time() - began < 2


async def test_a_low_upload_limit_is_shared_by_all(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    rate, size, count = 100_000.0, 1_000_000, 5
    files = {"big.eti": random.Random(1).randbytes(size), "version.ini": b"1.0\n"}
    write_game(tmp_path / "a", "Quake", files)
    await party.start(lan.add_host("a"), tmp_path / "a", max_up=rate)
    peers = [await party.start(lan.add_host(f"p{n}"), tmp_path / f"p{n}") for n in range(count)]
    await until(lambda: all(offering(peer, "Quake") for peer in peers))
    for peer in peers:
        # From the one source, not from one another as they finish.
        answer_with(peer, m.GetGameFileChunk, refuse_busy)
    ends: list[float] = []

    async def one(peer: Peer) -> None:
        end = await fetch(peer, "Quake", within=4 * count * size / rate)
        assert end.type == "download.finished"
        ends.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer)
    assert min(ends) - began > 0.5 * size / rate
    assert max(ends) - began < 2.0 * count * size / rate


async def test_a_state_folder_that_is_full_costs_no_peer_and_no_event(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    with monkeypatch.context() as full:
        full.setattr(State, "save_revision", fail_to_save)
        await begin(ben, "Quake")
        assert (await events.wait_for(*END)).type == "download.finished"
        await trio.sleep(60)
    # Told once; and when there is space again, the others hear of the game.
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    await events.wait_for("library.updated")
    warnings = [event.data["code"] for event in events.of("warning")]
    assert warnings == ["state_not_writable"]


async def test_digests_of_other_blocks_are_not_taken_for_ours(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    # Two blocks in either size: the count alone does not tell them apart.
    files = {"data.eti": random.Random(1).randbytes(20_000), "version.ini": b"1.0\n"}
    write_game(tmp_path / "a", "Quake", files)
    await party.start(lan.add_host("a"), tmp_path / "a", block_bytes=BLOCK)
    ben = await party.start(lan.add_host("b"), tmp_path / "b", block_bytes=12 * 1024)
    await until(lambda: offering(ben, "Quake"))
    assert (await fetch(ben, "Quake")).type == "download.finished"
    await until(lambda: ben.library.games["quake"].digests is not None)
    local = ben.library.games["quake"]
    with ben.library.open_game("Quake") as folder:
        right = hash_files(folder, local.stamps, 12 * 1024)
    assert local.digests == tuple(digest for stamp in local.stamps for digest in right[stamp])


async def test_a_source_that_is_always_busy_is_asked_ever_less(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", large_game())
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    asked = 0

    async def busy(session: Any, request: Any, responder: Any) -> None:
        nonlocal asked
        asked += 1
        await responder.refuse(m.ERROR_BUSY)

    answer_with(anna, m.GetGameFileChunk, busy)
    events = Events(ben)
    await begin(ben, "Quake")
    with pytest.raises(trio.TooSlowError):
        await events.wait_for(*END, within=600)
    # Not twenty chunks, five times each.
    assert asked <= 20 * limits.MAX_RETRY_COUNT
    assert Counter(events.types())["download.paused"] == 1
    assert "source.dropped" not in events.types()


async def test_a_mute_source_does_not_keep_a_game_from_others(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    peers = []
    for name in "ab":
        write_game(tmp_path / name, "Quake", SMALL_GAME)
        peers.append(await party.start(lan.add_host(name), tmp_path / name))
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    # The one that is asked first.
    mute = min(peers, key=lambda peer: peer.peer_id)
    answer_with(mute, m.GetGame, never_answer)
    assert (await fetch(carl, "Quake", within=30)).type == "download.finished"
    assert read_game(tmp_path / "c", "Quake") == SMALL_GAME


async def test_the_end_of_an_update_is_told_after_its_state_can_be_seen(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", {**large_game(), "version.ini": b"2.0\n"})
    write_game(tmp_path / "b", "Quake", {**large_game(2), "version.ini": b"1.0\n"})
    lan.set_default_link(Link(bytes_per_s=1_000_000.0))
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: game(ben, "Quake").update_available)
    events = Events(ben)
    await begin(ben, "Quake")
    await until(lambda: done_bytes(ben, "Quake") > 300_000)
    await cancel(ben, "Quake")
    await events.wait_for("download.cancelled")
    # At this very moment, and without another await.
    assert not (tmp_path / "b/games/Quake/version.ini").exists()
    assert not game(ben, "Quake").downloaded
    assert game(ben, "Quake").operation is None
    assert "download.begin" in events.types()
    await until(lambda: ben.peer_id not in offering(anna, "Quake"), within=1)


async def test_a_download_begins_before_it_waits(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    host = lan.add_host("a")
    await party.start(host, tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    await begin(ben, "Quake")
    await party.leave(host)
    await events.wait_for("download.paused")
    kinds = [kind for kind in events.types() if kind.startswith("download.")]
    assert kinds[0] == "download.begin"


async def test_the_version_that_a_catalog_expects_is_fetched_though_a_newer_one_is_here(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text('[{"id": "Quake", "name": "Quake", "version": "1.0"}]')
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    write_game(tmp_path / "b", "Quake", {**SMALL_GAME, "version.ini": b"2.0\n"})
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b", catalog=str(catalog))
    await until(lambda: game(ben, "Quake").peers)
    assert (await fetch(ben, "Quake")).data["version"] == "1.0"
    assert read_game(tmp_path / "b", "Quake") == SMALL_GAME


async def test_game_get_answers_beside_a_mute_peer(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    peers = []
    for name in "ab":
        write_game(tmp_path / name, "Quake", SMALL_GAME)
        peers.append(await party.start(lan.add_host(name), tmp_path / name))
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    answer_with(min(peers, key=lambda peer: peer.peer_id), m.GetGame, never_answer)
    with trio.fail_after(5):
        found = await carl.execute(GetGame(id="Quake"))
    assert isinstance(found, GameDetail)
    assert {entry.path for entry in found.files} == set(SMALL_GAME)
