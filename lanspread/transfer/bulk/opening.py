"""Opening both sides of the second path for bulk data."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager

import attrs
import structlog
import trio

from lanspread.seams import Address, BulkNetwork, Entropy, Threads
from lanspread.sync import messages as m
from lanspread.sync.session import Handler
from lanspread.transfer.bulk.doorway import Arrivals, Doorway
from lanspread.transfer.bulk.lanes import FEATURE, LaneDialer
from lanspread.transfer.bulk.serving import LaneServer
from lanspread.transfer.bulk.tickets import TicketBook
from lanspread.transfer.ratelimit import RateLimit
from lanspread.transfer.serve import Server
from lanspread.transport.lane import listening_context

_log = structlog.get_logger(__name__)


Handlers = Mapping[type[m.Message], Handler]


@attrs.frozen(kw_only=True)
class Bulk:
    """Serving, with or without the second path: `features` is what others are to be told of it.

    `dialer` is None where lanes are not used at all.
    """

    handlers: Handlers
    dialer: LaneDialer | None = None
    features: Mapping[str, object] = attrs.Factory(dict)


@asynccontextmanager
async def open_bulk(
    network: BulkNetwork | None,
    bound: Sequence[Address],
    certificate_and_key: tuple[str, str],
    server: Server,
    *,
    threads: Threads,
    entropy: Entropy,
    up: RateLimit,
    warn: Callable[[str, str, str], None],
) -> AsyncIterator[Bulk]:
    """Take lanes on the addresses of the UDP listeners until the block is left.

    Their port number where it is free for TCP, another where not. Where none can be had this says
    so, and lanes are only brought to others.
    """
    if network is None:
        yield Bulk(handlers=server.handlers())
        return
    dialer = LaneDialer(network, threads)
    with ExitStack() as stack:
        try:
            listeners = _listen(network, bound)
            for listener in listeners:
                stack.callback(listener.close)
            context = await threads.run(listening_context, *certificate_and_key)
        except OSError as error:
            warn(
                "no_bulk_port",
                f"no TCP port for games could be opened: {error.strerror or error}",
                "others fetch from here over QUIC, which is slower; see `lanspread doctor`",
            )
            yield Bulk(handlers=server.handlers(), dialer=dialer)
            return
        book, arrivals = TicketBook(entropy), Arrivals()
        lanes = LaneServer(server, book, arrivals, threads, up)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lanes.watch)
            nursery.start_soon(Doorway(listeners, context, threads, book, arrivals).run)
            try:
                yield Bulk(
                    handlers={**server.handlers(), m.GetBulkTicket: lanes.get_bulk_ticket},
                    dialer=dialer,
                    features={FEATURE: listeners[0].getsockname()[1]},
                )
            finally:
                nursery.cancel_scope.cancel()


def _listen(network: BulkNetwork, bound: Sequence[Address]) -> list[socket.socket]:
    """One listener for each host, all on one port. Raises `OSError`; then none stays open."""
    hosts = list(dict.fromkeys(address.host for address in bound))
    try:
        return _listen_on(network, hosts, bound[0].port)
    except OSError as error:
        _log.info("the UDP port is not free for TCP", port=bound[0].port, why=str(error))
        return _listen_on(network, hosts, 0)


def _listen_on(network: BulkNetwork, hosts: Sequence[str], port: int) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    try:
        for host in hosts:
            listener = network.listen(Address(host, port))
            listeners.append(listener)
            port = listener.getsockname()[1]
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners
