"""The sans-IO QUIC engine: aioquic 1.7, and everything here that knows its inside.

`Engine` is one connection. It adds what aioquic's public API lacks: receive credit that follows
consumption, how much is buffered on either side, and the end of a connection at the moment it is
decided rather than three probe timeouts later. No other module touches aioquic's private names;
`check_engine` fails loudly when one of them is gone. Calls may raise any `Exception` on hostile
input: the caller closes that connection and no other.

Source: RFC 9000 sections 2, 4, 7, 10; ARCHITECTURE.md, "Transport".
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    QuicConnection,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated, QuicEvent
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lanspread.seams import Address
from lanspread.transport.options import EndpointOptions

# What a gap in a stream costs besides its bytes: a range object and its slot in a list.
GAP_COST_BYTES: Final = 128
# A window is raised when this part of it has been consumed: few frames, and never a stall.
CREDIT_STEP: Final = 4
# The finest sleep of the event loop (epoll counts milliseconds), and the most datagrams sent in it.
TICK_S: Final = 0.001
MAX_BURST_DATAGRAMS: Final = 64


# aioquic warns about each fault of a peer; without a handler Python would print that on stderr.
logging.getLogger("quic").addHandler(logging.NullHandler())


class EngineChanged(RuntimeError):
    """aioquic no longer has a private name that this module builds on."""


class _Pacer(QuicPacketPacer):
    """aioquic's pacer, for a clock that ticks in milliseconds.

    The original holds at most 16 datagrams for a burst, then asks for a sleep of microseconds; as
    the loop sleeps a millisecond at least, that is a limit of 24 MB/s. Here a burst is what the
    rate allows in one tick. RFC 9002 section 7.7 leaves the size of bursts to the sender.
    """

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        super().update_rate(congestion_window, smoothed_rtt)
        assert self.packet_time is not None
        burst_s = min(TICK_S, MAX_BURST_DATAGRAMS * self.packet_time)
        self.bucket_max = max(self.bucket_max, burst_s)


class CreditedConnection(QuicConnection):
    """aioquic's connection, with credit given for what was consumed instead of received."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        streams_from_peer: int,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self._loss._pacer = _Pacer(max_datagram_size=configuration.max_datagram_size)
        self.packets_received = 0
        self.streams_from_peer = self._streams_allowed = streams_from_peer
        self.streams_discarded = 0
        self.streams_released = 0
        bidi, uni = self._local_max_streams_bidi, self._local_max_streams_uni
        bidi.value = bidi.sent = streams_from_peer
        # We have no use for unidirectional streams, so a peer may not open any.
        uni.value = uni.sent = 0

    def _payload_received(
        self, context: QuicReceiveContext, plain: bytes, crypto_frame_required: bool = False
    ) -> tuple[bool, bool]:
        # Called once for each packet that was authenticated and is no duplicate.
        self.packets_received += 1
        return super()._payload_received(context, plain, crypto_frame_required)

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data = self._local_max_data
        if data.value != data.sent:
            self._write_limit(builder, data)
        # aioquic adds one for each stream whose protocol state it discarded; a stream that the
        # application has not let go of yet must go on counting.
        streams = self._local_max_streams_bidi
        self.streams_discarded += streams.value - self._streams_allowed
        streams.value = self._streams_allowed = self.streams_from_peer + min(
            self.streams_discarded, self.streams_released
        )
        # Few frames: only when the peer has fewer streams left than the frame would grant.
        if streams.value != streams.sent and (
            streams.sent - streams.used < streams.value - streams.sent
        ):
            self._write_limit(builder, streams)

    def _write_limit(self, builder: QuicPacketBuilder, limit: Limit) -> None:
        buffer = builder.start_frame(
            limit.frame_type,
            capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
            handler=self._on_connection_limit_delivery,
            handler_args=(limit,),
        )
        buffer.push_uint_var(limit.value)
        limit.sent = limit.value

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        buffer = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        assert stream.stream_id is not None
        buffer.push_uint_var(stream.stream_id)
        buffer.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local


class Engine:
    """One QUIC connection without I/O.

    After every call that may change it, `datagrams_to_send` and `get_timer` are due again.
    """

    def __init__(
        self, quic: CreditedConnection, options: EndpointOptions, *, is_dialer: bool
    ) -> None:
        self._quic = quic
        self._is_dialer = is_dialer
        self._stream_window = options.stream_window_bytes
        self._connection_window = options.connection_window_bytes
        self._consumed = 0

    # -- datagrams and time ------------------------------------------------------------------------

    def receive(self, datagrams: Iterable[tuple[bytes, Address]], now: float) -> bool:
        """Take in datagrams; True if one of them held an authentic packet."""
        quic = self._quic
        before = quic.packets_received
        receive = quic.receive_datagram
        for data, address in datagrams:
            receive(data, address, now)
        return quic.packets_received != before

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """What is due and allowed now, in order."""
        return self._quic.datagrams_to_send(now)

    def get_timer(self) -> float | None:
        """When `handle_timer` is due; None once the connection is over."""
        timer: float | None = self._quic._close_at
        return None if timer is None else self._quic.get_timer()

    def handle_timer(self, now: float) -> None:
        self._quic.handle_timer(now)

    def take_events(self) -> deque[QuicEvent]:
        """All events since the last call."""
        events = self._quic._events
        if events:
            self._quic._events = deque()
        return events

    # -- the connection ----------------------------------------------------------------------------

    @property
    def host_cid(self) -> bytes:
        """The first connection id that we gave ourselves."""
        return self._quic.host_cid

    @property
    def started(self) -> bool:
        """Whether the engine can send: a listener needs an authentic packet of the peer first."""
        return self._is_dialer or self._quic.packets_received > 0

    @property
    def ending(self) -> tuple[ConnectionTerminated, bool] | None:
        """Why the connection is ending, and whether the peer closed it; None while it is not."""
        event = self._quic._close_event
        if event is None:
            return None
        return event, self._quic._state is QuicConnectionState.DRAINING

    @property
    def terminated(self) -> bool:
        return self._quic._state is QuicConnectionState.TERMINATED

    def close(self, code: int, reason: str, *, application: bool = True) -> None:
        """Have the next `datagrams_to_send` say that the connection is over."""
        frame_type = None if application else QuicFrameType.PADDING
        self._quic.close(error_code=code, frame_type=frame_type, reason_phrase=reason)

    @property
    def peer_address(self) -> Address | None:
        address: Address | None = self._quic.get_peer_address()
        return address

    def peer_public_key(self) -> bytes | None:
        """SubjectPublicKeyInfo (DER) of the certificate that a listener proved; dialers only."""
        certificate = self._quic.tls._peer_certificate
        if certificate is None:
            return None
        return certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def rtt_s(self) -> float | None:
        loss = self._quic._loss
        return loss._rtt_smoothed if loss._rtt_initialized else None

    @property
    def congestion_window_bytes(self) -> int:
        return self._quic._loss.congestion_window

    @property
    def in_flight_bytes(self) -> int:
        return self._quic._loss.bytes_in_flight

    # -- streams -----------------------------------------------------------------------------------

    def may_open_stream(self) -> bool:
        """Whether the peer lets us open one more bidirectional stream now."""
        next_id = self._quic.get_next_available_stream_id()
        return next_id // 4 < self._quic._remote_max_streams_bidi

    def open_stream(self) -> int:
        """Reserve the next stream id. The peer hears of it with the first data."""
        stream_id = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream_id, b"")
        return stream_id

    def send(self, stream_id: int, data: bytes | memoryview, *, end_stream: bool = False) -> None:
        """Queue data, whatever the size: the caller keeps to its own bound."""
        # aioquic only appends it to a bytearray, so a view is as good as bytes.
        self._quic.send_stream_data(stream_id, data, end_stream)  # type: ignore[arg-type]

    def unacknowledged(self, stream_id: int) -> int:
        """Bytes queued or in flight."""
        stream = self._quic._streams.get(stream_id)
        return 0 if stream is None else len(stream.sender._buffer)

    def queued(self) -> int:
        """Bytes queued or in flight on all streams, those that the application let go of too."""
        return sum([len(stream.sender._buffer) for stream in self._quic._streams.values()])

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon our sending half and forget what was queued."""
        stream = self._quic._streams.get(stream_id)
        if stream is not None:
            stream.sender.reset(code)
            self.drop_unsent(stream_id)

    def drop_unsent(self, stream_id: int) -> None:
        """Forget what is queued on a half that was reset; aioquic would keep it until an ack."""
        stream = self._quic._streams.get(stream_id)
        if stream is not None and stream.sender._reset_error_code is not None:
            stream.sender._buffer = bytearray()

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to stop sending; no effect once all of it has arrived."""
        stream = self._quic._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            stream.receiver.stop(code)

    def receive_reset(self, stream_id: int) -> int:
        """The peer reset its half: forget what came out of order; return its final size."""
        stream = self._quic._streams.get(stream_id)
        if stream is None:
            return 0
        stream.receiver._buffer = bytearray()
        stream.receiver._ranges = RangeSet()
        return stream.receiver.highest_offset

    def consume(self, stream_id: int, size: int, total: int) -> bool:
        """Give credit for `size` more consumed bytes, `total` of this stream.

        True if the peer should be told now.
        """
        self._consumed += size
        tell = False
        window = self._connection_window
        data = self._quic._local_max_data
        if self._consumed + window - data.value >= window // CREDIT_STEP:
            data.value = self._consumed + window
            tell = True
        stream = self._quic._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            window = self._stream_window
            if total + window - stream.max_stream_data_local >= window // CREDIT_STEP:
                stream.max_stream_data_local = total + window
                tell = True
        return tell

    def release_peer_stream(self) -> None:
        """The application is done with a stream that the peer opened: it may open another."""
        self._quic.streams_released += 1

    def reassembly(self) -> tuple[int, int]:
        """Bytes that came out of order (with what remembering them costs), and the gaps in them."""
        held = gaps = 0
        for stream in self._quic._streams.values():
            receiver = stream.receiver
            if receiver._buffer:
                held += len(receiver._buffer)
                gaps += len(receiver._ranges)
        return held + gaps * GAP_COST_BYTES, gaps


