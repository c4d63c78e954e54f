"""One view of all games: local only, remote only, or both. Pure.

Source: docs/api.md, "Values".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from lanspread.fs.catalog import Catalog
from lanspread.fs.local_game import LocalGame
from lanspread.model import Availability, GameSummary, fold_id, version_key
from lanspread.sync.directory import PeerRecord
from lanspread.views import GameView, OperationView

OperationOf = Callable[[str], OperationView | None]
CoverOf = Callable[[str], str | None]


def _no_cover(game_id: str) -> str | None:
    return None


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
    cover_of: CoverOf = _no_cover,
    only: AbstractSet[str] | None = None,
) -> list[GameView]:
    """Every game that is here or at a connected peer, by name; keys of `local` are folded ids.

    A remote game that the catalog does not know, or of another version than it expects, is not
    offered and so not shown, unless it is here as well. `being_fetched` are games that are shown
    even while nobody offers them. `only` are the folded ids that are asked for: what the others
    are costs nothing then.
    """
    offers: dict[str, list[tuple[str, GameSummary]]] = {}
    for peer in peers:
        for key in peer.offers if only is None else only & peer.offers.keys():
            summary = peer.offers[key]
            if summary.offered and _expected(summary, catalog):
                offers.setdefault(key, []).append((peer.peer_id, summary))
    fetched = {fold_id(summary.id): summary for summary in being_fetched}
    views = [
        _view(
            local.get(key), offers.get(key, []), fetched.get(key), catalog, operation_of, cover_of
        )
        for key in (local.keys() | offers.keys() | fetched.keys() if only is None else only)
        if key in local or key in offers or key in fetched
    ]
    return sorted(views, key=lambda view: (fold_id(view.name), view.id))


def count_games(
    local: Mapping[str, LocalGame],
    peers: Iterable[PeerRecord],
    catalog: Catalog,
    being_fetched: Iterable[GameSummary] = (),
) -> int:
    """How many `merge_games` would list, without making the views."""
    keys = set(local) | {fold_id(summary.id) for summary in being_fetched}
    for peer in peers:
        keys.update(
            key
            for key, summary in peer.offers.items()
            if summary.offered and _expected(summary, catalog)
        )
    return len(keys)


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
    cover_of: CoverOf,
) -> GameView:
    known = local or fetched or min(offers, key=lambda offer: offer[0])[1]
    entry = catalog.entry(known.id)
    operation = operation_of(known.id)
    local_version = local.version if local is not None and local.downloaded else None
    pinned = entry is not None and entry.version is not None
    latest = _latest(local_version, offers, fetched, pinned=pinned)
    newest = [offer for offer in offers if _same_version(offer[1].eti_version, latest)]
    # While all who offer it are away, a game that is being fetched is shown as it was offered.
    best = min(newest, key=lambda offer: offer[0])[1] if newest else fetched
    here_is_latest = local_version is not None and _same_version(local_version, latest)
    shown = local if local is not None and (here_is_latest or best is None) else best
    assert shown is not None
    availability = None if operation is None else Availability.DOWNLOADING
    if local is not None:
        availability = local_availability(local, catalog, busy=operation is not None)
    return GameView(
        id=known.id,
        name=entry.name if entry is not None else _name(known),
        description=entry.description if entry is not None else None,
        year=entry.year if entry is not None else None,
        genre=entry.genre if entry is not None else None,
        players=entry.players if entry is not None else None,
        eti_version=latest,
        local_version=local_version,
        installed_version=local.installed_version if local is not None else None,
        size=shown.size,
        downloaded=local is not None and local.downloaded,
        installed=local is not None and local.installed,
        availability=availability,
        update_available=_can_be_updated(local, local_version, latest),
        manifest_hash=shown.manifest_hash.hex() if shown.manifest_hash is not None else None,
        content_hash=shown.content_hash.hex() if shown.content_hash is not None else None,
        peers=tuple(sorted(peer_id for peer_id, _ in newest)),
        operation=operation,
        cover_url=cover_of(known.id),
    )


def _can_be_updated(local: LocalGame | None, local_version: str | None, latest: str) -> bool:
    if local is None or local_version is None:
        return False
    if version_key(latest) > version_key(local_version):
        return True
    installed = local.installed_version
    return installed is not None and not _same_version(installed, local_version)


def _latest(
    local_version: str | None,
    offers: list[tuple[str, GameSummary]],
    fetched: GameSummary | None,
    *,
    pinned: bool,
) -> str:
    versions = [summary.eti_version for _, summary in offers]
    # Where a catalog pins the version, what is offered is of that version; ours may be another.
    if local_version is not None and not (pinned and offers):
        versions.append(local_version)
    if not versions and fetched is not None:
        versions.append(fetched.eti_version)
    return max(versions, key=version_key, default="")


def _same_version(one: str, other: str) -> bool:
    return version_key(one) == version_key(other)


def _name(known: LocalGame | GameSummary) -> str:
    return known.name if isinstance(known, GameSummary) else known.id
