"""How bytes and names travel: QUIC here, framing and mDNS beside it."""

from lanspread.transport.connection import Connection
from lanspread.transport.endpoint import Endpoint, open_endpoint
from lanspread.transport.errors import (
    CloseInfo,
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    ConnectTimeout,
    EndpointFull,
    HandshakeFailed,
    StreamReset,
    StreamStopped,
    TransportCode,
    TransportError,
    Unreachable,
)
from lanspread.transport.options import EndpointOptions, TlsIdentity
from lanspread.transport.statistics import (
    ConnectionStatistics,
    EndpointStatistics,
    StreamStatistics,
)
from lanspread.transport.stream import Stream

__all__ = [
    "CloseInfo",
    "ConnectFailed",
    "ConnectRefused",
    "ConnectTimeout",
    "Connection",
    "ConnectionLost",
    "ConnectionStatistics",
    "Endpoint",
    "EndpointFull",
    "EndpointOptions",
    "EndpointStatistics",
    "HandshakeFailed",
    "Stream",
    "StreamReset",
    "StreamStatistics",
    "StreamStopped",
    "TlsIdentity",
    "TransportCode",
    "TransportError",
    "Unreachable",
    "open_endpoint",
]
