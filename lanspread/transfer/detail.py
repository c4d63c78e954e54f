"""`game.get`: the files and variants of one game, asked of those who offer it.

Source: docs/api.md, "Calls".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import structlog
import trio

from lanspread.errors import LanspreadError
from lanspread.events import GameFiles
from lanspread.fs.local_game import LocalGame
from lanspread.model import FileEntry, version_key
from lanspread.seams import Threads
from lanspread.sync.session import Session
from lanspread.transfer.manifests import KnownManifests
from lanspread.transfer.reference import fetch_manifest
from lanspread.transfer.source import SourceError
from lanspread.transfer.variants import Offer, Variant, choose, group
from lanspread.views import GameDetail, GameView, VariantView

_log = structlog.get_logger(__name__)

_EACH_S = 3.0
_ALL_S = 10.0


@attrs.frozen
class RemoteManifests:
    """How the manifests of others are come by."""

    session_of: Callable[[str], Session | None]
    threads: Threads
    known: KnownManifests


async def describe(
    game: GameView,
    local: LocalGame | None,
    offers: Sequence[Offer],
    expected_version: str | None,
    remote: RemoteManifests,
) -> tuple[GameDetail, GameFiles]:
    """The answer of `game.get`, and the event that tells everybody of it.

    The files are those of the version that is shown: what is here, else what would be fetched.
    """
    variants = group(offers)
    chosen = choose(variants, named=None, expected_version=expected_version)
    files: tuple[FileEntry, ...] = ()
    if local is not None and game.local_version == game.eti_version:
        files = local.manifest.files
    elif chosen is not None:
        files = await remote_files(game.id, chosen, remote)
    told = GameFiles(
        id=game.id,
        files=tuple({"path": entry.path, "size": entry.size} for entry in files),
        left_out=left_out(variants, chosen),
    )
    views = tuple(variant_view(variant, local) for variant in variants)
    return GameDetail(game=game, files=files, variants=views), told


async def remote_files(
    game_id: str, variant: Variant, remote: RemoteManifests
) -> tuple[FileEntry, ...]:
    """The files of a variant, from the first of its peers whose manifest can be used.

    Empty if none answers within ten seconds: a front-end does not wait for a hostile peer.
    """
    with trio.move_on_after(_ALL_S):
        for offer in variant.offers:
            session = remote.session_of(offer.peer_id)
            if session is None:
                continue
            with trio.move_on_after(_EACH_S):
                try:
                    offered = await fetch_manifest(
                        session, game_id, offer.announced, remote.threads, remote.known
                    )
                except (SourceError, LanspreadError) as error:
                    _log.info("no manifest from a source", peer=offer.peer_id, why=str(error))
                    continue
                if offered.manifest_hash == variant.manifest_hash:
                    return offered.manifest.files
    return ()


def left_out(variants: Sequence[Variant], chosen: Variant | None) -> tuple[str, ...]:
    """The peers that offer only other variants than the chosen one."""
    others = {peer for variant in variants if variant is not chosen for peer in variant.peers}
    return tuple(sorted(others - set(chosen.peers if chosen is not None else ())))


def variant_view(variant: Variant, local: LocalGame | None) -> VariantView:
    """A variant as the API shows it; `local` is the game as it is here."""
    # Before ours is hashed it may be any of those with the same files.
    here = (
        local is not None
        and local.downloaded
        and version_key(local.version) == version_key(variant.version)
        and (local.content_hash is not None or variant.content_hash is None)
        and variant.is_content_of(local.manifest_hash, local.content_hash)
    )
    return VariantView(
        version=variant.version,
        manifest_hash=variant.manifest_hash.hex(),
        content_hash=variant.content_hash.hex() if variant.content_hash is not None else None,
        size=variant.size,
        peers=variant.peers,
        here=here,
    )
