"""A listener that answers Hello with whatever it is given, and nothing after it.

As a program: a peer of a kind that a running one is never, for the tests with real networks.
"""

from __future__ import annotations

import json
import socket
import sys

import trio

from lanspread import limits
from lanspread.identity import Identity, new_identity
from lanspread.platform import RealEntropy, RealThreads
from lanspread.seams import Address
from lanspread.sync import handshake
from lanspread.sync import messages as m
from lanspread.sync.errors import HandshakeFailed
from lanspread.transport import Connection, Endpoint, TlsIdentity, TransportError, open_endpoint
from lanspread.transport.udp import UdpNetwork


def tls(identity: Identity) -> TlsIdentity:
    return TlsIdentity(identity.certificate, identity.private_key)


def body_of(peer_id: str, features: dict[str, object]) -> m.HelloBody:
    return m.HelloBody(
        peer_id=peer_id,
        instance=bytes(16),
        proto_ver=limits.PROTOCOL_VERSION,
        listen_addrs=(),
        library_epoch=None,
        library_rev=None,
        library_digest=None,
        features=features,
        name="greeter",
    )


async def greet_all(endpoint: Endpoint, identity: Identity, body: m.HelloBody) -> None:
    """Answer whoever comes, until cancelled."""

    async def greet(connection: Connection) -> None:
        try:
            greeted = await handshake.listen(connection, identity, body, lambda _: True)
            await greeted.reader.frame()
        except (HandshakeFailed, TransportError):
            return

    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(greet, await endpoint.accept())


async def main(features: dict[str, object], tcp_port: int, impostor: bool) -> None:
    """Listen at UDP 7373 and at a TCP port, and say so.

    An impostor names a peer_id whose key it has not.
    """
    identity = new_identity(RealEntropy())
    named = new_identity(RealEntropy()) if impostor else identity
    udp = await UdpNetwork(RealThreads()).bind(Address("0.0.0.0", 7373))
    with socket.create_server(("0.0.0.0", tcp_port)):
        async with open_endpoint([udp], tls(identity)) as endpoint:
            print("ready", flush=True)
            await greet_all(endpoint, identity, body_of(named.peer_id, features))


if __name__ == "__main__":
    trio.run(main, *json.loads(sys.argv[1]))
