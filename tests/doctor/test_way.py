"""The way to a peer: each end that it can come to, and the probes that cannot run for ever."""

from __future__ import annotations

import errno
import socket
from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread.doctor import mdns_packets, mdns_socket, udp_probe, way
from lanspread.doctor.findings import Level
from lanspread.doctor.interfaces import OwnAddress
from lanspread.doctor.probing import Probe
from lanspread.doctor.tcp_probe import Bulk
from lanspread.doctor.udp_probe import Attempt, Udp
from lanspread.doctor.wanted import Wanted
from lanspread.doctor.way import Greeting, Quic, Step, Way
from lanspread.doctor.way_judgement import Us, judge_way
from lanspread.platform import RealEntropy, RealThreads
from lanspread.seams import Address
from lanspread.sync.errors import HandshakeFault
from lanspread.transport.packets import parse_long_header, version_negotiation
from lanspread.transport.udp import UdpNetwork

PEER = Address("192.168.1.9", 7373)
PEER_ID = "00000000-0000-8000-8000-000000000002"
OWN = [OwnAddress("127.0.0.1", "lo", 8), OwnAddress("192.168.1.5", "eth0", 24)]
US = Us(own=OWN, peer_id="00000000-0000-8000-8000-000000000001", heard={PEER_ID: 3})
ARRIVED = Way(
    wanted=PEER,
    attempts=(Attempt(PEER, Udp.ANSWERED, "192.168.1.5"),),
    greeting=Greeting(quic=Quic.MADE, peer_id=PEER_ID, name="ben"),
    directly=True,
)


def codes(found: Way, us: Us = US) -> dict[str, str]:
    findings = judge_way(found, us)
    for one in findings:
        assert one.remedy or one.level in (Level.OK, Level.NOTE)
    return {one.code: one.level.value for one in findings}


def test_a_way_on_which_nothing_fails() -> None:
    expected = ["same_subnet", "udp", "quic", "version", "identity", "mdns"]
    assert codes(ARRIVED) == dict.fromkeys(expected, "ok")
    named = attrs.evolve(ARRIVED, wanted=Address("ben.lan", 7373))
    assert next(iter(codes(named))) == "name"


def test_a_name_that_leads_nowhere() -> None:
    assert codes(Way(wanted=Address("x", 1), unresolved="no")) == {"name_unknown": "fault"}


@pytest.mark.parametrize("outcome", [one for one in Udp if one is not Udp.ANSWERED])
def test_every_end_of_udp_is_a_fault_that_says_what_to_do(outcome: Udp) -> None:
    found = codes(Way(wanted=PEER, attempts=(Attempt(PEER, outcome, error=errno.EIO),)))
    assert found.pop("same_subnet") == "ok"
    assert list(found.values()) == ["fault"]


def test_one_address_that_works_is_enough() -> None:
    far = Address("2001:db8::9", 7373)
    both = (Attempt(far, Udp.NO_ROUTE), *ARRIVED.attempts)
    found = codes(attrs.evolve(ARRIVED, attempts=both))
    assert (found["no_route"], found["other_subnet"], found["udp"]) == ("warning", "warning", "ok")
    assert "fault" not in found.values()


@pytest.mark.parametrize(
    ("quic", "code"),
    [
        (Quic.OTHER_PROTOCOL, "quic_other"),
        (Quic.REFUSED, "quic_refused"),
        (Quic.SILENT, "quic_failed"),
        (Quic.BROKEN, "quic_failed"),
    ],
)
def test_quic_that_fails(quic: Quic, code: str) -> None:
    found = codes(attrs.evolve(ARRIVED, greeting=Greeting(quic=quic)))
    assert found == {"same_subnet": "ok", "udp": "ok", code: "fault"}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (HandshakeFault.INCOMPATIBLE, "incompatible"),
        (HandshakeFault.REFUSED, "refused"),
        (HandshakeFault.WRONG_IDENTITY, "identity"),
        (HandshakeFault.LOST, "hello_failed"),
        (HandshakeFault.MISBEHAVED, "hello_failed"),
        (HandshakeFault.REPLACED, "hello_failed"),
    ],
)
def test_a_greeting_that_fails(kind: HandshakeFault, code: str) -> None:
    greeting = Greeting(quic=Quic.MADE, fault=kind, detail="why", peer_id="")
    found = codes(attrs.evolve(ARRIVED, greeting=greeting), attrs.evolve(US, heard=None))
    assert found == {"same_subnet": "ok", "udp": "ok", "quic": "ok", code: "fault"}


def test_our_own_peer() -> None:
    own = attrs.evolve(US, peer_id=PEER_ID)
    here = Address("192.168.1.5", 7373)
    found = codes(attrs.evolve(ARRIVED, attempts=(Attempt(here, Udp.ANSWERED),)), own)
    assert (found["own_address"], found["own_identity"]) == ("note", "note")
    assert "mdns" not in found
    loop = attrs.evolve(ARRIVED, attempts=(Attempt(Address("::1", 7373), Udp.ANSWERED),))
    assert codes(loop, own)["own_identity"] == "note"


def test_our_own_identity_on_another_machine() -> None:
    own = attrs.evolve(US, peer_id=PEER_ID)
    assert codes(ARRIVED, own)["identity_cloned"] == "fault"
    # Where our own addresses are not known nothing is claimed.
    assert codes(ARRIVED, attrs.evolve(own, own=()))["own_identity"] == "note"


