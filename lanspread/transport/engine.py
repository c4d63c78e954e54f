"""The sans-IO QUIC engine: aioquic 1.7, and everything here that knows its inside.

`Engine` is one connection. It adds what aioquic's public API lacks: receive credit that follows
consumption, how much is buffered on either side, packets as large as the path carries, and the end
of a connection at the moment it is decided rather than three probe timeouts later. No other module
but `congestion` touches aioquic's private names; `check_engine` fails loudly when one of them is
gone. Calls may raise any `Exception` on hostile input: the caller closes that connection and no
other.

Source: RFC 9000 sections 2, 4, 7, 10; ARCHITECTURE.md, "Transport".
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    Limit,
    QuicConnection,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.events import ConnectionTerminated, QuicEvent
from aioquic.quic.packet import (
    QuicFrameType,
    QuicPacketType,
    pull_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import K_MICRO_SECOND, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lanspread.seams import Address
from lanspread.transport import congestion
from lanspread.transport.options import EndpointOptions
from lanspread.transport.path_mtu import PathMtu

# What a gap in a stream costs besides its bytes: a range object and its slot in a list.
GAP_COST_BYTES: Final = 128
# Probe timeouts without any progress after which large packets are taken to vanish.
BLACK_HOLE_TIMEOUTS: Final = 2
# So many packets in one batch are acknowledged with it. Fewer may be the beginning of more, and
# wait for a millisecond (RFC 9000 section 13.2.2: at the latest after `max_ack_delay`).
ACK_AT_ONCE_PACKETS: Final = 16
# A window is raised when this part of it has been consumed: few frames, and never a stall.
CREDIT_STEP: Final = 4


# aioquic warns about each fault of a peer; without a handler Python would print that on stderr.
logging.getLogger("quic").addHandler(logging.NullHandler())


class EngineChanged(RuntimeError):
    """aioquic no longer has a private name that this module builds on."""


class CreditedConnection(QuicConnection):
    """aioquic's connection, with credit given for what was consumed instead of received.

    `path` decides how large packets are.
    """

    def __init__(
        self,
        configuration: QuicConfiguration,
        streams_from_peer: int,
        path: PathMtu,
        original_destination_connection_id: bytes | None = None,
        retry_source_connection_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_destination_connection_id,
            retry_source_connection_id=retry_source_connection_id,
        )
        self._pacer = congestion.Pacer(max_datagram_size=configuration.max_datagram_size)
        self._loss._pacer = self._pacer
        assert isinstance(self._loss._cc, congestion.Reno)
        self._reno = self._loss._cc
        self.path = path
        self.refresh_idle_timeout()
        self.packets_received = 0
        self.streams_from_peer = self._streams_allowed = streams_from_peer
        self.streams_discarded = 0
        self.streams_released = 0
        bidi, uni = self._local_max_streams_bidi, self._local_max_streams_uni
        bidi.value = bidi.sent = streams_from_peer
        # We have no use for unidirectional streams, so a peer may not open any.
        uni.value = uni.sent = 0

    # -- packets as large as the path carries ------------------------------------------------------

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        path = self.path
        if not path.is_base and (
            self._loss._pto_count >= BLACK_HOLE_TIMEOUTS or self._reno.large_vanish
        ):
            path.vanished(now)
        if path.size != self._max_datagram_size:
            self._resize(path.size)
        datagrams: list[tuple[bytes, Address]] = super().datagrams_to_send(now)
        if (
            self._handshake_confirmed
            and self._state is QuicConnectionState.CONNECTED
            and (size := path.next_probe(now)) is not None
        ):
            datagrams += self._path_probe(size, now)
        return datagrams

    def _resize(self, size: int) -> None:
        self._max_datagram_size = size
        self._reno.set_datagram_size(size)
        self._pacer.set_datagram_size(size)

    def _path_probe(self, size: int, now: float) -> list[tuple[bytes, Address]]:
        """One packet of this size that means nothing else (RFC 9000 section 14.4).

        Its loss is no sign of congestion, so it is not counted as in flight; the timer that waits
        for its acknowledgement has to be started by hand then.
        """
        network_path = self._network_paths[0]
        assert self._version is not None
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=size,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
        buffer = builder.start_frame(
            QuicFrameType.PING, handler=self._on_path_probe_delivery, handler_args=(size, now)
        )
        buffer.push_bytes(bytes(builder.remaining_buffer_space))
        assert builder._packet is not None
        builder._packet.in_flight = False
        self._loss._time_of_last_sent_ack_eliciting_packet = now
        probe: list[tuple[bytes, Address]] = self._flush_builder(
            builder=builder, network_path=network_path, peer_cid=self._peer_cid.cid, now=now
        )
        return probe

    def _on_path_probe_delivery(
        self, delivery: QuicDeliveryState, size: int, sent_at: float
    ) -> None:
        if delivery is QuicDeliveryState.ACKED:
            self.path.probe_acked(size)
        else:
            self.path.probe_lost(size, sent_at)

    def _on_path_challenge_delivery(
        self, delivery: QuicDeliveryState, network_path: QuicNetworkPath
    ) -> None:
        """Ask again also where the challenge arrived and its answer did not (RFC 9000 section 8.2).

        An answer is sent once, in a packet as large as those on the path that was left: a narrower
        one swallows it, and lets the small acknowledgement behind it pass. Not asked again, the
        peer counts as not there, and what is for it goes to where it was before, until it sends
        something by itself. Where the answer came, nothing more is asked.
        """
        super()._on_path_challenge_delivery(QuicDeliveryState.LOST, network_path)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        limit = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size
        if limit is not None:
            self.path.peer_takes(limit)
        self.refresh_idle_timeout()

    # -- receiving ---------------------------------------------------------------------------------

    def refresh_idle_timeout(self) -> None:
        """To be called for each batch of packets: aioquic would work it out for each packet."""
        self._idle_timeout_s = super()._idle_timeout()

    def _idle_timeout(self) -> float:
        return self._idle_timeout_s

    def acknowledge_now(self, now: float) -> None:
        """Have the next `datagrams_to_send` acknowledge what waits for its delay to pass.

        One wake-up for a burst instead of two, and the sender goes on sooner.
        """
        space = self._spaces[Epoch.ONE_RTT]
        if space.ack_at is not None:
            # At this very moment, pacing would come before it.
            space.ack_at = min(space.ack_at, now - K_MICRO_SECOND)

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
        self._path_address: Address | None = None

    # -- datagrams and time ------------------------------------------------------------------------

    def receive(self, datagrams: Iterable[tuple[bytes, Address]], now: float) -> bool:
        """Take in datagrams; True if one of them held an authentic packet."""
        quic = self._quic
        before = quic.packets_received
        quic.refresh_idle_timeout()
        receive = quic.receive_datagram
        for data, address in datagrams:
            receive(data, address, now)
        received = quic.packets_received - before
        if received >= ACK_AT_ONCE_PACKETS:
            quic.acknowledge_now(now)
        return received > 0

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

    # -- the path ----------------------------------------------------------------------------------

    def path_is(self, payload_bytes: int | None, address: Address) -> None:
        """What the kernel knows of the path to the peer now (`DatagramSocket.path_payload`)."""
        path = self._quic.path
        if address != self._path_address:
            self._path_address = address
            path.moved()
        path.path_is(payload_bytes, ipv6=":" in address.host)

    @property
    def payload_bytes(self) -> int:
        """The largest UDP payload that we send now."""
        return self._quic.path.size

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
        " _on_path_challenge_delivery"
        " _payload_received _remote_max_streams_bidi _state _streams _write_connection_limits"
        " _write_stream_limits _cryptos _flush_builder _handshake_confirmed _idle_timeout"
        " _is_client _max_datagram_size _network_paths _packet_number"
        " _parse_transport_parameters _peer_cid _spaces _spin_bit _version",
        quic._spaces[Epoch.ONE_RTT]: "ack_at",
        quic.tls: "_peer_certificate",
        quic._loss: "_cc _pacer _pto_count _rtt_initialized _rtt_smoothed"
        " _time_of_last_sent_ack_eliciting_packet bytes_in_flight congestion_window",
        quic._loss._cc: "_max_datagram_size congestion_window on_packet_acked on_packets_lost",
        quic._loss._pacer: "_max_datagram_size bucket_max packet_time update_rate",
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
