"""What an endpoint is opened with. Defaults are the limits of `lanspread.limits`."""

from __future__ import annotations

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lanspread import limits


@attrs.frozen
class TlsIdentity:
    """The certificate that this endpoint shows as a listener, and its key."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class EndpointOptions:
    """Bounds and times of one endpoint. Sizes are bytes, times are seconds.

    `payload_bytes` is the largest UDP payload that we send, at least 1,200 (RFC 9000 section 14);
    a connection finds out how much of it the path carries (`lanspread.transport.path_mtu`).

    The windows are what a peer may have in flight to us beyond what the application has consumed
    (RFC 9000 section 4); `connection_window_bytes` must not pass `connection_buffer_bytes`.
    """

    payload_bytes: int = limits.QUIC_MAX_PAYLOAD_BYTES
    idle_timeout_s: float = limits.QUIC_IDLE_TIMEOUT_S
    handshake_timeout_s: float = limits.HANDSHAKE_TIMEOUT_S
    initial_rtt_s: float = limits.QUIC_INITIAL_RTT_S
    stream_window_bytes: int = limits.QUIC_STREAM_WINDOW_BYTES
    connection_window_bytes: int = limits.QUIC_CONNECTION_WINDOW_BYTES
    connection_buffer_bytes: int = limits.MAX_CONNECTION_BUFFER_BYTES
    endpoint_buffer_bytes: int = limits.MAX_ENDPOINT_BUFFER_BYTES
    send_high_water_bytes: int = limits.SEND_HIGH_WATER_BYTES
    streams_from_peer: int = limits.MAX_STREAMS_FROM_PEER
    max_connections: int = limits.MAX_CONNECTIONS
    max_connections_per_host: int = limits.MAX_CONNECTIONS_PER_HOST
    max_half_open: int = limits.MAX_HALF_OPEN
    retry_above_half_open: int = limits.RETRY_ABOVE_HALF_OPEN
    accept_backlog: int = limits.ACCEPT_BACKLOG
    datagram_queue: int = limits.DATAGRAM_QUEUE
    datagram_queue_bytes: int = limits.DATAGRAM_QUEUE_BYTES
