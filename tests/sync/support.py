"""Libraries to publish and to follow."""

from __future__ import annotations

from lanspread.model import Availability, GameSummary
from lanspread.sync.library import PublishedLibrary

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
