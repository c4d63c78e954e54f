"""Datagram sockets in memory, and loopback UDP, for the tests of the QUIC adapter."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from lanspread import limits
from lanspread.identity import new_identity
from lanspread.platform import RealEntropy
from lanspread.seams import Address, DatagramSocket
from lanspread.transport import Connection, Endpoint, EndpointOptions, TlsIdentity, open_endpoint

_IDENTITY = new_identity(RealEntropy())
IDENTITY = TlsIdentity(_IDENTITY.certificate, _IDENTITY.private_key)
PUBLIC_KEY = _IDENTITY.public_key
A = Address("10.0.0.1", 1000)
B = Address("10.0.0.2", 2000)


@attrs.define
class MemoryNetwork:
    """Delivers after `latency_s`, unless `lose` says otherwise."""

    latency_s: float = 0.001
    lose: Callable[[bytes, Address, Address], bool] = lambda data, source, target: False
    # What the sockets say of the path; what it carries, `lose` decides.
    path_payload: int | None = limits.QUIC_PAYLOAD_BYTES
    sockets: dict[Address, MemorySocket] = attrs.Factory(dict)
    sent: int = 0

    def bind(self, address: Address) -> MemorySocket:
        socket = MemorySocket(self, address)
        self.sockets[address] = socket
        return socket


class MemorySocket:
    """A socket that reaches every address of its family in the network."""

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self.address = address
        self.network = network
        self.closed = False
        self._queue: list[tuple[float, int, bytes, Address]] = []
        self._order = itertools.count()
        self._arrived = trio.Event()

    def reaches(self, address: Address) -> bool:
        return (":" in address.host) == (":" in self.address.host)

    def path_payload(self, address: Address) -> int | None:
        return self.network.path_payload

    async def receive(self) -> list[tuple[bytes, Address]]:
        await trio.lowlevel.checkpoint()
        while True:
            if self.closed:
                raise trio.ClosedResourceError
            now = trio.current_time()
            batch: list[tuple[bytes, Address]] = []
            while self._queue and self._queue[0][0] <= now and len(batch) < limits.DATAGRAM_BATCH:
                _, _, data, source = heapq.heappop(self._queue)
                batch.append((data, source))
            if batch:
                return batch
            self._arrived = trio.Event()
            with trio.move_on_at(self._queue[0][0] if self._queue else float("inf")):
                await self._arrived.wait()

    async def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        await trio.lowlevel.checkpoint()
        self.send_nowait(datagrams, address)

    def send_nowait(self, datagrams: Sequence[bytes], address: Address) -> None:
        network = self.network
        network.sent += len(datagrams)
        target = network.sockets.get(address)
        if target is None or target.closed:
            return
        for data in datagrams:
            if not network.lose(data, self.address, address):
                target.put(data, self.address)

    def put(self, data: bytes, source: Address) -> None:
        at = trio.current_time() + self.network.latency_s
        heapq.heappush(self._queue, (at, next(self._order), data, source))
        self._arrived.set()

    def close(self) -> None:
        self.closed = True
        self._arrived.set()


@attrs.frozen
class Pair:
    """Two endpoints with one connection between them."""

    network: MemoryNetwork
    dialing: Endpoint
    listening: Endpoint
    client: Connection
    server: Connection


@asynccontextmanager
async def open_pair(
    network: MemoryNetwork | None = None,
    *,
    options: EndpointOptions = EndpointOptions(),  # noqa: B008
    listener_options: EndpointOptions | None = None,
) -> AsyncIterator[Pair]:
    """A dials B."""
    network = network or MemoryNetwork()
    async with (
        open_endpoint([network.bind(B)], IDENTITY, listener_options or options) as listening,
        open_endpoint([network.bind(A)], IDENTITY, options) as dialing,
    ):
        client = await dialing.connect(B)
        server = await listening.accept()
        yield Pair(network, dialing, listening, client, server)


class LoopbackSocket:
    """A plain UDP socket on 127.0.0.1, one datagram a call."""

    def __init__(self, socket: trio.socket.SocketType) -> None:
        self._socket = socket
        host, port = socket.getsockname()
        self.address = Address(host, port)
        self._left: deque[tuple[bytes, Address]] = deque()

    @classmethod
    async def bind(cls) -> LoopbackSocket:
        socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        for option in (trio.socket.SO_RCVBUF, trio.socket.SO_SNDBUF):
            socket.setsockopt(trio.socket.SOL_SOCKET, option, 4 << 20)
        await socket.bind(("127.0.0.1", 0))
        return cls(socket)

    def reaches(self, address: Address) -> bool:
        return address.host == "127.0.0.1"

    def path_payload(self, address: Address) -> int | None:
        return None

    async def receive(self) -> list[tuple[bytes, Address]]:
        try:
            data, source = await self._socket.recvfrom(65536)
        except OSError:
            # Closed between the news that something is there and the reading of it.
            if self._socket.fileno() == -1:
                raise trio.ClosedResourceError from None
            raise
        batch = [(data, Address(*source))]
        raw = self._socket._sock  # type: ignore[attr-defined]
        try:
            while len(batch) < limits.DATAGRAM_BATCH:
                data, source = raw.recvfrom(65536)
                batch.append((data, Address(*source)))
        except BlockingIOError:
            pass
        return batch

    async def send(self, datagrams: Sequence[bytes], address: Address) -> None:
        raw = self._socket._sock  # type: ignore[attr-defined]
        for data in datagrams:
            try:
                raw.sendto(data, address)
            except BlockingIOError:
                await self._socket.sendto(data, address)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._socket.close()


def _check_seam(memory: MemorySocket, loopback: LoopbackSocket) -> list[DatagramSocket]:
    return [memory, loopback]
