"""`game.get`: the files and variants of one game, asked of those who offer it.

Source: docs/api.md, "Calls".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio

from lanspread.errors import LanspreadError
from lanspread.events import GameFiles
from lanspread.model import FileEntry
from lanspread.seams import Threads
from lanspread.sync.session import Session
from lanspread.transfer.manifests import KnownManifests
from lanspread.transfer.reference import fetch_manifest
from lanspread.transfer.source import SourceError
from lanspread.transfer.variants import Variant
from lanspread.views import GameDetail, GameView, VariantView

_log = structlog.get_logger(__name__)

_EACH_S = 3.0
_ALL_S = 10.0


async def remote_files(
    game_id: str,
    variant: Variant,
    session_of: Callable[[str], Session | None],
    threads: Threads,
    known: KnownManifests,
) -> tuple[FileEntry, ...]:
    """The files of a variant, from the first of its peers whose manifest can be used.

    Empty if none answers within ten seconds: a front-end does not wait for a hostile peer.
    """
    with trio.move_on_after(_ALL_S):
        for offer in variant.offers:
            session = session_of(offer.peer_id)
            if session is None:
                continue
            with trio.move_on_after(_EACH_S):
                try:
                    offered = await fetch_manifest(
                        session, game_id, offer.announced, threads, known
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


def described(
    game: GameView,
    files: tuple[FileEntry, ...],
    variants: Sequence[Variant],
    chosen: Variant | None,
) -> tuple[GameDetail, GameFiles]:
    """The answer of `game.get`, and the event that tells everybody of it."""
    told = GameFiles(
        id=game.id,
        files=tuple({"path": entry.path, "size": entry.size} for entry in files),
        left_out=left_out(variants, chosen),
    )
    return GameDetail(game=game, files=files, variants=tuple(map(variant_view, variants))), told


def variant_view(variant: Variant) -> VariantView:
    """A variant as the API shows it."""
    return VariantView(
        version=variant.version,
        manifest_hash=variant.manifest_hash.hex(),
        content_hash=variant.content_hash.hex() if variant.content_hash is not None else None,
        size=variant.size,
        peers=variant.peers,
    )
