"""What a peer runs on: its endpoint, on listeners given or picked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

from lanspread import limits
from lanspread.config import Config
from lanspread.identity import Identity
from lanspread.seams import Network
from lanspread.transport import Endpoint, EndpointOptions, TlsIdentity, open_endpoint
from lanspread.transport.listen import Reachable, bind_listeners


@asynccontextmanager
async def open_listening(
    config: Config,
    network: Network,
    identity: Identity,
    reachable: Reachable,
    warn: Callable[[str, str, str], None],
) -> AsyncIterator[Endpoint]:
    """The endpoint, until the block is left; `reachable` then knows where others find it.

    A default port that was taken is a warning. Raises `StartError`.
    """
    listeners = await bind_listeners(network, config.listen, config.interfaces)
    # The endpoint takes the sockets over; until it has, they are closed here.
    tls = TlsIdentity(identity.certificate, identity.private_key)
    options = EndpointOptions(payload_bytes=config.quic_payload)
    with closing(listeners):
        async with open_endpoint(listeners.sockets, tls, options) as endpoint:
            reachable.bound = tuple(endpoint.addresses)
            reachable.look(await network.local_addresses())
            if listeners.picked:
                warn(
                    "port_taken",
                    f"port {limits.DEFAULT_PORT} is taken; listening on {reachable.texts[0]}",
                    "peers find it by mDNS; others need this port",
                )
            yield endpoint
