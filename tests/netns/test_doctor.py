"""`lanspread doctor` on hosts whose network is broken in one way each: it says which, and a remedy.

Everything is broken by means of the kernel's own routing, rules and bridge: iproute2 is enough.
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

from tests.netns.support import Host, RunningPeer, hosts_or_say_why, ip
from tests.netns.test_three_hosts import wait_until

PROGRAM = (sys.executable, "-m", "lanspread")
# The same program, speaking a later protocol.
LATER = (
    sys.executable,
    "-c",
    "from lanspread import limits; limits.PROTOCOL_VERSION += 1;"
    "from lanspread.cli.main import main; main()",
)
HERE, THERE, ELSEWHERE = 0, 1, 2
PEER = "10.77.0.2:7373"


@attrs.frozen
class Told:
    """What one run of the doctor said."""

    code: int
    ok: bool
    findings: list[dict[str, str]]

    def level(self, code: str) -> str:
        """The worst level of the findings of this code; empty if there is none."""
        order = ("", "ok", "note", "warning", "fault")
        levels = [one["level"] for one in self.findings if one["code"] == code]
        return max(levels, key=order.index, default="")

    def remedy(self, code: str) -> str:
        return next(one["remedy"] for one in self.findings if one["code"] == code)

    @property
    def faults(self) -> set[str]:
        return {one["code"] for one in self.findings if one["level"] == "fault"}


class Patient:
    """A doctor's run that has been started."""

    def __init__(self, host: Host, folder: Path, *options: str) -> None:
        self._process: subprocess.Popen[str] = host.popen(
            *PROGRAM, "doctor", "--json", "--state", str(folder / "nothing"), *options,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def told(self) -> Told:
        out, err = self._process.communicate(timeout=30)
        assert err == ""
        value: dict[str, Any] = json.loads(out)
        told = Told(self._process.returncode, value["ok"], value["findings"])
        assert "not_looked" not in {one["code"] for one in told.findings}
        assert told.ok == (not told.faults) == (told.code == 0)
        assert all(one["remedy"] for one in told.findings if one["level"] in ("warning", "fault"))
        return told


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    yield from hosts_or_say_why(3)


@pytest.fixture(scope="module")
def there(hosts: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPeer]:
    """A peer on the second host."""
    peer = RunningPeer(hosts[THERE], tmp_path_factory.mktemp("anna"), PROGRAM, "anna")
    peer.start()
    try:
        yield peer
    finally:
        peer.kill()


@contextmanager
def undone(host: Host, *add: str, remove: tuple[str, ...]) -> Iterator[None]:
    """An `ip` command on a host, and the one that takes it back."""
    ip("-n", host.namespace, *add)
    try:
        yield
    finally:
        ip("-n", host.namespace, *remove)


def test_a_way_on_which_nothing_fails(
    hosts: list[Host], there: RunningPeer, tmp_path: Path
) -> None:
    told = Patient(hosts[HERE], tmp_path, "--peer", PEER).told()
    assert told.faults == set()
    for code in ("multicast", "same_subnet", "udp", "quic", "version", "identity", "bulk", "mdns"):
        assert told.level(code) == "ok", code
    identity = next(one for one in told.findings if one["code"] == "identity")
    assert there.ready["peer_id"] in identity["message"]
    # Over there somebody came and went again, and nothing of it is left.
    wait_until(lambda: not there.ask("peers"), 5, "the goodbye", there)
    assert "error" not in there.log().lower()


@contextmanager
def no_answers(hosts: list[Host]) -> Iterator[None]:
    """Answers of the others do not get here by multicast; unicast does."""
    bridge = Host(hosts[HERE].namespace.rpartition("-")[0] + "-br", "")
    port = ("link", "set", "port1", "type", "bridge_slave", "mcast_flood")
    with undone(bridge, *port, "off", remove=(*port, "on")):
        yield


def test_multicast_is_switched_off(hosts: list[Host], tmp_path: Path) -> None:
    here = hosts[HERE]
    off, on = (("link", "set", "eth0", "multicast", state) for state in ("off", "on"))
    with undone(here, *off, remove=on), no_answers(hosts):
        told = Patient(here, tmp_path).told()
    assert told.faults == {"multicast_off"}
    assert "ip link set eth0 multicast on" in told.remedy("multicast_off")


def test_the_cable_is_pulled(hosts: list[Host], tmp_path: Path) -> None:
    here = hosts[HERE]
    here.link("down")
    try:
        told = Patient(here, tmp_path, "--peer", PEER).told()
    finally:
        here.link("up")
        ip("-n", here.namespace, "route", "replace", "224.0.0.0/4", "dev", "eth0")
    assert told.faults == {"not_sent", "no_route"}
    for code in told.faults:
        assert "cable" in told.remedy(code)


def test_a_switch_that_does_not_pass_multicast_on(
    hosts: list[Host], there: RunningPeer, tmp_path: Path
) -> None:
    with no_answers(hosts):
        told = Patient(hosts[HERE], tmp_path, "--peer", PEER).told()
    assert told.faults == {"multicast_lost"}
    assert told.level("alone") == "note"
    assert told.level("version") == "ok"
    assert "lanspread connect" in told.remedy("multicast_lost")


def test_a_blocked_udp_port(hosts: list[Host], there: RunningPeer, tmp_path: Path) -> None:
    here = hosts[HERE]
    drop = ("ipproto", "udp", "sport", "7373", "blackhole")
    deny = ("ipproto", "udp", "dport", "7399", "prohibit")
    with (
        undone(hosts[THERE], "rule", "add", *drop, remove=("rule", "del", *drop)),
        undone(here, "rule", "add", *deny, remove=("rule", "del", *deny)),
    ):
        ways = [
            Patient(here, tmp_path, "--peer", address)
            for address in (PEER, "10.77.0.2:7399", "10.77.0.2:7400", "10.77.0.99:7373")
        ]
        dropped, denied, closed, nobody = (way.told() for way in ways)
    assert dropped.faults == {"udp_silent"}
    assert "UDP 7373" in dropped.remedy("udp_silent")
    assert dropped.level("same_subnet") == "ok"
    assert denied.faults == {"udp_forbidden"}
    assert "UDP 7399" in denied.remedy("udp_forbidden")
    assert closed.faults == {"udp_refused"}
    assert nobody.faults == {"no_host"}


def test_two_peers_on_different_subnets(hosts: list[Host], tmp_path: Path) -> None:
    here, other = hosts[HERE], hosts[ELSEWHERE]
    ip("-n", other.namespace, "addr", "del", f"{other.address}/24", "dev", "eth0")
    ip("-n", other.namespace, "addr", "add", "10.78.0.3/24", "dev", "eth0")
    ip("-n", other.namespace, "route", "replace", "224.0.0.0/4", "dev", "eth0")
    peer = RunningPeer(other, tmp_path / "cleo", PROGRAM, "cleo")
    peer.start()
    try:
        ways = [
            Patient(here, tmp_path),
            Patient(here, tmp_path, "--peer", "10.78.0.3:7373"),
        ]
        alone, asked = (way.told() for way in ways)
        to_there = ("route", "add", "10.78.0.0/24", "dev", "eth0")
        back = ("route", "add", "10.77.0.0/24", "dev", "eth0")
        with (
            undone(here, *to_there, remove=("route", "del", *to_there[2:])),
            undone(other, *back, remove=("route", "del", *back[2:])),
        ):
            routed = Patient(here, tmp_path, "--peer", "10.78.0.3:7373").told()
    finally:
        peer.kill()
        ip("-n", other.namespace, "addr", "del", "10.78.0.3/24", "dev", "eth0")
        ip("-n", other.namespace, "addr", "add", f"{other.address}/24", "dev", "eth0")
    # Heard on the same wire, without a way to go there.
    assert alone.faults == {"other_subnet"}
    assert "one subnet" in alone.remedy("other_subnet")
    assert asked.faults == {"other_subnet", "no_route"}
    # With a router between them it works by address, and by nothing else.
    assert routed.faults == set()
    assert routed.level("other_subnet") == "warning"
    remedies = [one["remedy"] for one in routed.findings if one["check"] == "peer route"]
    assert any("--peer HOST:7373" in remedy for remedy in remedies)
    assert routed.level("version") == "ok"


def test_a_wrong_protocol_version(hosts: list[Host], tmp_path: Path) -> None:
    peer = RunningPeer(hosts[ELSEWHERE], tmp_path / "dora", LATER, "dora")
    peer.start()
    try:
        address = f"{hosts[ELSEWHERE].address}:7373"
        told = Patient(hosts[HERE], tmp_path, "--peer", address).told()
    finally:
        peer.kill()
    assert told.faults == {"incompatible"}
    assert "same version" in told.remedy("incompatible")
    # mDNS says so as well, of whoever is about.
    assert told.level("other_version") == "warning"
    assert told.level("quic") == "ok"


@contextmanager
def impostor(host: Host) -> Iterator[None]:
    """Something on a host that says it is a peer whose key it has not."""
    program = str(Path(__file__).parent.parent / "doctor" / "greeter.py")
    process = host.popen(sys.executable, program)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_peer_that_says_it_is_another(hosts: list[Host], tmp_path: Path) -> None:
    other = hosts[ELSEWHERE]
    with impostor(other):
        told = Patient(hosts[HERE], tmp_path, "--peer", f"{other.address}:7373").told()
    assert told.faults == {"identity"}
    assert told.level("quic") == "ok"


def test_tcp_for_bulk_data_is_blocked(
    hosts: list[Host], there: RunningPeer, tmp_path: Path
) -> None:
    drop = ("ipproto", "tcp", "sport", "7373", "blackhole")
    with undone(hosts[THERE], "rule", "add", *drop, remove=("rule", "del", *drop)):
        told = Patient(hosts[HERE], tmp_path, "--peer", PEER).told()
    # It costs speed and nothing else.
    assert told.faults == set()
    assert told.level("bulk_blocked") == "warning"
    assert "TCP port 7373" in told.remedy("bulk_blocked")


# Prints a line for every UDP or TCP packet that leaves by eth0.
WATCHING = """
import socket
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
sock.bind(("eth0", 3))
print("ready", flush=True)
while True:
    packet, (_, kind, direction, *_) = sock.recvfrom(2048)
    protocol = packet[9] if kind == 0x0800 else packet[6] if kind == 0x86DD else 0
    if direction == socket.PACKET_OUTGOING and protocol in (6, 17):
        print(packet.hex(), flush=True)
"""


@contextmanager
def leaving(host: Host) -> Iterator[list[str]]:
    """The packets that left, complete when the block is left."""
    process = host.popen(sys.executable, "-c", WATCHING)
    assert process.stdout is not None
    packets: list[str] = []
    try:
        assert process.stdout.readline() == "ready\n"
        yield packets
        # One more, of our own: all before it have been seen, and packets are seen at all.
        send = (
            "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'end', ('10.77.0.2', 9))"
        )
        host.run(sys.executable, "-c", send)
        for line in process.stdout:
            if b"end".hex() in line:
                break
            packets.append(line.strip())
    finally:
        process.kill()
        process.communicate()


def test_with_loopback_alone_nothing_leaves_the_machine(hosts: list[Host], tmp_path: Path) -> None:
    here = hosts[HERE]
    with leaving(here) as packets:
        ways = [
            Patient(here, tmp_path, "--interface", "127.0.0.1", "--peer", peer)
            for peer in (PEER, "somewhere.example:7373", "127.0.0.1:7373")
        ]
        far, named, near = (way.told() for way in ways)
    assert packets == []
    assert far.faults == {"out_of_reach"}
    assert named.faults == {"name_unknown"}
    assert near.faults == {"udp_refused"}
    assert near.level("multicast") == "ok"
