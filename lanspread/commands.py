"""PeerCommand: everything a front-end may ask, as typed values.

`method` is the JSON-RPC method (docs/api.md). A command that starts work answers at once with the
operation's id; repeating it answers with the running one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import attrs
import msgspec

from lanspread import limits
from lanspread.config import check_rate


@attrs.frozen(kw_only=True)
class PeerCommand:
    """Base of all commands."""

    method: ClassVar[str]


@attrs.frozen(kw_only=True)
class GameCommand(PeerCommand):
    """Base of what begins, joins or ends an operation on a game; the answer is its id."""

    id: str


@attrs.frozen(kw_only=True)
class GetStatus(PeerCommand):
    method: ClassVar[str] = "status"


@attrs.frozen(kw_only=True)
class ListGames(PeerCommand):
    """All games, or of those with these `ids` the ones that there are."""

    method: ClassVar[str] = "games.list"
    ids: tuple[str, ...] | None = None


@attrs.frozen(kw_only=True)
class GetGame(PeerCommand):
    method: ClassVar[str] = "game.get"
    id: str


@attrs.frozen(kw_only=True)
class DownloadGame(GameCommand):
    """`variant` is a content_hash or manifest_hash in hex; `files` a selection of paths."""

    method: ClassVar[str] = "game.download"
    files: tuple[str, ...] | None = None
    variant: str | None = None


@attrs.frozen(kw_only=True)
class CancelGame(GameCommand):
    method: ClassVar[str] = "game.cancel"


@attrs.frozen(kw_only=True)
class PauseGame(GameCommand):
    """Pause a download. It stays paused, across restarts too, until it is resumed."""

    method: ClassVar[str] = "game.pause"


@attrs.frozen(kw_only=True)
class ResumeGame(GameCommand):
    """Go on with a download that was paused."""

    method: ClassVar[str] = "game.resume"


@attrs.frozen(kw_only=True)
class InstallGame(GameCommand):
    """Unpack a downloaded game into its `local/`; done at once if it is there."""

    method: ClassVar[str] = "game.install"


@attrs.frozen(kw_only=True)
class UpdateGame(GameCommand):
    """Fetch the newest version if it is missing, then update `local/` if it is there."""

    method: ClassVar[str] = "game.update"


@attrs.frozen(kw_only=True)
class UninstallGame(GameCommand):
    """Remove `local/` whole, saves included."""

    method: ClassVar[str] = "game.uninstall"


@attrs.frozen(kw_only=True)
class RemoveGame(GameCommand):
    """Remove the downloaded files, never `local/`.

    `force`: also while others fetch them, and where no download of ours explains them.
    """

    method: ClassVar[str] = "game.remove"
    force: bool = False


@attrs.frozen(kw_only=True)
class ListPeers(PeerCommand):
    method: ClassVar[str] = "peers.list"


@attrs.frozen(kw_only=True)
class ConnectPeer(PeerCommand):
    """`address` is HOST:PORT."""

    method: ClassVar[str] = "peers.connect"
    address: str


@attrs.frozen(kw_only=True)
class GetSettings(PeerCommand):
    method: ClassVar[str] = "settings.get"


# A peer's own name: one line, and it begins with something that is seen.
Name = Annotated[
    str,
    msgspec.Meta(
        max_length=limits.MAX_NAME_CHARS,
        pattern=limits.NAME_PATTERN,
        description=limits.NAME_RULE,
    ),
]
# MB/s; 0 is no limit.
Rate = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


def _check_rate(_: object, field: attrs.Attribute[float | None], rate: float | None) -> None:
    if rate:
        try:
            check_rate(rate)
        except ValueError as error:
            raise ValueError(f"`{field.name}`: {error}; 0 is no limit") from None


@attrs.frozen(kw_only=True)
class SetSettings(PeerCommand):
    """What is not given stays as it is. Rates are MB/s, at least 0.001; 0 is no limit."""

    # A lower rate is a `ValueError`: nothing would arrive in time.

    method: ClassVar[str] = "settings.set"
    name: Name | None = None
    max_up: Rate | None = attrs.field(default=None, validator=_check_rate)
    max_down: Rate | None = attrs.field(default=None, validator=_check_rate)
    auto_install: bool | None = None
    polite: bool | None = None


@attrs.frozen(kw_only=True)
class SetGamesDir(PeerCommand):
    """`path` is absolute. Refused with `busy` while an operation is active."""

    method: ClassVar[str] = "settings.set_games_dir"
    path: str


@attrs.frozen(kw_only=True)
class Shutdown(PeerCommand):
    method: ClassVar[str] = "shutdown"


@attrs.frozen
class OperationStarted:
    """The answer of a command that starts, or ends, work: the operation that it is about."""

    operation_id: str


@attrs.frozen
class Done:
    """The answer of a command that is done when it answers."""


COMMANDS: tuple[type[PeerCommand], ...] = (
    GetStatus,
    ListGames,
    GetGame,
    DownloadGame,
    PauseGame,
    ResumeGame,
    CancelGame,
    InstallGame,
    UpdateGame,
    UninstallGame,
    RemoveGame,
    ListPeers,
    ConnectPeer,
    GetSettings,
    SetSettings,
    SetGamesDir,
    Shutdown,
)
