"""Reading the outside of a datagram, and answers that need no connection. Pure.

Source: RFC 9000 sections 5.2, 6, 8.1, 17; RFC 8999.
"""

from __future__ import annotations

import attrs
from aioquic._buffer import Buffer
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder

from lanspread.transport.engines import HOST_CID_BYTES, SUPPORTED_VERSIONS
from lanspread.transport.path_mtu import SMALLEST_PAYLOAD_BYTES

LONG_HEADER = 0x80
CLOSE_FRAME_CAPACITY = 1 + 3 * 8


@attrs.frozen
class LongHeader:
    """The invariant part of a long header, and the token of an Initial."""

    version: int
    is_initial: bool
    # Version negotiation and Retry: only a client that waits for one takes it.
    is_reply: bool
    destination_cid: bytes
    source_cid: bytes
    token: bytes


def short_destination_cid(data_untrusted: bytes) -> bytes | None:
    """The destination of a short-header packet; None if the header is a long one or cut short."""
    if len(data_untrusted) <= HOST_CID_BYTES or data_untrusted[0] & LONG_HEADER:
        return None
    return data_untrusted[1 : 1 + HOST_CID_BYTES]


def parse_long_header(data_untrusted: bytes) -> LongHeader | None:
    """The first long header of a datagram; None if it is none."""
    try:
        header = pull_quic_header(Buffer(data=data_untrusted), host_cid_length=HOST_CID_BYTES)
    except ValueError:
        return None
    if header.version is None:
        return None
    kind = header.packet_type
    return LongHeader(
        version=header.version,
        is_initial=kind is QuicPacketType.INITIAL,
        is_reply=kind in (QuicPacketType.VERSION_NEGOTIATION, QuicPacketType.RETRY),
        destination_cid=header.destination_cid,
        source_cid=header.source_cid,
        token=header.token,
    )


def version_negotiation(header: LongHeader) -> bytes:
    """The answer to a version that we do not speak (RFC 9000 section 6.1)."""
    return encode_quic_version_negotiation(
        source_cid=header.destination_cid,
        destination_cid=header.source_cid,
        supported_versions=list(SUPPORTED_VERSIONS),
    )


def retry(header: LongHeader, source_cid: bytes, token: bytes) -> bytes:
    """Ask the client to prove its address (RFC 9000 section 8.1.2)."""
    return encode_quic_retry(
        version=header.version,
        source_cid=source_cid,
        destination_cid=header.source_cid,
        original_destination_cid=header.destination_cid,
        retry_token=token,
    )


def initial_close(header: LongHeader, code: QuicErrorCode) -> bytes:
    """Refuse a client without keeping anything (RFC 9000 section 10.2.3)."""
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        is_client=False,
        max_datagram_size=SMALLEST_PAYLOAD_BYTES,
        peer_cid=header.source_cid,
        version=header.version,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    buffer = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=CLOSE_FRAME_CAPACITY)
    buffer.push_uint_var(code)
    buffer.push_uint_var(QuicFrameType.PADDING)
    buffer.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]
