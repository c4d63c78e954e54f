"""What an attacker says: control messages about its library, and the library itself."""

from __future__ import annotations

from collections.abc import Sequence

from tests.protocol import wire
from tests.protocol.independent import Node, Session
from tests.protocol.links import Pipe
from tests.protocol.wire import Message, encode, message


def summary(session: Session, **fields: object) -> bytes:
    known = {
        "peer_id": session.node.peer_id,
        "library_epoch": bytes(16),
        "library_rev": 1,
        "library_digest": bytes(32),
        "game_count": 0,
    }
    return message("LibrarySummary", **(known | fields))


def delta(session: Session, **fields: object) -> bytes:
    known = {
        "peer_id": session.node.peer_id,
        "library_epoch": bytes(16),
        "from_rev": 1,
        "to_rev": 2,
        "library_digest": bytes(32),
        "added": [],
        "updated": [],
        "removed": [],
    }
    return message("LibraryDelta", **(known | fields))


def game_summary(id: str = "Game", **fields: object) -> bytes:
    known = {
        "id": id,
        "name": id,
        "eti_version": "1.0",
        "size": 1,
        "downloaded": True,
        "installed": False,
        "manifest_hash": bytes(32),
        "content_hash": bytes(32),
        "availability": "ready",
    }
    return encode(known | fields)


def page(
    node: Node, games: Sequence[bytes], digest: bytes | None = None, **fields: object
) -> bytes:
    known = {
        "page": 0,
        "more": False,
        "peer_id": node.peer_id,
        "library_epoch": node.library.epoch,
        "library_rev": 1,
        "library_digest": wire.library_digest(games) if digest is None else digest,
        "game_count": len(games),
        "games": list(games),
    }
    return message("LibrarySnapshot", **(known | fields))


def serve(node: Node, *pages: bytes, digest: bytes = b"\1" * 32) -> None:
    """Answer GetLibrary with these frames, one for each page that is asked for."""
    node.claims = {"library_digest": digest}

    async def handler(session: Session, pipe: Pipe, request: Message) -> None:
        for data in pages:
            pipe.send(data)
            if await pipe.message() is None:
                break
        pipe.send(b"", end=True)

    node.handlers["GetLibrary"] = handler
