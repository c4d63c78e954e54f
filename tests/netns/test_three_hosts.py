"""Three hosts on a bridge: found by real multicast, and what happens when sources or ways die."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machine import at_most
from tests.netns.support import (
    Host,
    RunningPeer,
    copy_game,
    hosts_or_say_why,
    ip,
    make_game,
    tree_bytes,
)

PROGRAM = (sys.executable, "-m", "lanspread")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    yield from hosts_or_say_why(3)


@pytest.fixture
def peers(hosts: list[Host], tmp_path: Path) -> Iterator[list[RunningPeer]]:
    """Three peers that are not started yet; the first two hold the same game."""
    made = [
        RunningPeer(host, tmp_path / name, PROGRAM, name)
        for host, name in zip(hosts, ("anna", "ben", "cleo"), strict=True)
    ]
    content = random.Random(1)
    files = {f"data {number}.bin": content.randbytes(5 * MIB) for number in range(6)}
    files |= {f"maps/karte {number} ü.txt": content.randbytes(number) for number in range(40)}
    game = make_game(made[0].games, "chess", files)
    copy_game(game, made[1].games)
    try:
        yield made
    finally:
        for peer in made:
            if peer.process is not None and peer.process.poll() is None:
                peer.kill()


class Events:
    """The lines of a `get --json`, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(json.loads(line))

    def wait_for(
        self, kind: str, timeout_s: float, test: Callable[[dict[str, Any]], bool] = bool
    ) -> dict[str, Any]:
        """The next event of a kind whose data pass the test."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind} within {timeout_s} s: {self.seen}") from None
            self.seen.append(event["type"])
            if event["type"] == kind and test(event["data"]):
                return event["data"]  # type: ignore[no-any-return]

    def end(self) -> int:
        code = self._process.wait(20)
        self._thread.join(20)
        return code


def wait_until(test: Callable[[], bool], timeout_s: float, what: str, *peers: RunningPeer) -> float:
    """How long it took, in seconds. Fails with the logs of `peers`."""
    start = time.monotonic()
    while not test():
        if time.monotonic() - start > timeout_s:
            logs = "\n".join(f"{peer.name}:\n{peer.log()}" for peer in peers)
            pytest.fail(f"not within {timeout_s} s: {what}\n{logs}")
        time.sleep(0.05)
    return time.monotonic() - start


def sees(peer: RunningPeer, *others: RunningPeer) -> bool:
    connected = {one["peer_id"] for one in peer.ask("peers") if one["state"] == "connected"}
    return connected >= {other.ready["peer_id"] for other in others}


def offered_by(peer: RunningPeer, game_id: str) -> int:
    return next((len(game["peers"]) for game in peer.ask("games") if game["id"] == game_id), 0)


def same_tree(one: RunningPeer, other: RunningPeer) -> bool:
    return tree_bytes(one.games / "chess") == tree_bytes(other.games / "chess")


def start_all(peers: list[RunningPeer], *options_of_last: str) -> None:
    for peer in peers[:2]:
        peer.start()
    peers[2].start(*options_of_last)
    wait_until(lambda: offered_by(peers[2], "chess") == 2, 15, "two sources", *peers)


def test_found_by_multicast_and_fetched_from_both(peers: list[RunningPeer]) -> None:
    anna, _, cleo = peers
    start_all(peers)
    events = Events(cleo.get("chess"))
    begin = events.wait_for("download.begin", 20)
    assert len(begin["sources"]) == 2
    events.wait_for("download.finished", 60)
    assert events.end() == 0
    assert same_tree(anna, cleo)
    assert [peer.stop() for peer in peers] == [0, 0, 0]


def test_one_source_is_killed_in_the_middle(peers: list[RunningPeer]) -> None:
    anna, ben, cleo = peers
    start_all(peers, "--max-down", "6")
    events = Events(cleo.get("chess"))
    events.wait_for("download.progress", 20, lambda data: data["done_bytes"] > 4 * MIB)
    anna.kill()
    events.wait_for("download.finished", 60)
    assert events.end() == 0
    assert same_tree(ben, cleo)


def test_both_are_killed_and_one_comes_back(peers: list[RunningPeer]) -> None:
    anna, ben, cleo = peers
    start_all(peers, "--max-down", "6")
    events = Events(cleo.get("chess"))
    events.wait_for("download.progress", 20, lambda data: data["done_bytes"] > 4 * MIB)
    anna.kill()
    ben.kill()
    paused = events.wait_for("download.paused", 90)
    assert paused["reason"] == "no_sources"
    assert not (cleo.games / "chess" / "version.ini").exists()
    anna.start()
    back_after_s = wait_until(lambda: sees(cleo, anna), 15, "anna is back", cleo)
    assert back_after_s < at_most(3.0)
    events.wait_for("download.resumed", 20)
    events.wait_for("download.finished", 60)
    assert events.end() == 0
    assert same_tree(anna, cleo)


def lanes_to(host: Host) -> int:
    """How many TCP connections for bulk data a host has taken that are up."""
    told = host.run("ss", "-Htn", "state", "established", "sport", "=", ":7373")
    assert told.returncode == 0, told.stderr
    return len(told.stdout.splitlines())


def test_tcp_is_swallowed_in_the_middle(peers: list[RunningPeer]) -> None:
    """A firewall that says nothing: the chunks that were under way come over QUIC."""
    anna, _, cleo = peers
    anna.start()
    cleo.start("--max-down", "6")
    wait_until(lambda: offered_by(cleo, "chess") == 1, 15, "one source", anna, cleo)
    events = Events(cleo.get("chess"))
    events.wait_for("download.progress", 20, lambda data: data["done_bytes"] > 4 * MIB)
    assert lanes_to(anna.host) > 0
    drop = ("ipproto", "tcp", "sport", "7373", "blackhole")
    ip("-n", anna.host.namespace, "rule", "add", *drop)
    try:
        events.wait_for("download.finished", 60)
    finally:
        ip("-n", anna.host.namespace, "rule", "del", *drop)
    assert events.end() == 0
    assert same_tree(anna, cleo)
    assert "download.paused" not in events.seen


def test_a_source_stands_still_in_the_middle(peers: list[RunningPeer]) -> None:
    """A laptop whose lid was closed: its sockets are open and say nothing."""
    anna, ben, cleo = peers
    start_all(peers, "--max-down", "6")
    events = Events(cleo.get("chess"))
    events.wait_for("download.progress", 20, lambda data: data["done_bytes"] > 4 * MIB)
    assert lanes_to(anna.host) > 0
    assert lanes_to(ben.host) > 0
    assert anna.process is not None
    os.killpg(anna.process.pid, signal.SIGSTOP)
    # What it was asked for is asked of the other, long before it counts as gone.
    events.wait_for("download.finished", 25)
    assert events.end() == 0
    assert same_tree(ben, cleo)
    os.killpg(anna.process.pid, signal.SIGCONT)
    wait_until(lambda: sees(cleo, anna), 30, "it is connected again", cleo)


def test_two_fetch_from_each_other(peers: list[RunningPeer]) -> None:
    anna, _, cleo = peers
    content = random.Random(2)
    files = {f"data {number}.bin": content.randbytes(5 * MIB) for number in range(6)}
    make_game(cleo.games, "poker", files)
    anna.start()
    cleo.start()
    wait_until(lambda: offered_by(cleo, "chess") == 1, 15, "one game", anna, cleo)
    wait_until(lambda: offered_by(anna, "poker") == 1, 15, "the other game", anna, cleo)
    here, there = Events(cleo.get("chess")), Events(anna.get("poker"))
    here.wait_for("download.finished", 60)
    there.wait_for("download.finished", 60)
    assert (here.end(), there.end()) == (0, 0)
    assert same_tree(anna, cleo)
    assert tree_bytes(anna.games / "poker") == tree_bytes(cleo.games / "poker")