@pytest.mark.parametrize(
    ("error", "level", "part"),
    [
        (0, "ok", "TCP gets to 192.168.1.9:7380"),
        (errno.ETIMEDOUT, "warning", "drops it"),
        (errno.ECONNREFUSED, "warning", "refuses it"),
        (errno.EACCES, "warning", "Permission denied"),
    ],
)
def test_the_way_of_bulk_data(error: int, level: str, part: str) -> None:
    found = attrs.evolve(ARRIVED, bulk=Bulk(Address(PEER.host, 7380), error))
    (finding,) = [one for one in judge_way(found, US) if one.check == "peer bulk"]
    assert (finding.level.value, finding.code) == (level, "bulk" if not error else "bulk_blocked")
    assert part in finding.message
    assert ("TCP port 7380" in finding.remedy) == bool(error)


def test_multicast_that_is_lost_on_the_way() -> None:
    deaf = attrs.evolve(US, heard={})
    assert codes(ARRIVED, deaf)["multicast_lost"] == "fault"
    assert codes(attrs.evolve(ARRIVED, directly=False), deaf)["mdns_silent"] == "warning"
    # Nobody listened, or it is too far for multicast: nothing is to be said.
    assert "mdns" not in "".join(codes(ARRIVED, attrs.evolve(US, heard=None)))
    far = attrs.evolve(ARRIVED, attempts=(Attempt(Address("10.9.9.9", 7373), Udp.ANSWERED),))
    assert set(codes(far, deaf)) == {"other_subnet", "udp", "quic", "version", "identity"}


# -- packets ---------------------------------------------------------------------------------------


def test_a_listener_answers_the_probe() -> None:
    packet = udp_probe.probe_packet(b"12345678")
    assert len(packet) == 1_200
    header = parse_long_header(packet)
    assert header is not None
    answer = version_negotiation(header)
    assert udp_probe.is_negotiation(answer, b"12345678")
    for wrong in (b"", b"\x80", packet, answer[:12], answer.replace(b"5678", b"5679")):
        assert not udp_probe.is_negotiation(wrong, b"12345678")


@pytest.mark.parametrize("data", [b"", b"\0" * 12, b"\xff" * 500, mdns_packets.question(7)])
def test_what_is_no_answer_of_mdns(data: bytes) -> None:
    answer = mdns_packets.read_answer(data)
    assert answer is None or answer.peers == {}


def test_senders_keep_their_scope() -> None:
    assert mdns_socket.host_of(("192.168.1.9", 5353)) == "192.168.1.9"
    assert mdns_socket.host_of(("fd00::9", 5353, 0, 0)) == "fd00::9"
    name = socket.if_indextoname(1)
    for host in ("fe80::9", f"fe80::9%{name}"):
        assert mdns_socket.host_of((host, 5353, 0, 1)) == f"fe80::9%{name}"


# -- with sockets on loopback ----------------------------------------------------------------------


def loopback_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


async def test_a_port_where_nobody_listens_is_told_from_one_that_speaks_something_else() -> None:
    with loopback_socket() as sock:
        port = sock.getsockname()[1]
    attempt = await udp_probe.probe(Address("127.0.0.1", port), ())
    assert (attempt.outcome, attempt.source) == (Udp.REFUSED, "127.0.0.1")
    with loopback_socket() as sock:
        sock.setblocking(False)
        address = Address(*sock.getsockname())

        async def echo() -> None:
            while True:
                await trio.lowlevel.wait_readable(sock)
                sock.sendto(*sock.recvfrom(2_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo)
            attempt = await udp_probe.probe(address, ["::1", "127.0.0.1"])
            nursery.cancel_scope.cancel()
    assert attempt.outcome is Udp.STRANGE
    assert (await udp_probe.probe(address, ["::1"])).outcome is Udp.OUT_OF_REACH


class Waking:
    """A socket that wakes its reader for nothing the first time; its descriptor is readable."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self.calls = 0

    def fileno(self) -> int:
        return self._inner.fileno()

    def recv(self, size: int) -> bytes:
        self.calls += 1
        if self.calls == 1:
            raise BlockingIOError(errno.EAGAIN, "try again")
        return self._inner.recv(size)


async def test_a_reader_that_is_woken_for_nothing_goes_on(autojump_clock: MockClock) -> None:
    with loopback_socket() as sock, loopback_socket() as other:
        other.sendto(b"data", sock.getsockname())
        waking = Waking(sock)
        assert await udp_probe.receive_once(cast(socket.socket, waking)) == b"data"
    assert waking.calls == 2


# -- deadlines -------------------------------------------------------------------------------------


class DeafNames(UdpNetwork):
    """A name server that never answers."""

    def __init__(self) -> None:
        super().__init__(RealThreads())

    async def resolve(self, host: str, port: int) -> list[Address]:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_name_server_that_is_silent(autojump_clock: MockClock) -> None:
    wanted = Wanted(state="/state")
    found = await way.walk(wanted, Address("ben.lan", 1), DeafNames(), RealEntropy())
    assert "did not answer" in found.unresolved
    assert trio.current_time() == way.seconds_for(Step.NAME, 0.0)


async def test_a_probe_ends_at_its_deadline_or_with_its_fault(autojump_clock: MockClock) -> None:
    async def fall_over() -> int:
        raise ValueError("over\nthere")

    slow: Probe[object] = Probe("slow", 3.0, trio.sleep_forever)
    broken = Probe("broken", 3.0, fall_over)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.run)
        nursery.start_soon(broken.run)
    assert trio.current_time() == 3.0
    assert slow.ended.is_set()
    for probe, part in ((slow, "within 3 s"), (broken, "ValueError: over there")):
        (finding,) = probe.judge(lambda _: [])
        assert (finding.code, finding.level) == ("not_looked", Level.WARNING)
        assert part in finding.message
