"""The way, walked over a network in memory: what comes back of it, and that its time is bounded."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lanspread.doctor import mdns_socket, tcp_probe, udp_probe, way
from lanspread.doctor.tcp_probe import Bulk
from lanspread.doctor.udp_probe import Attempt, Udp
from lanspread.doctor.wanted import Wanted
from lanspread.doctor.way import Quic, Step, Way, seconds_for
from lanspread.doctor.way_judgement import Us, judge_way
from lanspread.identity import new_identity
from lanspread.platform import RealEntropy
from lanspread.seams import Address, DatagramSocket, LocalAddress
from lanspread.sync.errors import HandshakeFault
from lanspread.transport import open_endpoint
from tests.doctor.greeter import body_of, greet_all, tls
from tests.transport.memory import A, B, MemoryNetwork

IDENTITY = new_identity(RealEntropy())
WANTED = Wanted(state="/state", mdns=False)


@attrs.define
class SlowNetwork:
    """The network of the one who walks; a name takes its time."""

    memory: MemoryNetwork
    resolve_s: float = 0.0

    async def bind(self, address: Address) -> DatagramSocket:
        return self.memory.bind(A)

    async def resolve(self, host: str, port: int) -> list[Address]:
        await trio.sleep(self.resolve_s)
        return [B]

    async def local_addresses(self) -> list[LocalAddress]:
        return []


@pytest.fixture(autouse=True)
def probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes over the machine's own sockets takes all the time that it may, and succeeds."""

    async def probe(address: Address, interfaces: object) -> Attempt:
        await trio.sleep(udp_probe.WAIT_S)
        return Attempt(address, Udp.ANSWERED)

    async def connect(address: Address, source: str, within_s: float) -> Bulk:
        await trio.sleep(within_s)
        return Bulk(address, errno.ETIMEDOUT)

    async def ask_directly(address: Address) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(udp_probe, "probe", probe)
    monkeypatch.setattr(tcp_probe, "connect", connect)
    monkeypatch.setattr(mdns_socket, "ask_directly", ask_directly)


@asynccontextmanager
async def listener(
    memory: MemoryNetwork, features: dict[str, object], peer_id: str = IDENTITY.peer_id
) -> AsyncIterator[None]:
    async with (
        open_endpoint([memory.bind(B)], tls(IDENTITY)) as endpoint,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(greet_all, endpoint, IDENTITY, body_of(peer_id, features))
        yield
        nursery.cancel_scope.cancel()


async def walked(
    features: dict[str, object], peer_id: str = IDENTITY.peer_id, wanted: Wanted = WANTED
) -> Way:
    memory = MemoryNetwork()
    async with listener(memory, features, peer_id):
        return await way.walk(wanted, Address("ben.lan", 1), SlowNetwork(memory), RealEntropy())


async def test_a_peer_without_bulk_data_is_not_asked_for_it(autojump_clock: MockClock) -> None:
    found = await walked({"version": "1"})
    assert found.greeting is not None
    assert (found.greeting.quic, found.greeting.fault) == (Quic.MADE, None)
    assert found.greeting.name == "greeter"
    assert found.bulk is None
    assert "bulk" not in " ".join(one.code for one in judge_way(found, Us(own=())))


@pytest.mark.parametrize("port", [True, 0, -1, 1_023, 65_536, "7373", 7373.0, None])
async def test_what_is_no_port_is_none(port: object, autojump_clock: MockClock) -> None:
    assert (await walked({"bulk_port": port})).bulk is None


async def test_the_bulk_port_is_tried_where_the_peer_was_reached(
    autojump_clock: MockClock,
) -> None:
    found = await walked({"bulk_port": 7380})
    assert found.bulk == Bulk(Address(B.host, 7380), errno.ETIMEDOUT)
    (finding,) = [one for one in judge_way(found, Us(own=())) if one.check == "peer bulk"]
    assert (finding.code, finding.level.value) == ("bulk_blocked", "warning")
    assert "TCP port 7380" in finding.remedy
    assert "over QUIC, more slowly" in finding.message


async def test_a_peer_that_says_it_is_another(autojump_clock: MockClock) -> None:
    found = await walked({"bulk_port": 7380}, new_identity(RealEntropy()).peer_id)
    assert found.greeting is not None
    assert found.greeting.fault is HandshakeFault.WRONG_IDENTITY
    assert found.bulk is None


# -- time ------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=len(Step), max_size=len(Step)))
def test_whatever_the_steps_take_they_end_in_time(shares: list[float]) -> None:
    passed = 0.0
    for step, share in zip(Step, shares, strict=True):
        may = seconds_for(step, passed)
        assert may >= 0.5, "too short for a slow network"
        passed += share * may
    assert passed <= way.WITHIN_S + 1e-9


@pytest.mark.parametrize("silent", ["quic", "hello", "nobody"])
async def test_a_walk_on_which_all_is_slow(silent: str, autojump_clock: MockClock) -> None:
    memory = MemoryNetwork()
    slow = SlowNetwork(memory, resolve_s=1.99)
    wanted = attrs.evolve(WANTED, mdns=True)
    async with trio.open_nursery() as nursery:
        if silent == "hello":
            # QUIC is taken, and nothing is said.
            nursery.start_soon(_deaf, memory)
        elif silent == "nobody":
            nursery.start_soon(_greeting, memory)
        found = await way.walk(wanted, Address("ben.lan", 1), slow, RealEntropy())
        nursery.cancel_scope.cancel()
    assert trio.current_time() <= way.WITHIN_S
    assert found.greeting is not None
    assert found.greeting.quic is (Quic.SILENT if silent == "quic" else Quic.MADE)
    assert found.greeting.fault is (HandshakeFault.LOST if silent == "hello" else None)


async def _deaf(memory: MemoryNetwork) -> None:
    async with open_endpoint([memory.bind(B)], tls(IDENTITY)):
        await trio.sleep_forever()


async def _greeting(memory: MemoryNetwork) -> None:
    async with listener(memory, {"bulk_port": 7380}):
        await trio.sleep_forever()


# -- TCP with sockets on loopback ------------------------------------------------------------------


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, probes: None) -> None:
    """The real one."""
    monkeypatch.undo()


async def test_tcp_that_is_taken_and_tcp_that_is_refused(connect: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = Address("127.0.0.1", server.getsockname()[1])
        assert await tcp_probe.connect(there, "127.0.0.1", 5.0) == Bulk(there)
        assert await tcp_probe.connect(there, "", 5.0) == Bulk(there)
    assert (await tcp_probe.connect(there, "", 5.0)).error == errno.ECONNREFUSED
    # No interface of ours: said by the system at once.
    assert (await tcp_probe.connect(there, "192.0.2.1", 5.0)).error == errno.EADDRNOTAVAIL


async def test_tcp_that_is_silent(connect: None) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        there = Address(*full.getsockname())
        # Those that nobody takes fill the queue; the next are not answered.
        waiting = [socket.socket() for _ in range(2)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(there)
            found = await tcp_probe.connect(there, "", 0.2)
        finally:
            for one in waiting:
                one.close()
    assert found.error == errno.ETIMEDOUT
