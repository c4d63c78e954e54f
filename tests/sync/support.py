"""Libraries to publish and to follow."""

from __future__ import annotations

from lanspread.model import Availability, GameSummary
from lanspread.sync import messages as m
from lanspread.sync.delta import Change
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.remote import Draft, RemoteLibrary, decode_game

PEER = "22222222-2222-8222-8222-222222222222"
EPOCH = b"e" * 16


def summary(id: str, size: int = 1) -> GameSummary:
    return GameSummary(
        id=id,
        name=id,
        eti_version="1.0",
        size=size,
        downloaded=True,
        installed=False,
        manifest_hash=bytes(32),
        content_hash=None,
        availability=Availability.READY,
    )


def library(rev: int, *ids: str) -> PublishedLibrary:
    """A library at `rev`, as it is right after a start."""
    made, _ = PublishedLibrary.empty(EPOCH, rev - 1).begun(map(summary, ids), None)
    return made


def decoded(delta: m.LibraryDelta) -> Change:
    """A delta as its receiver understands it."""
    return Change(
        epoch=delta.library_epoch,
        from_rev=delta.from_rev,
        to_rev=delta.to_rev,
        digest=delta.library_digest,
        added=tuple(map(decode_game, delta.added)),
        updated=tuple(map(decode_game, delta.updated)),
        removed=delta.removed,
    )


def remote(published: PublishedLibrary) -> RemoteLibrary:
    """The view of one that has fetched the library."""
    draft = Draft()
    for encoded in published.encoded.values():
        draft.add(decode_game(encoded))
    return draft.finish(published.position)
