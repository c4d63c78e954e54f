"""The way to one peer, walked as lanspread walks it: name, UDP, QUIC, Hello, goodbye.

It is greeted with an identity that is thrown away and shows no library; the peer over there sees
somebody come and go. What each step means is in `way_judgement`.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Sequence

import attrs
import trio

from lanspread import limits
from lanspread.doctor import mdns_socket, udp_probe
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
RESOLVE_S = 2.0
QUIC_S = 2.0
HELLO_S = 1.5
DIRECTLY_S = 1.5
GOODBYE_S = 0.3
_MAX_TRIED = 4
# TLS alert 120, as QUIC carries it (RFC 9001 section 4.8): none of our protocols is spoken there.
_NO_APPLICATION_PROTOCOL = 0x178


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
    key that was proved by TLS; empty if there was none.
    """

    quic: Quic
    detail: str = ""
    fault: HandshakeFault | None = None
    peer_id: str = ""
    name: str = ""


@attrs.frozen(kw_only=True)
class Way:
    """How far we came. `greeting` is None if no address answered by UDP.

    `directly` says whether its mDNS responder answers a question sent to it alone.
    """

    wanted: Address
    unresolved: str = ""
    attempts: tuple[Attempt, ...] = ()
    greeting: Greeting | None = None
    directly: bool = False


async def walk(wanted: Wanted, peer: Address, network: Network, entropy: Entropy) -> Way:
    """Go as far as it goes. Takes 8 s at most, and leaves nothing open."""
    try:
        resolved = await _resolve(wanted, peer, network)
    except OSError as error:
        return Way(wanted=peer, unresolved=error.strerror or str(error))
    attempts = await _probe_all(resolved, wanted.interfaces)
    answered = [one for one in attempts if one.outcome is Udp.ANSWERED]
    if not answered:
        return Way(wanted=peer, attempts=attempts)
    results: list[bool] = []

    async def ask() -> None:
        results.append(await _answers_directly(answered[0].address))

    async with trio.open_nursery() as nursery:
        if wanted.mdns:
            nursery.start_soon(ask)
        greeting = await _greet(answered[0].address, wanted.interfaces, network, entropy)
    return Way(wanted=peer, attempts=attempts, greeting=greeting, directly=any(results))


async def _resolve(wanted: Wanted, peer: Address, network: Network) -> list[Address]:
    named = addresses.parse_host(peer.host) is None
    if named and wanted.on_this_machine_alone and peer.host != "localhost":
        # A name server is asked over the network.
        raise OSError(0, "names are not looked up where only loopback may be used")
    with trio.move_on_after(RESOLVE_S):
        found = await network.resolve(peer.host, peer.port)
        if not found:
            raise OSError(0, "the name has no address")
        return found[:_MAX_TRIED]
    raise OSError(0, f"the name server did not answer within {RESOLVE_S:g} s")


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
    address: Address, interfaces: Sequence[str], network: Network, entropy: Entropy
) -> Greeting:
    source = next(
        (one for one in interfaces if addresses.can_reach(Address(one, 0), address)),
        "::" if addresses.is_ipv6(address.host) else "0.0.0.0",
    )
    identity = new_identity(entropy)
    bound = await network.bind(Address(source, 0))
    tls = TlsIdentity(identity.certificate, identity.private_key)
    async with open_endpoint([bound], tls, EndpointOptions(handshake_timeout_s=QUIC_S)) as endpoint:
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
            features={},
            name=f"{NAME} ({socket.gethostname()})"[: limits.MAX_NAME_CHARS],
        )
        with trio.move_on_after(HELLO_S):
            try:
                greeted = await handshake.dial(connection, identity, body, None)
            except HandshakeFailed as error:
                return Greeting(
                    quic=Quic.MADE, fault=error.kind, detail=error.reason, peer_id=peer_id
                )
            await _say_goodbye(connection, greeted, identity.peer_id)
            return Greeting(quic=Quic.MADE, peer_id=peer_id, name=greeted.body.name)
        return Greeting(
            quic=Quic.MADE,
            fault=HandshakeFault.LOST,
            detail="it went silent during Hello",
            peer_id=peer_id,
        )


async def _say_goodbye(
    connection: Connection, greeted: handshake.Greeted, our_peer_id: str
) -> None:
    with trio.move_on_after(GOODBYE_S):
        try:
            await greeted.stream.send_all(frame(codec.encode(m.Goodbye(peer_id=our_peer_id))))
        except TransportError:
            return
    connection.close(m.CLOSE_GOODBYE, "goodbye")
