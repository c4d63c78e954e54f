"""The way to one peer, walked as lanspread walks it: name, UDP, QUIC, Hello, bulk data.

It is greeted with an identity that is thrown away and shows no library; the peer over there sees
somebody come and go, and forgets it. What each step means is in `way_judgement`.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from lanspread import limits
from lanspread.doctor import mdns_socket, tcp_probe, udp_probe
from lanspread.doctor.tcp_probe import Bulk
from lanspread.doctor.udp_probe import Attempt, Udp
from lanspread.doctor.wanted import Wanted
from lanspread.identity import new_identity, peer_id_of
from lanspread.seams import Address, Entropy, Network
from lanspread.sync import codec, handshake
from lanspread.sync import messages as m
from lanspread.sync.errors import HandshakeFailed, HandshakeFault
from lanspread.transport import (
    ConnectFailed,
    Connection,
    ConnectRefused,
    EndpointOptions,
    TlsIdentity,
    TransportError,
    addresses,
    open_endpoint,
)
from lanspread.transport import HandshakeFailed as QuicFailed
from lanspread.transport.framing import frame

NAME = "lanspread doctor"
# For all steps together, the end of the connection included.
WITHIN_S = 8.5
DIRECTLY_S = 1.5
GOODBYE_S = 0.3
_MAX_TRIED = 4
# The feature by which a peer says where it serves bulk data over TCP.
_BULK_PORT = "bulk_port"
# Peers use no other: below are the system's own services.
_LEAST_PORT, _MAX_PORT = 1_024, 65_535
# TLS alert 120, as QUIC carries it (RFC 9001 section 4.8): none of our protocols is spoken there.
_NO_APPLICATION_PROTOCOL = 0x178


class Step(enum.Enum):
    """The steps of the way that can be slow, in their order."""

    NAME = "name"
    UDP = "udp"
    QUIC = "quic"
    HELLO = "hello"
    END = "the end of the connection"
    BULK = "bulk"


# How many seconds a step may take, and how many are kept for it if the steps before were slow.
_MOST_S: Final = {
    Step.NAME: 2.0,
    Step.UDP: udp_probe.WAIT_S,
    Step.QUIC: 2.0,
    Step.HELLO: 1.5,
    Step.END: GOODBYE_S + limits.ENDPOINT_CLOSE_S,
    # One packet may get lost: the system sends the second after a second.
    Step.BULK: 1.5,
}
_LEAST_S: Final = {
    Step.UDP: udp_probe.WAIT_S,
    Step.QUIC: 1.0,
    Step.HELLO: 0.6,
    Step.END: _MOST_S[Step.END],
    Step.BULK: 0.6,
}


def seconds_for(step: Step, passed_s: float) -> float:
    """What a step may take when so much of `WITHIN_S` has passed before it. Pure."""
    steps = list(Step)
    kept = sum(_LEAST_S[later] for later in steps[steps.index(step) + 1 :])
    return min(_MOST_S[step], WITHIN_S - kept - passed_s)


class Quic(enum.Enum):
    """How the QUIC handshake ended."""

    MADE = "connected"
    SILENT = "the handshake came to nothing"
    OTHER_PROTOCOL = "another program speaks QUIC there"
    REFUSED = "it takes no connection"
    BROKEN = "what it sent is no handshake"


@attrs.frozen(kw_only=True)
class Greeting:
    """What came of the QUIC handshake and of Hello.

    `fault` is why Hello failed, None if it did not, or was not come to. `peer_id` is that of the
    key that was proved by TLS; empty if there was none. `bulk_port` is where it says that it serves
    bulk data over TCP, 0 if it does not.
    """

    quic: Quic
    detail: str = ""
    fault: HandshakeFault | None = None
    peer_id: str = ""
    name: str = ""
    bulk_port: int = 0


@attrs.frozen(kw_only=True)
class Way:
    """How far we came. `greeting` is None if no address answered by UDP.

    `directly` says whether its mDNS responder answers a question sent to it alone. `bulk` is None
    if the peer serves no bulk data over TCP.
    """

    wanted: Address
    unresolved: str = ""
    attempts: tuple[Attempt, ...] = ()
    greeting: Greeting | None = None
    directly: bool = False
    bulk: Bulk | None = None


class _Time:
    """What is left of the one deadline for each step."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    def for_step(self, step: Step) -> float:
        return seconds_for(step, trio.current_time() - self._began)


async def walk(wanted: Wanted, peer: Address, network: Network, entropy: Entropy) -> Way:
    """Go as far as it goes. Takes `WITHIN_S` at most, and leaves nothing open."""
    time = _Time()
    try:
        resolved = await _resolve(wanted, peer, network, time.for_step(Step.NAME))
    except OSError as error:
        return Way(wanted=peer, unresolved=error.strerror or str(error))
    attempts = await _probe_all(resolved, wanted.interfaces)
    answered = [one for one in attempts if one.outcome is Udp.ANSWERED]
    if not answered:
        return Way(wanted=peer, attempts=attempts)
    reached = answered[0].address
    source = _source(reached, wanted.interfaces)
    results: list[bool] = []

    async def ask() -> None:
        results.append(await _answers_directly(reached))

    async with trio.open_nursery() as nursery:
        if wanted.mdns:
            nursery.start_soon(ask)
        greeting = await _greet(reached, source, network, entropy, time)
    bulk = None
    if greeting.bulk_port:
        there = Address(reached.host, greeting.bulk_port)
        bulk = await tcp_probe.connect(there, source, time.for_step(Step.BULK))
    return Way(wanted=peer, attempts=attempts, greeting=greeting, directly=any(results), bulk=bulk)


