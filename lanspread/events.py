"""PeerEvent: everything the runtime reports to front-ends, as typed values.

`event_type` is the name on the wire (docs/api.md), `data` the JSON object. A progress event is
last-value-wins: it carries no sequence number and may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from lanspread.views import PeerView


@attrs.frozen(kw_only=True)
class PeerEvent:
    """Base of all events."""

    event_type: ClassVar[str]
    is_progress: ClassVar[bool] = False
    is_terminal: ClassVar[bool] = False


@attrs.frozen(kw_only=True)
class PeerDiscovered(PeerEvent):
    event_type: ClassVar[str] = "peer.discovered"
    peer: PeerView


@attrs.frozen(kw_only=True)
class PeerConnected(PeerEvent):
    event_type: ClassVar[str] = "peer.connected"
    peer: PeerView


@attrs.frozen(kw_only=True)
class PeerUpdated(PeerEvent):
    event_type: ClassVar[str] = "peer.updated"
    peer: PeerView


@attrs.frozen(kw_only=True)
class PeerLost(PeerEvent):
    event_type: ClassVar[str] = "peer.lost"
    peer: PeerView
    reason: str


@attrs.frozen(kw_only=True)
class LibraryUpdated(PeerEvent):
    """`games` of `peer_id` (oneself included) changed; `rev` is that peer's revision."""

    event_type: ClassVar[str] = "library.updated"
    peer_id: str
    games: tuple[str, ...]
    rev: int


@attrs.frozen(kw_only=True)
class GameFiles(PeerEvent):
    """After `game.get`. `files_omitted`: in a replay, how many `files` were too many to be kept."""

    event_type: ClassVar[str] = "game.files"
    id: str
    files: tuple[Mapping[str, object], ...]
    left_out: tuple[str, ...]
    files_omitted: int | None = None


@attrs.frozen(kw_only=True)
class OperationEvent(PeerEvent):
    """Base of the events of one operation on one game."""

    operation_id: str
    id: str


@attrs.frozen(kw_only=True)
class OperationFailed(OperationEvent):
    """Base of what ends an operation that could not be done."""

    is_terminal: ClassVar[bool] = True
    code: str
    message: str
    remedy: str


@attrs.frozen(kw_only=True)
class OperationCancelled(OperationEvent):
    """Base of what ends an operation that somebody cancelled."""

    is_terminal: ClassVar[bool] = True


@attrs.frozen(kw_only=True)
class DownloadBegin(OperationEvent):
    event_type: ClassVar[str] = "download.begin"
    version: str
    total_bytes: int
    sources: tuple[str, ...]


@attrs.frozen(kw_only=True)
class DownloadProgress(OperationEvent):
    event_type: ClassVar[str] = "download.progress"
    is_progress: ClassVar[bool] = True
    done_bytes: int
    total_bytes: int
    rate: float
    eta_s: float | None
    sources: tuple[str, ...]


@attrs.frozen(kw_only=True)
class DownloadPaused(OperationEvent):
    """`reason` is user, no_sources or disk_full; `needed_bytes` with disk_full."""

    event_type: ClassVar[str] = "download.paused"
    reason: str
    needed_bytes: int | None = None


@attrs.frozen(kw_only=True)
class DownloadResumed(OperationEvent):
    event_type: ClassVar[str] = "download.resumed"


@attrs.frozen(kw_only=True)
class DownloadFinished(OperationEvent):
    event_type: ClassVar[str] = "download.finished"
    is_terminal: ClassVar[bool] = True
    version: str
    bytes_fetched: int
    seconds: float


@attrs.frozen(kw_only=True)
class DownloadFailed(OperationFailed):
    event_type: ClassVar[str] = "download.failed"


@attrs.frozen(kw_only=True)
class DownloadCancelled(OperationCancelled):
    event_type: ClassVar[str] = "download.cancelled"


@attrs.frozen(kw_only=True)
class SourceDropped(OperationEvent):
    event_type: ClassVar[str] = "source.dropped"
    peer_id: str
    reason: str


@attrs.frozen(kw_only=True)
class Warning_(PeerEvent):
    event_type: ClassVar[str] = "warning"
    code: str
    message: str
    remedy: str


def event_data(event: PeerEvent) -> dict[str, object]:
    """The `data` of an event: its fields; a Peer's fields stand beside the event's own."""
    fields = {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    peer = fields.pop("peer", None)
    data: dict[str, object] = {}
    if peer is not None:
        data.update(attrs.asdict(peer, recurse=False))
    data.update(fields)
    return data
