"""Where the bytes of a chunk come from: the one interface behind which the path is hidden.

Given a source and a chunk, fill a buffer with its bytes. QUIC streams are the implementation that
always works; nothing above this interface may know which path is in use.
Source: ARCHITECTURE.md, "Sources".
"""

from __future__ import annotations

from typing import Protocol

import attrs
import trio

from lanspread import limits
from lanspread.sync import messages as m
from lanspread.sync.errors import (
    PeerMisbehaved,
    RequestRefused,
    RequestReset,
    SessionLost,
    SyncError,
)
from lanspread.sync.session import Session
from lanspread.transfer.ratelimit import Limit


class SourceError(Exception):
    """Base: this chunk did not come from this source."""


class SourceGone(SourceError):
    """The source's session has ended."""


class SourceChanged(SourceError):
    """The game is not the one that was asked for any more: nobody's fault."""


class SourceUnable(SourceError):
    """The source cannot or will not answer now: silent, reset."""


class SourceBusy(SourceUnable):
    """The source says that it has too much to do."""


class SourceLied(SourceError):
    """The source broke the protocol or sent bytes that do not verify."""


@attrs.frozen
class ChunkRequest:
    """What is asked for: extents (file number, offset, length) of one content of a game."""

    game_id: str
    manifest_hash: bytes
    extents: tuple[m.Extent, ...]

    @property
    def length(self) -> int:
        return sum(extent[2] for extent in self.extents)


class Arriving(Protocol):
    """Where the bytes of a chunk go (`lanspread.transfer.arriving`)."""

    def begin(self) -> memoryview:
        """The buffer, as long as the request; to be filled from its beginning to its end.

        Who takes over from another begins anew: nothing that is in it counts.
        """

    def came(self, filled: int) -> None:
        """The first `filled` bytes are there, and are verified now. Blocks. Raises `SourceLied`.

        Only for a source that has a thread at work anyway; what it does not say is verified later.
        """


class ChunkSource(Protocol):
    """One peer that has the game."""

    @property
    def peer_id(self) -> str: ...

    @property
    def side_by_side(self) -> int:
        """How many answers can come at the full rate at once; asked for fewer, part is idle."""

    async def fetch(self, request: ChunkRequest, arriving: Arriving) -> None:
        """Fill the buffer of `arriving`. Raises `SourceError`.

        Cancelled, it tells the source to stop; what is in the buffer then is to be thrown away, and
        nothing writes to it any more.
        """


class QuicSource:
    """Chunks over streams of the session's own QUIC connection."""

    def __init__(self, session: Session, down: Limit) -> None:
        self.session = session
        self._down = down

    @property
    def peer_id(self) -> str:
        return self.session.peer_id

    @property
    def side_by_side(self) -> int:
        return 1

    async def fetch(self, request: ChunkRequest, arriving: Arriving) -> None:
        message = m.GetGameFileChunk(
            id=request.game_id, manifest_hash=request.manifest_hash, extents=request.extents
        )
        await self._receive(message, m.ChunkData, arriving.begin())

    async def fetch_file(self, game_id: str, manifest_hash: bytes, path: str, size: int) -> bytes:
        """A whole small file. Raises `SourceError`."""
        message = m.GetGameFileData(id=game_id, path=path, manifest_hash=manifest_hash)
        data = bytearray(size)
        await self._receive(message, m.FileData, memoryview(data))
        return bytes(data)

    async def _receive(
        self, message: m.Message, header: type[m.ChunkData] | type[m.FileData], into: memoryview
    ) -> None:
        length = len(into)
        with source_errors():
            async with self.session.request(message, asked_bytes=length) as exchange:
                with trio.fail_after(limits.REQUEST_SILENCE_S) as silence:
                    answer: m.ChunkData | m.FileData = await exchange.answer(header)
                    if answer.size != length:
                        raise PeerMisbehaved("an answer of another length than asked for")
                    at = 0
                    while at < length:
                        most = self._down.piece(limits.READ_BYTES)
                        data = await exchange.raw(min(length - at, most))
                        if not data:
                            raise PeerMisbehaved("an answer that ends early")
                        into[at : at + len(data)] = data
                        at += len(data)
                        # Our own limit is no silence of theirs.
                        silence.deadline = float("inf")
                        await self._down.take(len(data), self.session)
                        silence.deadline = trio.current_time() + limits.REQUEST_SILENCE_S
                    if await exchange.raw(1):
                        raise PeerMisbehaved("an answer that goes on behind its end")


class source_errors:
    """Turns the errors of a session into those of a source."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case trio.TooSlowError():
                raise SourceUnable("went silent in the middle of an answer") from error
            case SessionLost():
                raise SourceGone(error.reason) from error
            case PeerMisbehaved():
                raise SourceLied(str(error)) from error
            case RequestRefused(code=m.ERROR_CHANGED | m.ERROR_NOT_FOUND):
                raise SourceChanged(str(error)) from error
            case RequestRefused(code=m.ERROR_BUSY):
                raise SourceBusy(str(error)) from error
            case RequestReset(code=m.RESET_CHANGED):
                raise SourceChanged(str(error)) from error
            case SyncError():
                raise SourceUnable(str(error)) from error
            case _:
                return
