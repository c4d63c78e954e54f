"""Hosts whose addresses change and whose cables are pulled, on real kernels with real multicast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.machine import at_most
from tests.netns.support import Host, RunningPeer, hosts_or_say_why, ip, make_game
from tests.netns.test_three_hosts import offered_by, sees, wait_until

PROGRAM = (sys.executable, "-m", "lanspread")
# From the change until the other side talks to the new address: looking, asking, dialing.
MOVED_S = 10.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    yield from hosts_or_say_why(2)


@pytest.fixture
def peers(hosts: list[Host], tmp_path: Path) -> Iterator[list[RunningPeer]]:
    """Two peers that are not started yet; the first holds a game."""
    made = [
        RunningPeer(host, tmp_path / name, PROGRAM, name)
        for host, name in zip(hosts, ("anna", "ben"), strict=True)
    ]
    make_game(made[0].games, "chess", {"data.bin": b"x" * 1_000_000})
    try:
        yield made
    finally:
        for peer in made:
            if peer.process is not None and peer.process.poll() is None:
                peer.kill()


@contextmanager
def watched(peer: RunningPeer) -> Iterator[list[str]]:
    """The types of the peer's events, complete when the block is left."""
    state = str(peer.state)
    process: subprocess.Popen[str] = peer.host.popen(*PROGRAM, "watch", "--json", "--state", state)
    kinds: list[str] = []
    try:
        time.sleep(1)
        yield kinds
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        lines, _ = process.communicate(timeout=20)
        kinds.extend(json.loads(line)["type"] for line in lines.splitlines() if line)


def renumber(host: Host, old: str, new: str) -> None:
    """What a new DHCP lease does."""
    ip("-n", host.namespace, "addr", "del", f"{old}/24", "dev", "eth0")
    ip("-n", host.namespace, "addr", "add", f"{new}/24", "dev", "eth0")


def view_of(peer: RunningPeer, other: RunningPeer) -> dict[str, Any]:
    """The other as `peer` shows it: it must be there exactly once, and nobody besides."""
    found: list[dict[str, Any]] = peer.ask("peers")
    assert [one["peer_id"] for one in found] == [other.ready["peer_id"]]
    return found[0]


def is_at(peer: RunningPeer, other: RunningPeer, host: str, scoped: list[str]) -> bool:
    """Whether it is connected and has this IPv4 address, no other, and the scoped ones still."""
    view = view_of(peer, other)
    ipv4 = [address for address in view["addresses"] if not address.startswith("[")]
    kept = [address for address in view["addresses"] if "%" in address]
    return view["state"] == "connected" and ipv4 == [f"{host}:7373"] and kept == scoped


@pytest.mark.parametrize("options", [(), ("--no-mdns",)])
@pytest.mark.parametrize("moves", [0, 1])
def test_an_address_that_changes(
    hosts: list[Host], peers: list[RunningPeer], options: tuple[str, ...], moves: int
) -> None:
    anna, ben = peers
    anna.start(*options)
    named = ("--peer", f"{hosts[0].address}:7373") if options else ()
    ben.start(*options, *named)
    wait_until(lambda: sees(anna, ben) and sees(ben, anna), 15, "both connected", *peers)
    wait_until(lambda: offered_by(ben, "chess") == 1, 15, "the game", *peers)
    moved, other = peers[moves], peers[1 - moves]
    old, new = hosts[moves].address, f"10.77.0.{100 + moves}"
    scoped = [one for one in view_of(other, moved)["addresses"] if "%eth0" in one]
    try:
        with watched(anna) as told_anna, watched(ben) as told_ben:
            renumber(hosts[moves], old, new)
            took_s = wait_until(
                lambda: is_at(other, moved, new, scoped), 20, f"connected at {new}", *peers
            )
            assert took_s < MOVED_S
            # It is really there, on both sides, and not only listed.
            fetched = ben.get("chess")
            fetched.communicate(timeout=30)
            assert fetched.returncode == 0
            assert sees(moved, other)
        assert "download.finished" in told_ben
        assert "peer.lost" not in told_anna + told_ben
    finally:
        renumber(hosts[moves], new, old)


def test_a_cable_that_is_pulled_for_a_moment(hosts: list[Host], peers: list[RunningPeer]) -> None:
    """Shorter than the stale timeout: nobody is told of a loss, and it works at once again."""
    anna, ben = peers
    anna.start()
    ben.start()
    wait_until(lambda: sees(anna, ben) and sees(ben, anna), 15, "both connected", *peers)
    wait_until(lambda: offered_by(ben, "chess") == 1, 15, "the game", *peers)
    with watched(anna) as told_anna, watched(ben) as told_ben:
        hosts[0].link("down")
        time.sleep(12)
        hosts[0].link("up")
        began = time.monotonic()
        fetched = ben.get("chess")
        fetched.communicate(timeout=30)
        assert fetched.returncode == 0
        assert time.monotonic() - began < at_most(MOVED_S)
        view_of(ben, anna)
        view_of(anna, ben)
    assert "peer.lost" not in told_anna + told_ben
