"""Hosts whose addresses change and whose cables are pulled, on real kernels with real multicast."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.support import Host, RunningPeer, hosts_or_say_why, ip, make_game
from tests.netns.test_three_hosts import offered_by, sees, wait_until

PROGRAM = (sys.executable, "-m", "lanspread")


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


def renumber(host: Host, old: str, new: str) -> None:
    """What a new DHCP lease does."""
    ip("-n", host.namespace, "addr", "del", f"{old}/24", "dev", "eth0")
    ip("-n", host.namespace, "addr", "add", f"{new}/24", "dev", "eth0")


def view_of(peer: RunningPeer, other: RunningPeer) -> dict[str, Any]:
    """The other as `peer` shows it: it must be there exactly once, and nobody besides."""
    found: list[dict[str, Any]] = peer.ask("peers")
    assert [one["peer_id"] for one in found] == [other.ready["peer_id"]]
    return found[0]


def ipv4_of(view: dict[str, Any]) -> list[str]:
    return [address for address in view["addresses"] if not address.startswith("[")]


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
    renumber(hosts[moves], old, new)
    try:

        def found() -> bool:
            view = view_of(other, moved); print(time.monotonic() % 1000, view["state"], view["addresses"])
            return view["state"] == "connected" and ipv4_of(view) == [f"{new}:7373"]

        took_s = wait_until(found, 20, "connected at its new address", *peers)
        print(f"\n{options or 'mdns'} host {moves} moved: seen after {took_s:.1f} s")
        assert took_s < 10.0
        # It is really there, on both sides, and not only listed.
        fetched = ben.get("chess")
        fetched.communicate(timeout=30)
        assert fetched.returncode == 0
        assert sees(moved, other)
        for peer in peers:
            assert "peer.lost" not in peer.log()
    finally:
        renumber(hosts[moves], new, old)


def test_a_cable_that_is_pulled_and_plugged_in(
    hosts: list[Host], peers: list[RunningPeer]
) -> None:
    anna, ben = peers
    anna.start()
    ben.start()
    wait_until(lambda: sees(anna, ben) and sees(ben, anna), 15, "both connected", *peers)
    hosts[0].link("down")
    wait_until(lambda: not sees(ben, anna), 55, "anna is missed", *peers)
    hosts[0].link("up")
    ip("-n", hosts[0].namespace, "route", "replace", "224.0.0.0/4", "dev", "eth0")
    back_s = wait_until(lambda: sees(ben, anna) and sees(anna, ben), 20, "anna is back", *peers)
    print(f"\nback after {back_s:.1f} s")
    view_of(ben, anna)
    assert back_s < 10.0
    _ = time
