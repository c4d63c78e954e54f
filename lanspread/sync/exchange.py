"""One request and its answer, each on a stream of its own: the asking and the answering side.

Source: docs/protocol.md, "Requests".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sized
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar

import attrs
import trio

from lanspread import limits
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.errors import (
    PeerMisbehaved,
    RequestRefused,
    RequestReset,
    SessionLost,
)
from lanspread.sync.fair import FairSlots
from lanspread.sync.handshake import describe_close
from lanspread.transport import (
    Connection,
    ConnectionLost,
    Stream,
    StreamReset,
    StreamStopped,
    TransportError,
)
from lanspread.transport.framing import FrameError, FrameReader, frame

# What has to be taken within `limits.SEND_SILENCE_S`.
_SEND_BYTES = 32 * limits.KIB

M = TypeVar("M", bound=m.Message)
P = TypeVar("P", bound=m.Page)


@contextmanager
def transport_errors() -> Iterator[None]:
    """Turn what the transport and the codec raise into the errors of a session."""
    try:
        yield
    except ConnectionLost as error:
        raise SessionLost(describe_close(error.info)) from error
    except StreamReset as error:
        raise RequestReset(error.code) from error
    except StreamStopped as error:
        raise RequestReset(error.code) from error
    except (FrameError, codec.MessageError) as error:
        raise PeerMisbehaved(str(error)) from error
    except (TransportError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise SessionLost(str(error) or type(error).__name__) from error


class Exchange:
    """The asking side of one request. Errors: the tree of `lanspread.sync.errors`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._reader = FrameReader(stream)
        self.done = False

    async def answer(self, kind: type[M]) -> M:
        """The next message; raises `RequestRefused` for an `Error` answer."""
        message = await self.answer_of(kind)
        assert isinstance(message, kind)
        return message

    async def answer_of(self, *kinds: type[m.Message]) -> m.Message:
        """The next message, of one of these types; raises `RequestRefused` for an `Error`."""
        with transport_errors():
            payload = await self._reader.frame()
            if payload is None:
                raise PeerMisbehaved("the answer ended before it was complete")
            message = codec.decode(payload)
        if isinstance(message, m.Error):
            self.done = True
            raise RequestRefused(message.code, message.message)
        if not isinstance(message, kinds):
            name = message.type if isinstance(message, codec.Unknown) else type(message).__name__
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise PeerMisbehaved(f"asked for {wanted}, answered with {name}")
        return message

    async def ask_page(self, page: int) -> None:
        """Ask for the next page of this answer."""
        with transport_errors():
            await self._stream.send_all(frame(codec.encode(m.NextPage(page=page))))

    async def finish_asking(self) -> None:
        """Say that nothing more will be asked on this stream."""
        with transport_errors():
            try:
                await self._stream.send_eof()
            except StreamStopped:
                # The other side has answered all and stopped reading before we said so.
                return

    async def raw(self, max_bytes: int) -> bytes:
        """Raw bytes behind a response header; `b""` at the end."""
        with transport_errors():
            return await self._reader.raw(max_bytes)


@asynccontextmanager
async def open_exchange(
    connection: Connection, request: m.Message, *, paged: bool = False
) -> AsyncIterator[Exchange]:
    """Send a request on a fresh stream. Leaving the block early, or a cancel, resets the stream."""
    with transport_errors():
        stream = await connection.open_stream()
    exchange = Exchange(stream)
    try:
        with transport_errors():
            await stream.send_all(frame(codec.encode(request)))
            if not paged:
                await stream.send_eof()
        yield exchange
        exchange.done = True
    finally:
        if not exchange.done:
            stream.stop(m.RESET_CANCELLED)
            stream.reset(m.RESET_CANCELLED)
        await trio.aclose_forcefully(stream)


