"""One view of all games: local only, remote only, or both. Pure.

Source: docs/api.md, "Game".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lanspread.fs.catalog import Catalog
from lanspread.fs.local_game import LocalGame
from lanspread.model import Availability, GameSummary, fold_id, version_key
from lanspread.sync.directory import PeerRecord
from lanspread.views import GameView, OperationView

OperationOf = Callable[[str], OperationView | None]


def local_availability(game: LocalGame, catalog: Catalog, *, busy: bool) -> Availability:
    """Whether a local game can be fetched from here."""
    if busy:
        return Availability.DOWNLOADING
    shared = game.downloaded and game.problem is None and game.manifest_hash is not None
    return Availability.READY if shared and catalog.allows(game.id) else Availability.LOCAL_ONLY


def local_summary(game: LocalGame, catalog: Catalog, *, busy: bool) -> GameSummary:
    """What is announced of a local game."""
    entry = catalog.entry(game.id)
    return GameSummary(
        id=game.id,
        name=entry.name if entry is not None else game.id,
        eti_version=game.version,
        size=game.size,
        downloaded=game.downloaded,
        installed=game.installed,
        manifest_hash=game.manifest_hash,
        content_hash=game.content_hash,
        availability=local_availability(game, catalog, busy=busy),
    )


def merge_games(
    local: Mapping[str, LocalGame],
    peers: Iterable[PeerRecord],
    catalog: Catalog,
    operation_of: OperationOf,
    being_fetched: Iterable[GameSummary] = (),
) -> list[GameView]:
    """Every game that is here or at a connected peer, by id; keys of `local` are folded ids.

    A remote game that the catalog does not know, or of another version than it expects, is not
    offered and so not shown, unless it is here as well. `being_fetched` are games that are shown
    even while nobody offers them.
    """
    offers: dict[str, list[tuple[str, GameSummary]]] = {}
    for peer in peers:
        for key, summary in peer.offers.items():
            if summary.offered and _expected(summary, catalog):
                offers.setdefault(key, []).append((peer.peer_id, summary))
    fetched = {fold_id(summary.id): summary for summary in being_fetched}
    views = [
        _view(local.get(key), offers.get(key, []), fetched.get(key), catalog, operation_of)
        for key in local.keys() | offers.keys() | fetched.keys()
    ]
    return sorted(views, key=lambda view: (fold_id(view.name), view.id))


def _expected(summary: GameSummary, catalog: Catalog) -> bool:
    if not catalog.allows(summary.id):
        return False
    entry = catalog.entry(summary.id)
    if entry is None or entry.version is None:
        return True
    return version_key(entry.version) == version_key(summary.eti_version)


def _view(
    local: LocalGame | None,
    offers: list[tuple[str, GameSummary]],
    fetched: GameSummary | None,
    catalog: Catalog,
    operation_of: OperationOf,
) -> GameView:
    local_version = local.version if local is not None and local.downloaded else None
    versions = [summary.eti_version for _, summary in offers]
    if local_version is not None:
        versions.append(local_version)
    if not versions and fetched is not None:
        versions.append(fetched.eti_version)
    latest = max(versions, key=version_key, default="")
    newest = [
        (peer_id, summary)
        for peer_id, summary in offers
        if version_key(summary.eti_version) == version_key(latest)
    ]
    here_is_latest = local_version is not None and version_key(local_version) == version_key(latest)
    # While all who offer it are away, a game that is being fetched is shown as it was offered.
    best = min(newest, key=lambda offer: offer[0])[1] if newest else fetched
    if local is not None and (here_is_latest or best is None):
        size, manifest_hash, content_hash = local.size, local.manifest_hash, local.content_hash
    else:
        assert best is not None
        size, manifest_hash, content_hash = best.size, best.manifest_hash, best.content_hash
    game_id = local.id if local is not None else best.id if best is not None else ""
    operation = operation_of(game_id)
    entry = catalog.entry(game_id)
    remote_name = best.name if best is not None else game_id
    installed = local is not None and local.installed
    # No record of installs is kept yet: what is installed counts as what is downloaded.
    installed_version = local_version if installed else None
    return GameView(
        id=game_id,
        name=entry.name if entry is not None else (remote_name if local is None else game_id),
        description=entry.description if entry is not None else None,
        year=entry.year if entry is not None else None,
        genre=entry.genre if entry is not None else None,
        players=entry.players if entry is not None else None,
        eti_version=latest,
        local_version=local_version,
        installed_version=installed_version,
        size=size,
        downloaded=local is not None and local.downloaded,
        installed=installed,
        availability=local_availability(local, catalog, busy=operation is not None)
        if local is not None
        else (Availability.DOWNLOADING if operation is not None else None),
        update_available=local_version is not None
        and version_key(latest) > version_key(local_version),
        manifest_hash=manifest_hash.hex() if manifest_hash is not None else None,
        content_hash=content_hash.hex() if content_hash is not None else None,
        peers=tuple(sorted(peer_id for peer_id, _ in newest)),
        operation=operation,
        cover_url=None,
    )
