"""A large download that is killed at 60 % goes on where it was: real processes, real disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.cli.processes import Peer
from tests.conftest import SOAK
from tests.life.support import Version, game, noise, shared, talking_to, until_ended, until_shown

GAME = "large"
LARGE = 2_000_000_000 if SOAK else 64_000_000
# How much there is makes no difference to where it comes from.
SMALLER = 1_000_000_000 if SOAK else 40_000_000
KILLED_AT = 0.6
FETCHED_AGAIN = 0.42


def large_game(total: int) -> Version:
    """Half of it in one file, the rest in files of a few MB and small ones."""
    one = noise("a million", 1_000_000)
    files = {"one.bin": b"".join(bytes([n % 251]) + one for n in range(total // 2_000_000))}
    number = 0
    while sum(map(len, files.values())) < total * 0.98:
        files[f"parts/{number}.bin"] = bytes([number % 251]) * 7 + one * 4
        number += 1
    files |= {f"small/{n}.dat": noise(str(n), 9_000) for n in range(200)}
    files["version.ini"] = b"1.0\n"
    return Version("1.0", files, {})


@pytest.mark.parametrize("other_source", [False, True])
async def test_killed_and_resumed(tmp_path: Path, other_source: bool) -> None:
    version = large_game(SMALLER if other_source else LARGE)
    total = sum(map(len, version.files.values()))
    version.put(tmp_path / "a" / "games" / GAME)
    # So slow that the killer comes in time: progress is told twice a second.
    first = Peer(tmp_path / "a", "--max-up", str(total / 5e6))
    second = fetching = None
    try:
        address = first.ready()["listen"][0]
        fetching = Peer(tmp_path / "c", "--peer", address)
        fetching.ready()
        async with talking_to(fetching) as client:
            await until_shown(client, GAME, lambda one: one["content_hash"] is not None, 60)
            await client.call("game.download", id=GAME)
            with trio.fail_after(600 if SOAK else 120):
                while True:
                    event = await client.next_event()
                    if event["type"] == "download.progress":
                        assert event["data"]["total_bytes"] == total
                        if event["data"]["done_bytes"] >= KILLED_AT * total:
                            break
        fetching.kill()
        if other_source:
            # The one that it came from is gone for good; another has the same content.
            version.put(tmp_path / "b" / "games" / GAME)
            second = Peer(tmp_path / "b")
            address = second.ready()["listen"][0]
            first.kill()
        fetching = Peer(tmp_path / "c", "--peer", address)
        fetching.ready()
        async with talking_to(fetching) as client:
            shown = await game(client, GAME)
            assert shown is not None
            assert not shown["downloaded"]
            assert shown["operation"]["kind"] == "download"
            operation_id = shown["operation"]["operation_id"]
            end = await until_ended(client, operation_id, "download", 600 if SOAK else 120)
        assert end["type"] == "download.finished", end
        assert 0 < end["data"]["bytes_fetched"] <= FETCHED_AGAIN * total
        assert shared(fetching.games / GAME) == version.files
    finally:
        for peer in (first, second, fetching):
            if peer is not None:
                peer.kill()