class PageReader(Generic[P]):
    """The pages of an answer, each asked for once the one before was taken.

    A message of type `whole` may come in place of all of them; it is in `instead` then, and there
    is no page. Not an async generator: one that is left early would wait for the garbage collector.
    """

    def __init__(
        self,
        exchange: Exchange,
        kind: type[P],
        content: Callable[[P], Sized],
        whole: type[m.Message] | None = None,
    ) -> None:
        self.instead: m.Message | None = None
        self._whole = whole
        self._exchange = exchange
        self._kind = kind
        self._content = content
        self._number = 0
        self._more = True

    async def next(self) -> P | None:
        """The next page, None behind the last.

        Raises what `Exchange.answer` raises, and `PeerMisbehaved` for a page out of order.
        """
        if not self._more:
            return None
        if self._number > 0:
            await self._exchange.ask_page(self._number)
        page = await self._answer()
        if page is None:
            self._more = False
            await self._exchange.finish_asking()
            return None
        if page.page != self._number:
            raise PeerMisbehaved("a page came out of order")
        if page.more and not self._content(page):
            # Pages that hold something come to an end, by the bound on what they hold.
            raise PeerMisbehaved("an empty page that is not the last")
        self._number += 1
        self._more = page.more
        if not self._more:
            await self._exchange.finish_asking()
        return page

    async def _answer(self) -> P | None:
        if self._whole is None or self._number > 0:
            return await self._exchange.answer(self._kind)
        message = await self._exchange.answer_of(self._kind, self._whole)
        if isinstance(message, self._kind):
            return message
        self.instead = message
        return None


@attrs.frozen
class ReadyPage:
    """A page that was encoded before: `frame` goes out as it is."""

    frame: bytes
    more: bool


class Responder:
    """The answering side of one request."""

    def __init__(self, stream: Stream, reader: FrameReader, pages: FairSlots, host: str) -> None:
        self._stream = stream
        self._reader = reader
        self._pages = pages
        self._host = host
        self.begun = False

    async def send(self, message: m.Message) -> None:
        """Send one message of the answer, giving up when the other side takes nothing."""
        self.begun = True
        await self.send_raw(frame(codec.encode(message)))

    async def send_raw(self, data: bytes | bytearray | memoryview) -> None:
        """Send raw bytes behind a header.

        Raises `RequestReset` if the other side takes next to nothing for long; however slow, one
        that goes on taking is served.
        """
        view = memoryview(data)
        for at in range(0, len(view), _SEND_BYTES):
            with transport_errors(), trio.move_on_after(limits.SEND_SILENCE_S) as scope:
                await self._stream.send_all(view[at : at + _SEND_BYTES])
            if scope.cancelled_caught:
                raise RequestReset(m.RESET_CANCELLED)

    async def send_large(self, message: m.Message) -> None:
        """Send a message that may be as large as a page, and that is the whole answer."""
        async with self._pages.take(self._host):
            await self.send(message)

    async def send_pages(self, pages: Iterator[m.Page | ReadyPage]) -> None:
        """Send the first page, then each next one as it is asked for, and made only then."""
        number = 0
        while await self._send_next(pages):
            number += 1
            if not await self._asked_for(number):
                return

    async def _send_next(self, pages: Iterator[m.Page | ReadyPage]) -> bool:
        """Send a page, and let go of it; whether another follows."""
        # An encoded page is nearly a MiB, and is held until all of it was taken.
        async with self._pages.take(self._host):
            page = next(pages)
            if isinstance(page, ReadyPage):
                self.begun = True
                await self.send_raw(page.frame)
            else:
                await self.send(page)
            return page.more

    async def _asked_for(self, number: int) -> bool:
        """Whether the next page is asked for; False if the asker has enough."""
        with transport_errors():
            with trio.move_on_after(limits.SEND_SILENCE_S) as scope:
                payload = await self._reader.frame()
            if scope.cancelled_caught:
                raise RequestReset(m.RESET_CANCELLED)
            if payload is None:
                return False
            message = codec.decode(payload)
        if not isinstance(message, m.NextPage) or message.page != number:
            raise PeerMisbehaved("asked for another page than the next one")
        return True

    async def refuse(self, code: str, message: str = "") -> None:
        """Answer with an `Error`, or reset the stream if the answer has begun."""
        if self.begun:
            self.reset(m.RESET_CHANGED if code == m.ERROR_CHANGED else m.RESET_CANCELLED)
        else:
            await self.send(m.Error(code=code, message=message[:512]))

    def reset(self, code: int) -> None:
        self._stream.reset(code)
