"""One peer fetches what others have: whole peers, virtual LAN, virtual time, real files."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread.commands import GetGame
from lanspread.errors import LanspreadError
from lanspread.model import Availability
from lanspread.peer import Peer
from lanspread.testing import Link, VirtualLan
from lanspread.views import GameDetail
from tests.peers.support import (
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

SLOW = Link(bytes_per_s=1_000_000.0)


async def test_a_game_arrives_byte_for_byte(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"), within=3)
    assert game(ben, "Quake").availability is None
    # The id is compared as the folders are: upper and lower case are one.
    end = await fetch(ben, "qUAKE")
    assert end.type == "download.finished"
    assert end.data["bytes_fetched"] == sum(map(len, SMALL_GAME.values()))
    assert read_game(tmp_path / "b", "Quake") == SMALL_GAME
    here = game(ben, "Quake")
    assert here.availability is Availability.READY
    assert here.local_version == "1.0"
    assert here.content_hash is not None


async def test_a_game_that_is_current_is_not_fetched_again(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    end = await fetch(anna, "Quake")
    assert end.type == "download.finished"
    assert end.data["bytes_fetched"] == 0


async def test_an_unknown_game_is_an_error(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    with pytest.raises(LanspreadError) as caught:
        await begin(anna, "Nothing")
    assert caught.value.code == "not_found"


async def test_two_sources_share_the_work(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    lan.set_default_link(SLOW)
    sources = []
    for name in "ab":
        write_game(tmp_path / name, "Quake", files)
        sources.append(await party.start(lan.add_host(name), tmp_path / name))
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    end = await fetch(carl, "Quake")
    assert end.type == "download.finished"
    assert read_game(tmp_path / "c", "Quake") == files
    shares = [source.bytes_sent() for source in sources]
    assert min(shares) > 0.3 * sum(shares)
    # What came twice, near the end, counts twice; the sentinel is no chunk.
    fetched = carl.bytes_fetched()
    assert fetched["quic"] >= sum(map(len, files.values())) - len(files["version.ini"])
    assert fetched["bulk"] == 0
    # Two wires of 1 MB/s: together faster than one alone could be.
    assert end.data["seconds"] < 0.75 * sum(map(len, files.values())) / 1_000_000


async def test_a_repeated_download_joins_the_running_one(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    lan.set_default_link(SLOW)
    write_game(tmp_path / "a", "Quake", large_game())
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    assert await begin(ben, "Quake") == await begin(ben, "quake")
    await events.wait_for(*END)
    assert events.types().count("download.begin") == 1


async def test_a_source_that_dies_is_made_up_for(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    lan.set_default_link(SLOW)
    hosts = {name: lan.add_host(name) for name in "abc"}
    for name in "ab":
        write_game(tmp_path / name, "Quake", files)
        await party.start(hosts[name], tmp_path / name)
    carl = await party.start(hosts["c"], tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    events = Events(carl)
    await begin(carl, "Quake")
    await until(lambda: done_bytes(carl, "Quake") > 500_000)
    await party.kill(hosts["a"])
    end = await events.wait_for(*END)
    assert end.type == "download.finished"
    assert read_game(tmp_path / "c", "Quake") == files
    assert "source.dropped" not in events.types()


async def test_with_all_sources_gone_it_waits_and_goes_on_when_one_is_back(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    lan.set_default_link(SLOW)
    hosts = {name: lan.add_host(name) for name in "abc"}
    for name in "ab":
        write_game(tmp_path / name, "Quake", files)
        await party.start(hosts[name], tmp_path / name)
    carl = await party.start(hosts["c"], tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    events = Events(carl)
    await begin(carl, "Quake")
    await until(lambda: done_bytes(carl, "Quake") > 500_000)
    before = done_bytes(carl, "Quake")
    await party.kill(hosts["a"])
    await party.kill(hosts["b"])
    paused = await events.wait_for("download.paused", within=120)
    assert paused.data["reason"] == "no_sources"
    assert not (tmp_path / "c/games/Quake/version.ini").exists()
    operation = game(carl, "Quake").operation
    assert operation is not None
    assert operation.state == "waiting"
    hosts["a"].come_back()
    await party.start(hosts["a"], tmp_path / "a")
    await events.wait_for("download.resumed", within=30)
    end = await events.wait_for(*END)
    assert end.type == "download.finished"
    assert read_game(tmp_path / "c", "Quake") == files
    # What was there before the sources died was not fetched again, but for what was under way.
    assert end.data["bytes_fetched"] < sum(map(len, files.values())) + 2_000_000
    assert before > 0


async def test_cancel_leaves_no_sentinel_and_a_later_download_completes(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    lan.set_default_link(SLOW)
    write_game(tmp_path / "a", "Quake", files)
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    await begin(ben, "Quake")
    await until(lambda: done_bytes(ben, "Quake") > 500_000)
    await cancel(ben, "Quake")
    assert (await events.wait_for(*END)).type == "download.cancelled"
    assert not (tmp_path / "b/games/Quake/version.ini").exists()
    assert game(ben, "Quake").operation is None
    assert not game(ben, "Quake").downloaded
    assert (await fetch(ben, "Quake")).type == "download.finished"
    assert read_game(tmp_path / "b", "Quake") == files


async def test_an_update_replaces_removes_and_leaves_local_alone(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    old = {"kept.eti": b"1" * 50_000, "old.eti": b"gone in version 2", "version.ini": b"9\n"}
    new = {"kept.eti": b"2" * 60_000, "more/new.eti": b"new", "version.ini": b"10\n"}
    write_game(tmp_path / "a", "Quake", old)
    hosts = {name: lan.add_host(name) for name in "abc"}
    await party.start(hosts["a"], tmp_path / "a")
    ben = await party.start(hosts["b"], tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    assert (await fetch(ben, "Quake")).type == "download.finished"
    save = tmp_path / "b/games/Quake/local/save.dat"
    save.parent.mkdir()
    save.write_bytes(b"mine")
    # "10" is newer than "9": runs of digits are numbers.
    write_game(tmp_path / "c", "Quake", new)
    await party.start(hosts["c"], tmp_path / "c")
    await until(lambda: game(ben, "Quake").update_available)
    assert (await fetch(ben, "Quake")).type == "download.finished"
    found = read_game(tmp_path / "b", "Quake")
    assert found.pop("local/save.dat") == b"mine"
    assert found == new


async def test_files_of_the_users_own_are_not_overwritten(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    write_game(tmp_path / "b", "Quake", {"data.eti": b"mine"})
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    end = await fetch(ben, "Quake")
    assert (end.type, end.data["code"]) == ("download.failed", "folder_not_empty")
    assert read_game(tmp_path / "b", "Quake") == {"data.eti": b"mine"}


async def test_rate_limits_hold(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    size = sum(map(len, files.values()))
    write_game(tmp_path / "a", "Quake", files)
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b", max_down=500_000.0)
    await until(lambda: offering(ben, "Quake"))
    end = await fetch(ben, "Quake")
    assert end.type == "download.finished"
    assert end.data["seconds"] > 0.9 * size / 500_000
    carl = await party.start(lan.add_host("c"), tmp_path / "c", max_down=250_000.0)
    await until(lambda: len(offering(carl, "Quake")) == 2)
    end = await fetch(carl, "Quake")
    assert end.data["seconds"] > 0.9 * size / 250_000


async def test_an_upload_limit_holds(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    write_game(tmp_path / "a", "Quake", files)
    await party.start(lan.add_host("a"), tmp_path / "a", max_up=500_000.0)
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    end = await fetch(ben, "Quake")
    assert end.type == "download.finished"
    assert end.data["seconds"] > 0.9 * sum(map(len, files.values())) / 500_000


# -- manifests that are known ---------------------------------------------------------------------


async def moved_by_game_get(peer: Peer, other: Peer) -> int:
    """Bytes that `other` sends for a `game.get`, everything of QUIC included."""
    session = other.sessions.get(peer.peer_id)
    assert session is not None
    before = session.connection.statistics().bytes_sent
    detail = await peer.execute(GetGame(id="Quake"))
    assert isinstance(detail, GameDetail)
    assert detail.files
    await trio.sleep(0.5)
    return session.connection.statistics().bytes_sent - before


async def test_a_manifest_travels_once(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """The second `game.get` and the download move a few hundred bytes of it; a changed game all."""
    files = {f"many/{number:04}.dat": b"%d" % number for number in range(2_000)}
    files["version.ini"] = b"1.0\n"
    write_game(tmp_path / "a", "Quake", files)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    first = await moved_by_game_get(ben, anna)
    assert first > 2_000 * 32
    assert await moved_by_game_get(ben, anna) < 500
    write_game(tmp_path / "a", "Quake", {"many/0000.dat": b"other"})
    before = game(ben, "Quake").content_hash
    anna.library.request_walk("Quake")
    await until(lambda: offering(ben, "Quake") and game(ben, "Quake").content_hash != before)
    assert await moved_by_game_get(ben, anna) > 2_000 * 32
    assert await moved_by_game_get(ben, anna) < 500
    assert (await fetch(ben, "Quake")).type == "download.finished"
    assert read_game(tmp_path / "b", "Quake") == {**files, "many/0000.dat": b"other"}


async def test_what_one_peer_sent_another_need_not_send(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = {f"many/{number:04}.dat": b"%d" % number for number in range(2_000)}
    files["version.ini"] = b"1.0\n"
    hosts = [lan.add_host(name) for name in "ab"]
    peers = []
    for host in hosts:
        write_game(tmp_path / host.name, "Quake", files)
        peers.append(await party.start(host, tmp_path / host.name))
    ben = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(ben, "Quake")) == 2)
    await ben.execute(GetGame(id="Quake"))
    first = [peer for peer in peers if peer.peer_id == min(peer.peer_id for peer in peers)]
    for peer, host in zip(peers, hosts, strict=True):
        if peer.peer_id == first[0].peer_id:
            await party.leave(host)
    (left,) = [peer for peer in peers if peer is not first[0]]
    await until(lambda: offering(ben, "Quake") == (left.peer_id,))
    assert await moved_by_game_get(ben, left) < 500
