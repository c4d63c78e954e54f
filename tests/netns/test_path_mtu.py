"""Packets as large as a real path carries: jumbo frames, and bridges that swallow them.

A bridge drops a frame that is too large for the port it leaves by, and says nothing: a black hole.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from lanspread import limits
from lanspread.transport.path_mtu import TUNNEL_PAYLOAD_BYTES
from tests.netns.support import Host, hosts_or_say_why, ip

ROOT = Path(__file__).parent.parent.parent
PROGRAM = (sys.executable, "-m", "tests.netns.path_endpoint")
PORT = "7400"
TOTAL = 4_000_000
JUMBO = 9_000
IPV4, IPV6 = 28, 48


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    for made in hosts_or_say_why(2):
        for number, host in enumerate(made, 1):
            # A virtual wire would carry several segments as one frame, whatever the bridge takes.
            ip("-n", host.namespace, "link", "set", "eth0", "gso_max_segs", "1")
            ip("-n", host.namespace, "addr", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
        yield made


def set_mtu(hosts: list[Host], cards: int, bridge: int) -> None:
    """The cards say one thing, the bridge between them carries another."""
    bridge_namespace = hosts[0].namespace.rpartition("-")[0] + "-br"
    for number, host in enumerate(hosts, 1):
        ip("-n", host.namespace, "link", "set", "eth0", "mtu", str(cards))
        ip("-n", bridge_namespace, "link", "set", f"port{number}", "mtu", str(bridge))


@attrs.frozen
class Transfer:
    """A transfer in two halves between two hosts."""

    serving: subprocess.Popen[str]
    fetching: subprocess.Popen[str]

    def half(self) -> dict[str, Any]:
        """Wait for the next half; what the sender's connection says of itself then."""
        assert self.serving.stdout is not None
        assert self.fetching.stdout is not None
        assert int(self.fetching.stdout.readline()) == TOTAL // 2 + 1
        statistics: dict[str, Any] = json.loads(self.serving.stdout.readline())
        return statistics

    def go_on(self) -> None:
        assert self.fetching.stdin is not None
        self.fetching.stdin.write("\n")
        self.fetching.stdin.flush()


@contextmanager
def transfer(hosts: list[Host], address: str) -> Iterator[Transfer]:
    first, second = hosts
    serving = first.popen(*PROGRAM, "serve", address, PORT, str(TOTAL), cwd=ROOT)
    assert serving.stdout is not None
    assert serving.stdout.readline() == "ready\n"
    fetching = second.popen(*PROGRAM, "fetch", address, PORT, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        yield Transfer(serving, fetching)
    finally:
        for process in (fetching, serving):
            process.kill()
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


@pytest.mark.parametrize(
    ("address", "cards", "bridge", "expected"),
    [
        ("10.77.0.1", JUMBO, 1_500, limits.QUIC_PAYLOAD_BYTES),
        ("10.77.0.1", 1_300, 1_500, 1_300 - IPV4),
        ("fd77::1", JUMBO, JUMBO, JUMBO - IPV6),
        ("fd77::1", 1_500, 1_380, limits.QUIC_SMALLEST_PAYLOAD_BYTES),
        ("10.77.0.1", 1_500, 1_400, TUNNEL_PAYLOAD_BYTES),
    ],
)
def test_packets_are_as_large_as_the_path_carries(
    hosts: list[Host], address: str, cards: int, bridge: int, expected: int
) -> None:
    set_mtu(hosts, cards, bridge)
    with transfer(hosts, address) as running:
        assert running.half()["payload_bytes"] == expected


def test_a_path_that_begins_to_swallow_large_packets(hosts: list[Host]) -> None:
    set_mtu(hosts, JUMBO, JUMBO)
    with transfer(hosts, "10.77.0.1") as running:
        assert running.half()["payload_bytes"] == JUMBO - IPV4
        set_mtu(hosts, JUMBO, 1_500)
        running.go_on()
        assert running.half()["payload_bytes"] == limits.QUIC_PAYLOAD_BYTES
