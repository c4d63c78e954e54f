"""What `statistics()` returns on endpoints, connections and streams. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class EndpointStatistics:
    """Totals since the endpoint was opened, and what it holds now."""

    datagrams_received: int
    datagrams_sent: int
    bytes_received: int
    bytes_sent: int
    # Datagrams dropped, by reason (`lanspread.transport.admission.Drop`).
    drops: Mapping[str, int]
    versions_negotiated: int
    retries_sent: int
    connections: int
    half_open: int
    # Connection ids that datagrams are routed by.
    routes: int
    # Received and not yet consumed, over all connections.
    buffered_bytes: int
    # Given to streams and not yet acknowledged by the peers, over all connections.
    queued_bytes: int
    # Connections closed because too much was buffered.
    closed_for_buffer: int


@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """One connection. `rtt_s` is None until it was measured."""

    rtt_s: float | None
    congestion_window_bytes: int
    in_flight_bytes: int
    # The largest UDP payload that we send, as the path was found to carry.
    payload_bytes: int
    datagrams_received: int
    datagrams_sent: int
    bytes_received: int
    bytes_sent: int
    # Delivered by the network in order, not yet read by the application.
    unread_bytes: int
    # Arrived out of order, with what remembering it costs.
    reassembly_bytes: int
    # Given to streams, those that are done with too, and not yet acknowledged by the peer.
    queued_bytes: int
    # Streams that are not finished on both sides.
    streams: int
    # Streams of the peer that nobody accepted yet.
    unaccepted_streams: int
    queue_drops: int


@attrs.frozen(kw_only=True)
class StreamStatistics:
    """One stream."""

    bytes_sent: int
    bytes_received: int
    # Given to the stream, not yet acknowledged by the peer.
    unacknowledged_bytes: int
    unread_bytes: int
