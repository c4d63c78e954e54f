"""A listener that answers Hello with whatever it is given, and nothing after it.

As a program: a peer of a kind that a running one is never, for the tests with real networks.
"""

from __future__ import annotations

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


async def main() -> None:
    """Listen at UDP 7373 as one that names a peer_id whose key it has not, and say so."""
    identity, other = new_identity(RealEntropy()), new_identity(RealEntropy())
    udp = await UdpNetwork(RealThreads()).bind(Address("0.0.0.0", 7373))
    async with open_endpoint([udp], tls(identity)) as endpoint:
        print("ready", flush=True)
        await greet_all(endpoint, identity, body_of(other.peer_id, {}))


if __name__ == "__main__":
    trio.run(main)
