"""The JSON values of the API: what `games`, `peers` and `status` show.

Field names and meanings are docs/api.md's; sizes are bytes, rates bytes a second, times ISO 8601.
"""

from __future__ import annotations

import enum

import attrs

from lanspread import limits
from lanspread.config import BYTES_PER_MB
from lanspread.model import Availability, FileEntry


class OperationKind(enum.StrEnum):
    DOWNLOAD = "download"
    INSTALL = "install"
    UPDATE = "update"
    UNINSTALL = "uninstall"
    REMOVE = "remove"


class OperationState(enum.StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"


class PeerState(enum.StrEnum):
    DISCOVERED = "discovered"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    INCOMPATIBLE = "incompatible"
    REFUSED = "refused"
    LOST = "lost"


@attrs.frozen(kw_only=True)
class OperationView:
    operation_id: str
    kind: OperationKind
    state: OperationState
    done_bytes: int
    total_bytes: int


@attrs.frozen(kw_only=True)
class GameView:
    """One game of the merged library: local only, remote only, or both."""

    id: str
    name: str
    description: str | None
    year: int | None
    genre: str | None
    players: str | None
    eti_version: str
    local_version: str | None
    installed_version: str | None
    size: int
    downloaded: bool
    installed: bool
    availability: Availability | None
    update_available: bool
    manifest_hash: str | None
    content_hash: str | None
    peers: tuple[str, ...]
    operation: OperationView | None
    cover_url: str | None


@attrs.frozen
class Picture:
    """A picture that may be shown; `media_type` is what its bytes say."""

    media_type: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class VariantView:
    """Offers of one game with the same version and the same content; `here`: so is what is here."""

    version: str
    manifest_hash: str
    content_hash: str | None
    size: int
    peers: tuple[str, ...]
    here: bool = False


@attrs.frozen(kw_only=True)
class GameDetail:
    """`game.get`: the game with its files and variants."""

    game: GameView
    files: tuple[FileEntry, ...]
    variants: tuple[VariantView, ...]


@attrs.frozen(kw_only=True)
class PeerView:
    peer_id: str
    name: str
    addresses: tuple[str, ...]
    state: PeerState
    features: dict[str, object]
    library_rev: int | None
    game_count: int
    last_seen: str | None
    proto_ver: int | None


@attrs.frozen(kw_only=True)
class SettingsView:
    """Rates are MB/s; null is no limit. `polite_up` and `polite_down` hold while `polite` is on."""

    name: str
    games_dir: str
    max_up: float | None
    max_down: float | None
    auto_install: bool
    polite: bool = False
    polite_up: float = limits.POLITE_RATE / BYTES_PER_MB
    polite_down: float = limits.POLITE_RATE / BYTES_PER_MB


@attrs.frozen(kw_only=True)
class LoopLagView:
    """How late the event loop came to what was due, over the last minute, in seconds."""

    p50_s: float
    p99_s: float
    max_s: float


@attrs.frozen(kw_only=True)
class StatusView:
    """`loop_lag` is null until it was measured."""

    peer_id: str
    name: str
    instance: str
    version: str
    games_dir: str
    listen: tuple[str, ...]
    peers: int
    games: int
    operations: tuple[OperationView, ...]
    up_rate: float
    down_rate: float
    uptime_s: float
    loop_lag: LoopLagView | None = None
