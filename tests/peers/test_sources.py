"""Sources that differ, lie or change: nothing is mixed, the guilty named, the result right."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from trio.testing import MockClock

from lanspread.commands import GetGame
from lanspread.peer import Peer
from lanspread.testing import Link, VirtualLan
from lanspread.views import GameDetail
from tests.peers.support import (
    END,
    PAST,
    SMALL_GAME,
    Events,
    Party,
    begin,
    done_bytes,
    fetch,
    game,
    large_game,
    listed,
    offering,
    read_game,
    until,
    write_game,
)

SLOW = Link(bytes_per_s=1_000_000.0)


async def detail(peer: Peer, game_id: str) -> GameDetail:
    found = await peer.execute(GetGame(id=game_id))
    assert isinstance(found, GameDetail)
    return found


def _offered_by_two(peer: Peer) -> bool:
    return len(offering(peer, "Quake")) >= 2


def overwrite_unseen(file: Path, at: int, data: bytes) -> None:
    """Change bytes so that neither size nor time of the file tells."""
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)
    os.utime(file, (PAST, PAST))


async def test_same_sizes_and_other_bytes_are_never_mixed(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    contents = {"a": large_game(1), "b": large_game(2)}
    for name, files in contents.items():
        write_game(tmp_path / name, "Quake", files)
        await party.start(lan.add_host(name), tmp_path / name)
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    both = (await detail(carl, "Quake")).variants
    await until(lambda: len({v.content_hash for v in both}) == 2)
    assert len(both) == 2
    assert both[0].manifest_hash == both[1].manifest_hash
    # Each variant can be named, and is then fetched whole.
    for number, variant in enumerate(both):
        folder = tmp_path / f"fetch{number}"
        host = lan.add_host(f"fetch{number}")
        peer = await party.start(host, folder)
        await until(partial(_offered_by_two, peer))
        events = Events(peer)
        await begin(peer, "Quake", variant.content_hash)
        end = await events.wait_for(*END)
        assert end.type == "download.finished"
        assert "source.dropped" not in events.types()
        fetched = read_game(folder, "Quake")
        assert fetched in contents.values()
        assert game(peer, "Quake").content_hash == variant.content_hash
        assert not any(other.here for other in both)
        known = (await detail(peer, "Quake")).variants
        assert [other.content_hash for other in known if other.here] == [variant.content_hash]
        await party.leave(host)


async def test_a_source_with_a_flipped_byte_is_dropped_and_named(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    lan.set_default_link(SLOW)
    peers = {}
    for name in "ab":
        write_game(tmp_path / name, "Quake", files)
        peers[name] = await party.start(lan.add_host(name), tmp_path / name)
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    # The disk of `a` goes bad after it announced what it has: one byte in every block.
    for at in range(0, 3_000_000, 10_000):
        overwrite_unseen(tmp_path / "a/games/Quake/big.eti", at, b"x")
    events = Events(carl)
    await begin(carl, "Quake")
    end = await events.wait_for(*END)
    assert end.type == "download.finished"
    assert read_game(tmp_path / "c", "Quake") == files
    dropped = events.of("source.dropped")
    assert [event.data["peer_id"] for event in dropped] == [peers["a"].peer_id]


async def test_with_only_a_bad_source_nothing_is_called_downloaded(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    overwrite_unseen(tmp_path / "a/games/Quake/data.eti", 0, b"x")
    events = Events(ben)
    await begin(ben, "Quake")
    assert (await events.wait_for("download.paused")).data["reason"] == "no_sources"
    assert "source.dropped" in events.types()
    assert not (tmp_path / "b/games/Quake/version.ini").exists()


async def test_a_file_that_changes_is_nobodys_fault(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    files = large_game()
    lan.set_default_link(SLOW)
    for name in "ab":
        write_game(tmp_path / name, "Quake", files)
        await party.start(lan.add_host(name), tmp_path / name)
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: len(offering(carl, "Quake")) == 2)
    events = Events(carl)
    await begin(carl, "Quake")
    await until(lambda: done_bytes(carl, "Quake") > 300_000)
    with (tmp_path / "a/games/Quake/big.eti").open("ab") as opened:
        opened.write(b"a patch")
    end = await events.wait_for(*END)
    assert end.type == "download.finished"
    assert "source.dropped" not in events.types()
    assert read_game(tmp_path / "c", "Quake") == files
    # The source looked again, by itself, and offers what it has now.
    await until(lambda: len((game(carl, "Quake")).peers) == 2)


async def test_local_and_reserved_names_are_never_listed_or_served(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    hidden = {
        "local/save.dat": b"mine",
        ".lanspread.json.old": b"{}",
        ".lanspread/download.json": b"not ours",
        ".local.backup/save.dat": b"mine",
        ".version.ini.tmp": b"x",
        "Thumbs.db": b"x",
        ".DS_Store": b"x",
    }
    write_game(tmp_path / "a", "Quake", hidden)
    os.symlink("/etc/passwd", tmp_path / "a/games/Quake/link.txt")
    os.symlink("/etc", tmp_path / "a/games/Quake/folder-link")
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    files = (await detail(ben, "Quake")).files
    assert {entry.path for entry in files} == set(SMALL_GAME)
    assert (await fetch(ben, "Quake")).type == "download.finished"
    assert read_game(tmp_path / "b", "Quake") == SMALL_GAME


async def test_a_catalog_says_what_is_offered_and_fetched(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text('[{"id": "Quake", "name": "Quake III", "year": 1999, "version": "1.0"}]')
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    write_game(tmp_path / "a", "Unknown", SMALL_GAME)
    write_game(tmp_path / "c", "Quake", {**SMALL_GAME, "version.ini": b"2.0\n"})
    await party.start(lan.add_host("a"), tmp_path / "a")
    await party.start(lan.add_host("c"), tmp_path / "c")
    ben = await party.start(lan.add_host("b"), tmp_path / "b", catalog=str(catalog))
    await until(lambda: offering(ben, "Quake"))
    assert not listed(ben, "Unknown")
    found = game(ben, "Quake")
    assert (found.name, found.year, found.eti_version) == ("Quake III", 1999, "1.0")
    assert len(found.peers) == 1
    assert (await fetch(ben, "Quake")).data["version"] == "1.0"