def _source(address: Address, interfaces: Sequence[str]) -> str:
    """The interface to go by; "" if the system may choose."""
    able = (one for one in interfaces if addresses.can_reach(Address(one, 0), address))
    return next(able, "")


async def _resolve(
    wanted: Wanted, peer: Address, network: Network, within_s: float
) -> list[Address]:
    named = addresses.parse_host(peer.host) is None
    if named and wanted.on_this_machine_alone and peer.host != "localhost":
        # A name server is asked over the network.
        raise OSError(0, "names are not looked up where only loopback may be used")
    with trio.move_on_after(within_s):
        found = await network.resolve(peer.host, peer.port)
        if not found:
            raise OSError(0, "the name has no address")
        return found[:_MAX_TRIED]
    raise OSError(0, f"the name server did not answer within {within_s:.0f} s")


async def _probe_all(resolved: Sequence[Address], interfaces: Sequence[str]) -> tuple[Attempt, ...]:
    """All at once; once one has answered, the others are not waited for."""
    found: dict[Address, Attempt] = {}

    async def probe(address: Address) -> None:
        found[address] = await udp_probe.probe(address, interfaces)
        if found[address].outcome is Udp.ANSWERED:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in resolved:
            nursery.start_soon(probe, address)
    return tuple(found[address] for address in resolved if address in found)


async def _answers_directly(address: Address) -> bool:
    with trio.move_on_after(DIRECTLY_S):
        try:
            return await mdns_socket.ask_directly(address)
        except OSError:
            return False
    return False


async def _greet(
    address: Address, source: str, network: Network, entropy: Entropy, time: _Time
) -> Greeting:
    anywhere = "::" if addresses.is_ipv6(address.host) else "0.0.0.0"
    identity = new_identity(entropy)
    bound = await network.bind(Address(source or anywhere, 0))
    tls = TlsIdentity(identity.certificate, identity.private_key)
    options = EndpointOptions(handshake_timeout_s=time.for_step(Step.QUIC))
    async with open_endpoint([bound], tls, options) as endpoint:
        try:
            connection = await endpoint.connect(address)
        except ConnectRefused as error:
            other = error.info.code == _NO_APPLICATION_PROTOCOL and not error.info.application
            kind = Quic.OTHER_PROTOCOL if other else Quic.REFUSED
            return Greeting(quic=kind, detail=str(error.info))
        except QuicFailed as error:
            return Greeting(quic=Quic.BROKEN, detail=str(error.info))
        except ConnectFailed as error:
            return Greeting(quic=Quic.SILENT, detail=str(error))
        key = connection.peer_public_key
        peer_id = peer_id_of(key) if key is not None else ""
        body = m.HelloBody(
            peer_id=identity.peer_id,
            instance=entropy.token_bytes(16),
            proto_ver=limits.PROTOCOL_VERSION,
            listen_addrs=(),
            library_epoch=None,
            library_rev=None,
            library_digest=None,
            features={m.VISIT: True},
            name=f"{NAME} ({socket.gethostname()})"[: limits.MAX_NAME_CHARS],
        )
        try:
            with trio.fail_after(time.for_step(Step.HELLO)):
                greeted = await handshake.dial(connection, identity, body, None)
        except HandshakeFailed as error:
            return Greeting(quic=Quic.MADE, fault=error.kind, detail=error.reason, peer_id=peer_id)
        except trio.TooSlowError:
            return Greeting(
                quic=Quic.MADE,
                fault=HandshakeFault.LOST,
                detail="it went silent during Hello",
                peer_id=peer_id,
            )
        await _say_goodbye(connection, greeted, identity.peer_id)
        return Greeting(
            quic=Quic.MADE,
            peer_id=peer_id,
            name=greeted.body.name,
            bulk_port=_bulk_port(greeted.body.features.get(_BULK_PORT)),
        )


def _bulk_port(value_untrusted: object) -> int:
    """The port that a peer announces; 0 for what is none."""
    if type(value_untrusted) is int and _LEAST_PORT <= value_untrusted <= _MAX_PORT:
        return value_untrusted
    return 0


async def _say_goodbye(
    connection: Connection, greeted: handshake.Greeted, our_peer_id: str
) -> None:
    with trio.move_on_after(GOODBYE_S):
        try:
            await greeted.stream.send_all(frame(codec.encode(m.Goodbye(peer_id=our_peer_id))))
        except TransportError:
            return
    connection.close(m.CLOSE_GOODBYE, "goodbye")
