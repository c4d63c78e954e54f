"""A peer as the API shows it. Pure."""

from __future__ import annotations

import datetime

from lanspread.sync.directory import PeerRecord
from lanspread.views import PeerView


def peer_view(record: PeerRecord, seen_s_ago: float | None, now: datetime.datetime) -> PeerView:
    """`seen_s_ago` is how long ago a packet of the peer came, None if never."""
    return PeerView(
        peer_id=record.peer_id,
        name=record.name,
        addresses=tuple(str(address) for address in record.addresses),
        state=record.state,
        features=dict(record.features),
        library_rev=record.library.position.rev if record.library is not None else None,
        game_count=len(record.library.games) if record.library is not None else 0,
        last_seen=None if seen_s_ago is None else iso_time(now, seen_s_ago),
        proto_ver=record.proto_ver,
    )


def iso_time(now: datetime.datetime, ago_s: float = 0.0) -> str:
    """UTC, ISO 8601 with `Z`, milliseconds."""
    moment = now.astimezone(datetime.UTC) - datetime.timedelta(seconds=ago_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
