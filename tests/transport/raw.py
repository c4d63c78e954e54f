"""A bare aioquic client over a memory socket, for peers that do not keep to the rules."""

from __future__ import annotations

import ssl

import trio
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent

from lanspread import limits
from lanspread.seams import Address
from lanspread.transport.endpoint import Endpoint
from tests.transport.memory import MemorySocket

HUGE = 1 << 40


def raw_configuration() -> QuicConfiguration:
    return QuicConfiguration(
        is_client=True,
        alpn_protocols=[limits.ALPN],
        verify_mode=ssl.CERT_NONE,
        max_datagram_size=limits.QUIC_PAYLOAD_BYTES,
        supported_versions=[1],
    )


class RawClient:
    """Pumps one aioquic connection; the test does with `quic` what it likes."""

    def __init__(self, socket: MemorySocket, target: Address) -> None:
        self.socket = socket
        self.quic = QuicConnection(configuration=raw_configuration())
        self.events: list[QuicEvent] = []
        self.quic.connect(target, trio.current_time())

    @property
    def terminated(self) -> ConnectionTerminated | None:
        event: ConnectionTerminated | None = self.quic._close_event
        return event

    async def flush(self) -> None:
        for data, address in self.quic.datagrams_to_send(trio.current_time()):
            await self.socket.send([data], address)

    async def pump(self, duration_s: float, *, ignore_limits: bool = False) -> None:
        """Send and receive for a while, or until the connection is over."""
        end = trio.current_time() + duration_s
        quic = self.quic
        while trio.current_time() < end and self.terminated is None:
            if ignore_limits:
                quic._remote_max_data = HUGE
                for stream in quic._streams.values():
                    stream.max_stream_data_remote = HUGE
            await self.flush()
            timer = quic.get_timer()
            batch: list[tuple[bytes, Address]] = []
            assert timer is not None
            # Not shorter than the clock can tell, or virtual time would not move.
            with trio.move_on_at(min(end, max(timer, trio.current_time() + 0.0001))):
                batch = await self.socket.receive()
            for data, source in batch:
                quic.receive_datagram(data, source, trio.current_time())
            if not batch:
                quic.handle_timer(trio.current_time())
            while (event := quic.next_event()) is not None:
                self.events.append(event)


def withhold_first_byte(client: RawClient, stream_id: int) -> None:
    """Never send byte 0 of a stream whose data was queued."""
    client.quic._streams[stream_id].sender._pending.subtract(0, 1)


def buffered(endpoint: Endpoint) -> int:
    return endpoint.statistics().buffered_bytes
