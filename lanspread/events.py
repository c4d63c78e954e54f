"""PeerEvent: everything the runtime reports to front-ends, as typed values.

`event_type` is the name on the wire (docs/api.md), `data` the JSON object. A progress event is
last-value-wins: it carries no sequence number and may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from lanspread.views import PeerView

# Why a download waits.
PAUSE_REASONS = ("user", "no_sources", "disk_full")


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
    """`source_rates`: bytes a second by peer_id, of the sources that sent something lately."""

    event_type: ClassVar[str] = "download.progress"
    is_progress: ClassVar[bool] = True
    done_bytes: int
    total_bytes: int
    rate: float
    eta_s: float | None
    sources: tuple[str, ...]
    source_rates: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class DownloadPaused(OperationEvent):
    """Why it waits; `needed_bytes` comes with `disk_full`."""

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
class ChangeBegin(OperationEvent):
    """Base of what begins a change of what is on this disk. `total_bytes` is about how much there
    is to do; the progress that follows knows better."""

    version: str
    total_bytes: int


@attrs.frozen(kw_only=True)
class ChangeProgress(OperationEvent):
    """Base of how far a change of what is on this disk is."""

    is_progress: ClassVar[bool] = True
    done_bytes: int
    total_bytes: int
    rate: float
    eta_s: float | None


@attrs.frozen(kw_only=True)
class ChangeFinished(OperationEvent):
    """Base of what ends a change of what is on this disk; `version` is what it was about."""

    is_terminal: ClassVar[bool] = True
    version: str
    seconds: float


@attrs.frozen(kw_only=True)
class InstallBegin(ChangeBegin):
    event_type: ClassVar[str] = "install.begin"


@attrs.frozen(kw_only=True)
class InstallProgress(ChangeProgress):
    event_type: ClassVar[str] = "install.progress"


@attrs.frozen(kw_only=True)
class InstallFinished(ChangeFinished):
    event_type: ClassVar[str] = "install.finished"


@attrs.frozen(kw_only=True)
class InstallFailed(OperationFailed):
    event_type: ClassVar[str] = "install.failed"


@attrs.frozen(kw_only=True)
class InstallCancelled(OperationCancelled):
    event_type: ClassVar[str] = "install.cancelled"


@attrs.frozen(kw_only=True)
class UpdateBegin(ChangeBegin):
    event_type: ClassVar[str] = "update.begin"


@attrs.frozen(kw_only=True)
class UpdateProgress(ChangeProgress):
    event_type: ClassVar[str] = "update.progress"


@attrs.frozen(kw_only=True)
class UpdateFinished(ChangeFinished):
    """`kept`: the user's files in `local/` that were carried over, as they are called now: the
    first of them. `kept_omitted`: how many more there are."""

    event_type: ClassVar[str] = "update.finished"
    kept: tuple[str, ...]
    kept_omitted: int | None = None


@attrs.frozen(kw_only=True)
class UpdateFailed(OperationFailed):
    event_type: ClassVar[str] = "update.failed"


@attrs.frozen(kw_only=True)
class UpdateCancelled(OperationCancelled):
    event_type: ClassVar[str] = "update.cancelled"


@attrs.frozen(kw_only=True)
class UninstallBegin(ChangeBegin):
    event_type: ClassVar[str] = "uninstall.begin"


@attrs.frozen(kw_only=True)
class UninstallProgress(ChangeProgress):
    event_type: ClassVar[str] = "uninstall.progress"


@attrs.frozen(kw_only=True)
class UninstallFinished(ChangeFinished):
    event_type: ClassVar[str] = "uninstall.finished"


@attrs.frozen(kw_only=True)
class UninstallFailed(OperationFailed):
    event_type: ClassVar[str] = "uninstall.failed"


@attrs.frozen(kw_only=True)
class UninstallCancelled(OperationCancelled):
    event_type: ClassVar[str] = "uninstall.cancelled"


@attrs.frozen(kw_only=True)
class RemoveBegin(ChangeBegin):
    event_type: ClassVar[str] = "remove.begin"


@attrs.frozen(kw_only=True)
class RemoveProgress(ChangeProgress):
    event_type: ClassVar[str] = "remove.progress"


@attrs.frozen(kw_only=True)
class RemoveFinished(ChangeFinished):
    """`kept`: files of the download that somebody changed, so that they are not ours to remove: the
    first of them. `kept_omitted`: how many more there are."""

    event_type: ClassVar[str] = "remove.finished"
    kept: tuple[str, ...]
    kept_omitted: int | None = None


@attrs.frozen(kw_only=True)
class RemoveFailed(OperationFailed):
    event_type: ClassVar[str] = "remove.failed"


@attrs.frozen(kw_only=True)
class RemoveCancelled(OperationCancelled):
    event_type: ClassVar[str] = "remove.cancelled"


@attrs.frozen(kw_only=True)
class RecoveryRepaired(PeerEvent):
    """What an interrupted operation left in a game's folder was put right; `what` is a sentence."""

    event_type: ClassVar[str] = "recovery.repaired"
    id: str
    what: str


@attrs.frozen(kw_only=True)
class RecoveryBlocked(PeerEvent):
    """It could not be put right: nothing was touched, and the game is not offered."""

    event_type: ClassVar[str] = "recovery.blocked"
    id: str
    why: str


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
