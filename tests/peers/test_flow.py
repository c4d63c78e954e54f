"""How bytes flow between whole peers: slow and fast sources together, one source for many."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.peer import Peer
from lanspread.testing import VirtualLan
from lanspread.transfer import download
from lanspread.transfer.plan import Assignment
from lanspread.transfer.schedule import Schedule
from tests.peers.support import (
    END,
    Events,
    Party,
    begin,
    done_bytes,
    fetch,
    game,
    offering,
    read_game,
    until,
    write_game,
)

MB = 1_000_000.0


def files_of(size: int) -> dict[str, bytes]:
    return {"big.eti": random.Random(1).randbytes(size), "version.ini": b"1.0\n"}


async def start_sources(
    lan: VirtualLan, party: Party, folder: Path, files: dict[str, bytes], rates: dict[str, float]
) -> dict[str, Peer]:
    peers = {}
    for name, rate in rates.items():
        write_game(folder / name, "Quake", files)
        peers[name] = await party.start(lan.add_host(name), folder / name, max_up=rate)
    return peers


async def test_two_fast_sources_and_a_slow_one_give_what_they_have_together(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = files_of(16_000_000)
    sources = await start_sources(
        lan, party, tmp_path, files, {"a": 4 * MB, "b": 4 * MB, "slow": 0.4 * MB}
    )
    dora = await party.start(lan.add_host("d"), tmp_path / "d")
    await until(lambda: len(offering(dora, "Quake")) == 3)
    end = await fetch(dora, "Quake")
    assert end.type == "download.finished"
    assert read_game(tmp_path / "d", "Quake") == files
    assert 16_000_000 / end.data["seconds"] >= 0.95 * 8.4 * MB
    assert sources["slow"].bytes_sent() >= 0.5 * 0.4 * MB * end.data["seconds"]
    # Little is fetched twice.
    assert sum(source.bytes_sent() for source in sources.values()) <= 1.05 * 16_000_000


async def test_one_that_vanishes_and_returns_costs_no_block_and_no_stall(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = files_of(16_000_000)
    rates = {"a": 1 * MB, "b": 1 * MB, "c": 1 * MB}
    sources = await start_sources(lan, party, tmp_path, files, rates)
    dora = await party.start(lan.add_host("d"), tmp_path / "d")
    await until(lambda: len(offering(dora, "Quake")) == 3)
    events = Events(dora)
    await begin(dora, "Quake")
    host = next(host for host in lan.hosts if host.name == "b")
    longest = await longest_stall(dora, 1.5)
    lan.partition([host])
    sent_before = sources["b"].bytes_sent()
    longest = max(longest, await longest_stall(dora, 2.0))
    lan.heal()
    longest = max(longest, await longest_stall(dora, 60.0))
    end = await events.wait_for(*END)
    assert end.type == "download.finished"
    assert read_game(tmp_path / "d", "Quake") == files
    assert longest < 1.0
    # It is used again when it is back, and its blocks were fetched once.
    assert sources["b"].bytes_sent() - sent_before >= 500_000
    assert end.data["bytes_fetched"] <= 1.06 * 16_000_000
    assert not {"download.paused", "source.dropped"} & set(events.types())


async def test_chunks_of_a_slow_source_come_one_after_the_other(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    # So slow that it needs more than a second for each.
    rate = 0.2 * MB
    await start_sources(lan, party, tmp_path, files_of(4_000_000), {"a": rate})
    dora = await party.start(lan.add_host("d"), tmp_path / "d")
    await until(lambda: len(offering(dora, "Quake")) == 1)
    events = Events(dora)
    await begin(dora, "Quake")
    # Each is there in its time, however many of them were asked for.
    longest = await longest_stall(dora, 60.0)
    assert (await events.wait_for(*END)).type == "download.finished"
    assert longest < 1.2 * limits.MIN_CHUNK_BYTES / rate


class Seen(Schedule):
    """A schedule that counts what became useless and what is out; all that were made are kept."""

    made: list[Seen]
    bars: int

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.made.append(self)
        self.useless = 0

    def done(self, assignment: Assignment) -> list[Assignment]:
        useless = super().done(assignment)
        self.useless += len(useless)
        return useless

    def is_barred(self, name: str, now: float) -> bool:
        barred = self.bars > 0 or super().is_barred(name, now)
        type(self).bars -= barred
        return barred

    @property
    def out(self) -> int:
        """How many requests any source is taken to be busy with."""
        known = [*self._sources.values(), *self._left.values()]
        return self._held + sum(source.estimate.out for source in known)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> type[Seen]:
    """What the downloads of a test use as their schedule."""
    Seen.made, Seen.bars = [], 0
    monkeypatch.setattr(download, "Schedule", Seen)
    return Seen


async def test_what_was_fetched_twice_keeps_nobody_from_going_on_after_all_were_gone(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, seen: type[Seen]
) -> None:
    files = files_of(4_000_000)
    await start_sources(lan, party, tmp_path, files, {"fast": 4 * MB, "slow": 0.1 * MB})
    dora = await party.start(lan.add_host("d"), tmp_path / "d")
    await until(lambda: len(offering(dora, "Quake")) == 2)
    events = Events(dora)
    await begin(dora, "Quake")
    hosts = [host for host in lan.hosts if host.name in ("fast", "slow")]
    # At the end the fast one also fetches what the slow one has out, one after the other.
    while not seen.made or not seen.made[0].useless:
        await trio.sleep(0.001)
    assert not seen.made[0].plan.finished
    for host in hosts:
        await party.kill(host)
    await events.wait_for("download.paused", within=120)
    assert seen.made[0].out == 0
    hosts[1].come_back()
    await party.start(hosts[1], tmp_path / "slow")
    await events.wait_for("download.resumed", within=30)
    assert (await events.wait_for(*END)).type == "download.finished"
    assert read_game(tmp_path / "d", "Quake") == files


async def test_a_source_that_is_unable_to_give_what_is_left_is_left_out_for_a_while(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path, seen: type[Seen]
) -> None:
    files = files_of(1_000_000)
    await start_sources(lan, party, tmp_path, files, {"a": 4 * MB})
    dora = await party.start(lan.add_host("d"), tmp_path / "d")
    await until(lambda: offering(dora, "Quake"))
    seen.bars = 2
    events = Events(dora)
    await begin(dora, "Quake")
    assert (await events.wait_for("download.paused")).data["reason"] == "no_sources"
    assert (await events.wait_for(*END)).type == "download.finished"
    assert seen.bars == 0
    assert read_game(tmp_path / "d", "Quake") == files


async def longest_stall(peer: Peer, seconds: float) -> float:
    """The longest time in which nothing was done, in so many seconds or until all is done."""
    longest, seen = 0.0, -1
    last = began = trio.current_time()
    while (now := trio.current_time()) < began + seconds:
        if game(peer, "Quake").operation is None:
            break
        if done_bytes(peer, "Quake") > seen:
            seen, last = done_bytes(peer, "Quake"), now
        longest = max(longest, now - last)
        await trio.sleep(0.05)
    return longest


async def test_eight_share_one_source_evenly(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    size = 1_500_000
    files = files_of(size)
    await start_sources(lan, party, tmp_path, files, {"a": 4 * MB})
    # Eight on one machine: one address, as behind a router.
    host = lan.add_host("many")
    others = []
    for number in range(8):
        folder = tmp_path / f"many{number}"
        added = lan.add_peer(host, folder=folder, games=folder / "games", watched=False)
        others.append(await added.start())
    seconds = {}

    async def get(peer: Peer) -> None:
        began = trio.current_time()
        assert (await fetch(peer, "Quake")).type == "download.finished"
        seconds[peer.peer_id] = trio.current_time() - began

    for peer in others:
        await until(lambda peer=peer: offering(peer, "Quake"))  # type: ignore[misc]
    async with trio.open_nursery() as nursery:
        for peer in others:
            nursery.start_soon(get, peer)
    assert 8 * size / max(seconds.values()) >= 0.9 * 4 * MB
    assert min(seconds.values()) >= 0.8 * max(seconds.values())


async def test_who_fetches_three_games_gets_no_more_than_who_fetches_one(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    names = ("one", "two", "three", "four")
    for number, name in enumerate(names):
        write_game(tmp_path / "a", name, {"x": random.Random(number).randbytes(3_000_000)})
        write_game(tmp_path / "a", name, {"version.ini": b"1"})
    await party.start(lan.add_host("a"), tmp_path / "a", max_up=1 * MB)
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    for name in names:
        await until(lambda name=name: offering(ben, name) and offering(carl, name))  # type: ignore[misc]
    for name in names[:3]:
        await begin(ben, name)
    await begin(carl, names[3])
    await trio.sleep(3)
    bens, carls = ben.status().down_rate, carl.status().down_rate
    assert bens + carls >= 0.9 * MB
    assert 0.8 <= bens / carls <= 1.25