@functools.cache
def check_engine() -> None:
    """Raise `EngineChanged` unless aioquic has every private name this module builds on."""
    quic = QuicConnection(configuration=QuicConfiguration(is_client=True))
    quic.connect(("127.0.0.1", 1), now=0.0)
    quic.send_stream_data(quic.get_next_available_stream_id(), b"")
    stream = quic._streams[0]
    owners: dict[object, str] = {
        quic: "_close_at _close_event _events _local_max_data _local_max_streams_bidi"
        " _local_max_streams_uni _loss _on_connection_limit_delivery _on_max_stream_data_delivery"
        " _payload_received _remote_max_streams_bidi _state _streams _write_connection_limits"
        " _write_stream_limits",
        quic.tls: "_peer_certificate",
        quic._loss: "_pacer _rtt_initialized _rtt_smoothed bytes_in_flight congestion_window",
        quic._loss._pacer: "bucket_max packet_time update_rate",
        quic._local_max_data: "frame_type sent used value",
        stream: "max_stream_data_local max_stream_data_local_sent receiver sender",
        stream.receiver: "_buffer _ranges highest_offset is_finished stop",
        stream.sender: "_buffer _reset_error_code reset",
    }
    missing = [
        f"{type(owner).__name__}.{name}"
        for owner, names in owners.items()
        for name in names.split()
        if not hasattr(owner, name)
    ]
    if missing:
        raise EngineChanged(f"this aioquic has no {', '.join(missing)}")
