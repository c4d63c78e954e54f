"""Who may open a connection: bounds on half-open, all, and per-host connections. Pure.

Anybody on the network can send Initial packets from made-up addresses. Up to a number of half-open
handshakes they are taken at their word; above it each must first prove its address by Retry, which
keeps no state here; above a second bound they are dropped. Source: RFC 9000 section 8.1.
"""

from __future__ import annotations

import enum
import os
from collections import Counter
from typing import Final

import attrs
from aioquic.quic.retry import QuicRetryTokenHandler

from lanspread.seams import Address
from lanspread.transport.engines import HOST_CID_BYTES, SUPPORTED_VERSIONS
from lanspread.transport.options import EndpointOptions
from lanspread.transport.packets import LongHeader
from lanspread.transport.path_mtu import SMALLEST_PAYLOAD_BYTES

RETRY_CID_BYTES: Final = HOST_CID_BYTES


class Drop(enum.StrEnum):
    """Why a datagram was dropped; the keys of `EndpointStatistics.drops`."""

    MALFORMED = "malformed"
    UNKNOWN_CONNECTION = "unknown_connection"
    QUEUE_FULL = "queue_full"
    HALF_OPEN_FULL = "half_open_full"
    HOST_FULL = "host_full"
    CONNECTIONS_FULL = "connections_full"
    INVALID_TOKEN = "invalid_token"
    NOT_AUTHENTIC = "not_authentic"


@attrs.frozen
class Admit:
    """Make a connection with these ids."""

    original_destination_cid: bytes
    retry_source_cid: bytes | None


@attrs.frozen
class NegotiateVersion:
    """Say which versions we speak."""


@attrs.frozen
class AskAddress:
    """Answer with Retry."""

    source_cid: bytes
    token: bytes


@attrs.frozen
class Refuse:
    """Say no (CONNECTION_REFUSED, or INVALID_TOKEN for that reason) and keep nothing."""

    reason: Drop


@attrs.frozen
class Ignore:
    """Drop without an answer."""

    reason: Drop


Decision = Admit | NegotiateVersion | AskAddress | Refuse | Ignore


class Admission:
    """Counts what is open and decides about each first packet of a would-be connection."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._tokens = QuicRetryTokenHandler()
        self._by_host: Counter[str] = Counter()
        self.connections = 0
        self.half_open = 0

    def decide(self, header: LongHeader, size_bytes: int, address: Address, now: float) -> Decision:
        """What to do with a datagram that belongs to no connection."""
        if header.is_reply:
            return Ignore(Drop.UNKNOWN_CONNECTION)
        # An answer must not be larger than what it answers, and a client's first datagram is at
        # least this large in every version (RFC 9000 sections 6.1, 14.1).
        if size_bytes < SMALLEST_PAYLOAD_BYTES:
            return Ignore(Drop.UNKNOWN_CONNECTION)
        if header.version not in SUPPORTED_VERSIONS:
            return NegotiateVersion()
        if not header.is_initial:
            return Ignore(Drop.UNKNOWN_CONNECTION)
        options = self._options
        if self.half_open >= options.max_half_open:
            return Ignore(Drop.HALF_OPEN_FULL)
        if header.token:
            return self._check_token(header, address, now)
        if self.half_open >= options.retry_above_half_open:
            return self._ask_address(header, address, now)
        return self._room(address) or Admit(header.destination_cid, None)

    def opened(self, address: Address | None) -> None:
        """A connection was made; `address` is None where we dialed."""
        self.connections += 1
        if address is not None:
            self.half_open += 1
            self._by_host[address.host] += 1

    def completed(self) -> None:
        """The handshake of an inbound connection is complete, or will never be."""
        self.half_open -= 1

    def closed(self, address: Address | None) -> None:
        """A connection is gone; `address` as given to `opened`."""
        self.connections -= 1
        if address is not None:
            self._by_host[address.host] -= 1
            if not self._by_host[address.host]:
                del self._by_host[address.host]

    @property
    def full(self) -> bool:
        return self.connections >= self._options.max_connections

    def _room(self, address: Address) -> Refuse | None:
        if self.full:
            return Refuse(Drop.CONNECTIONS_FULL)
        if self._by_host[address.host] >= self._options.max_connections_per_host:
            return Refuse(Drop.HOST_FULL)
        return None

    def _ask_address(self, header: LongHeader, address: Address, now: float) -> Decision:
        source_cid = os.urandom(RETRY_CID_BYTES)
        try:
            token = self._tokens.create_token(
                address=address,
                original_destination_connection_id=header.destination_cid,
                retry_source_connection_id=source_cid,
                now=now,
            )
        except ValueError:  # the address is no IP literal
            return Ignore(Drop.MALFORMED)
        return AskAddress(source_cid, token)

    def _check_token(self, header: LongHeader, address: Address, now: float) -> Decision:
        # A token is judged even when none would be asked for: the client tells the connection ids
        # of its Retry in the handshake, and they must match.
        try:
            original = self._tokens.validate_token(
                address=address,
                destination_cid=header.destination_cid,
                token=header.token,
                now=now,
            )
        except ValueError:
            return Refuse(Drop.INVALID_TOKEN)
        return self._room(address) or Admit(original, header.destination_cid)
