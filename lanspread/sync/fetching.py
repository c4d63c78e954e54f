"""Asking a peer for its library: a snapshot in pages or one delta, decoded and checked.

Thousands of summaries may come in one message: others have a turn while they are decoded.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from lanspread import limits
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.delta import Change
from lanspread.sync.errors import PeerMisbehaved, RequestRefused, RequestReset
from lanspread.sync.exchange import PageReader
from lanspread.sync.remote import Draft, Position, RemoteGame, RemoteLibrary, decode_game
from lanspread.sync.session import Session

# So many summaries are decoded before others have a turn.
_GAMES_A_TURN = 64


async def fetch_library(
    session: Session, since: Position | None = None
) -> RemoteLibrary | Change | None:
    """Ask a peer for its library: the whole, checked, or with `since` perhaps what changed.

    Returns None if the peer is busy, or lets a page be waited for too long. Raises
    `PeerMisbehaved` if what comes contradicts itself or the question; the session is closed then.
    """
    answer: _Collected | m.LibraryDelta | None = None
    try:
        with trio.move_on_after(limits.REQUEST_SILENCE_S) as patience:
            answer = await _ask(session, since, patience)
    except (RequestRefused, RequestReset):
        return None
    if answer is None:
        return None
    try:
        if isinstance(answer, m.LibraryDelta):
            assert since is not None
            _check_delta(session, answer, since)
            return await decode_delta(answer)
        if answer.draft.digest() != answer.position.digest:
            raise PeerMisbehaved("the library does not match its digest")
    except PeerMisbehaved as error:
        session.close(m.CLOSE_PROTOCOL_ERROR, str(error)[:200])
        raise
    return answer.draft.finish(answer.position)


async def decode_delta(delta_untrusted: m.LibraryDelta) -> Change:
    """A delta's summaries. Raises `PeerMisbehaved` for what no library can have led to."""
    added = await _decode(delta_untrusted.added)
    updated = await _decode(delta_untrusted.updated)
    removed = delta_untrusted.removed
    ids = {*removed, *(game.id for game in added), *(game.id for game in updated)}
    if len(ids) != len(added) + len(updated) + len(removed):
        raise PeerMisbehaved("a delta that names a game twice")
    return Change(
        epoch=delta_untrusted.library_epoch,
        from_rev=delta_untrusted.from_rev,
        to_rev=delta_untrusted.to_rev,
        digest=delta_untrusted.library_digest,
        added=added,
        updated=updated,
        removed=removed,
    )


def _check_delta(session: Session, delta: m.LibraryDelta, since: Position) -> None:
    asked_for = (session.peer_id, since.epoch, since.rev)
    if (delta.peer_id, delta.library_epoch, delta.from_rev) != asked_for:
        raise PeerMisbehaved("a delta from another position than was asked for")
    changes = delta.added or delta.updated or delta.removed
    if delta.to_rev < delta.from_rev or (changes and delta.to_rev == delta.from_rev):
        raise PeerMisbehaved("a delta that leads back")


@attrs.define
class _Collected:
    """A library while its pages come in."""

    position: Position
    game_count: int
    found: int = 0
    draft: Draft = attrs.Factory(Draft)


async def _ask(
    session: Session, since: Position | None, patience: trio.CancelScope
) -> _Collected | m.LibraryDelta | None:
    """One delta, or all pages, each within the time that `patience` had at first."""
    position = m.LibraryPosition(epoch=since.epoch, rev=since.rev) if since is not None else None
    request = m.GetLibrary(since=position)
    library: _Collected | None = None
    async with session.request(request, asked_bytes=limits.MIB, paged=True) as exchange:
        # Who asks for everything gets everything.
        whole = m.LibraryDelta if since is not None else None
        pages = PageReader(exchange, m.LibrarySnapshot, lambda page: page.games, whole)
        while (page := await pages.next()) is not None:
            at = Position(page.library_epoch, page.library_rev, page.library_digest)
            library = library or _Collected(at, page.game_count)
            if page.peer_id != session.peer_id or at != library.position:
                raise PeerMisbehaved("pages of different libraries in one answer")
            library.found += len(page.games)
            if library.found > library.game_count:
                raise PeerMisbehaved("a library of too many games")
            for game in await _decode(page.games):
                if game.id in library.draft.hashes:
                    raise PeerMisbehaved("a library that names a game twice")
                library.draft.add(game)
            patience.deadline = trio.current_time() + limits.REQUEST_SILENCE_S
        if isinstance(pages.instead, m.LibraryDelta):
            return pages.instead
        if library is not None and library.found != library.game_count:
            raise PeerMisbehaved("a library of fewer games than it says")
    return library


async def _decode(encoded_untrusted: Sequence[bytes]) -> tuple[RemoteGame, ...]:
    games = []
    for number, encoded in enumerate(encoded_untrusted):
        if number % _GAMES_A_TURN == 0:
            await trio.lowlevel.checkpoint()
        try:
            games.append(decode_game(encoded))
        except codec.MessageError as error:
            raise PeerMisbehaved(str(error)) from error
    return tuple(games)
