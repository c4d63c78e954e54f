"""A lane: one TLS 1.3 connection over TCP that carries the bytes of chunks.

Handshake and messages are awaited, bulk bytes come and go in a thread that blocks in OpenSSL: that
is what moves hundreds of MB/s. Messages are read in a thread, too, as soon as there is something to
read: of what carries no bytes, key updates (RFC 8446, 4.6.3), OpenSSL takes as much as the other
side likes to send before it comes back. A thread has an owner, the task that waits for it, and a
cancelled owner shuts the socket down, which wakes the thread at once. Never two calls at a time.
Source: ARCHITECTURE.md, "The second path for bulk data"; RFC 8446.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar

import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lanspread import limits
from lanspread.identity import public_key_bytes
from lanspread.seams import Pool, Threads
from lanspread.transport.tcp import unacknowledged_bytes

T = TypeVar("T")

# Between two of them a thread notes that it moves.
_SEND_BYTES = 256 * limits.KIB


class LaneBroken(Exception):
    """The connection is over, cut, silent for too long, or not what it should be."""


def listening_context(certificate_path: str, key_path: str) -> ssl.SSLContext:
    """For the side that is dialed. Blocks. Raises `OSError` (`ssl.SSLError` is one)."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    # A resumed session would come without a certificate and without our ticket.
    context.num_tickets = 0
    context.load_cert_chain(certificate_path, key_path)
    return context


def dialing_context() -> ssl.SSLContext:
    """For the side that dials, which compares the listener's key itself."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The handshake still proves that the listener has the key of the certificate that it shows.
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Wire:
    """A lane as a thread uses it: everything blocks. Raises `LaneBroken`."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        # How often something came or went; only its changing says anything.
        self.moved = 0

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        view = memoryview(data)
        try:
            for at in range(0, len(view), _SEND_BYTES):
                self._tls.sendall(view[at : at + _SEND_BYTES])
                self.moved += 1
        except (OSError, ValueError) as error:
            raise LaneBroken(_why(error)) from error

    def receive_into(self, view: memoryview) -> None:
        """Fill it."""
        at, size = 0, len(view)
        try:
            while at < size:
                # A record at a time, whatever is asked for. Not told the size it looks for it.
                count = self._tls.recv_into(view[at:], size - at)
                if not count:
                    raise LaneBroken("it ended early")
                at += count
                self.moved += 1
        except (OSError, ValueError) as error:
            raise LaneBroken(_why(error)) from error

    def receive_some(self, max_bytes: int) -> bytes:
        """Between 1 and `max_bytes` bytes, or `b""` at the end."""
        try:
            data = self._tls.recv(max_bytes)
        except (OSError, ValueError) as error:
            raise LaneBroken(_why(error)) from error
        self.moved += 1
        return data

    def receive(self, size: int) -> bytes:
        """`size` bytes."""
        data = bytearray(size)
        self.receive_into(memoryview(data))
        return bytes(data)


class Lane:
    """One connection, from before its handshake on. Takes the socket over.

    `turn` gives a turn to read a message in a thread, one at a time: those are few, and who is at
    the other end decides how long one is kept.
    Every method raises `LaneBroken` once something went wrong; then only `close` is left to call.
    Cancelling any of them breaks the lane, for nobody knows how far it came.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        threads: Threads,
        *,
        listening: bool,
        turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._threads = threads
        self._turn = turn
        self._busy = False
        self._silent = False
        self._seen = (-1, 0)
        self._close_behind = False
        self._seen_at = trio.current_time()
        try:
            sock.setblocking(False)
            self._tls = context.wrap_socket(
                sock,
                server_side=listening,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
        except (OSError, ValueError) as error:
            sock.close()
            raise LaneBroken(_why(error)) from error
        self._wire = Wire(self._tls)

    # -- by awaiting ------------------------------------------------------------------------------

    async def handshake(self) -> None:
        """Do the TLS handshake."""
        await self._nonblocking(self._tls.do_handshake)

    def peer_public_key(self) -> bytes:
        """The key that the listener has proved to own; after the handshake, on the dialing side."""
        der = self._tls.getpeercert(binary_form=True)
        try:
            key = x509.load_der_x509_certificate(der or b"").public_key()
        except Exception as error:  # cryptography has many, and the input chooses
            raise LaneBroken("the listener's certificate cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise LaneBroken("the listener's key is of another kind")
        return public_key_bytes(key)

    async def receive_some(self, max_bytes: int) -> bytes:
        """Between 1 and `max_bytes` bytes, or `b""` at the end.

        Waits without a thread. Breaks the lane if what comes then is nothing to be read.
        """
        if pending := self._tls.pending():
            # What is left of a record that was read: it is only copied, and nothing more is taken.
            return await self._nonblocking(self._tls.recv, min(max_bytes, pending))
        try:
            await self._readable()
            async with self._turn():
                # From here on: how long others keep the threads is not the fault of this one.
                with trio.move_on_after(limits.LANE_READ_S):
                    return await self._in_thread(
                        lambda wire: wire.receive_some(max_bytes), "message"
                    )
        except trio.Cancelled:
            self._cut()
            raise
        raise LaneBroken("what came has no bytes in it")

    async def receive_exactly(self, size: int) -> bytes:
        """`size` bytes."""
        data = bytearray()
        while len(data) < size:
            more = await self.receive_some(size - len(data))
            if not more:
                raise LaneBroken("it ended early")
            data += more
        return bytes(data)

    async def send_all(self, data: bytes) -> None:
        """Send a message. Breaks the lane if the other side does not take it."""
        view = memoryview(data)
        with trio.move_on_after(limits.LANE_SILENCE_S):
            while view:
                view = view[await self._nonblocking(self._tls.send, view) :]
            return
        raise LaneBroken("it does not take what is sent")

    async def _nonblocking(self, call: Callable[..., T], *args: object) -> T:
        finished = False
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while True:
                try:
                    result = call(*args)
                except ssl.SSLWantReadError:
                    waited = True
                    await trio.lowlevel.wait_readable(self._tls)
                except ssl.SSLWantWriteError:
                    waited = True
                    await trio.lowlevel.wait_writable(self._tls)
                else:
                    break
            finished = True
        except (OSError, ValueError) as error:
            # `SSLError` and a cut connection are both `OSError`.
            raise LaneBroken(_why(error)) from error
        finally:
            if not finished:
                self._cut()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    async def _readable(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._tls)
        except (OSError, ValueError) as error:
            self._cut()
            raise LaneBroken(_why(error)) from error

    # -- by a thread ------------------------------------------------------------------------------

    async def run(self, call: Callable[[Wire], T]) -> T:
        """Run `call` in a thread; it may block, and use the lane as it likes through its argument.

        What `call` itself raises is raised, and leaves the lane as it is.
        """
        return await self._in_thread(call, "lane")

    async def _in_thread(self, call: Callable[[Wire], T], pool: Pool) -> T:
        try:
            self._tls.setblocking(True)
        except OSError as error:
            raise LaneBroken(_why(error)) from error
        self._busy = True
        try:
            return await self._threads.run(call, self._wire, pool=pool, on_cancel=self._cut)
        except LaneBroken as error:
            if self._silent:
                raise LaneBroken("nothing moved any more") from error
            raise
        finally:
            self._busy = False
            if self._close_behind:
                self._tls.close()
            else:
                self._tls.setblocking(False)

    def look(self) -> None:
        """Cut the connection if a thread is in it and nothing has moved for `LANE_SILENCE_S`.

        To be called every `LANE_LOOK_S` by whoever owns the lane.
        """
        now, seen = trio.current_time(), (self._wire.moved, unacknowledged_bytes(self._tls))
        if not self._busy or seen != self._seen:
            self._seen, self._seen_at = seen, now
        elif now - self._seen_at >= limits.LANE_SILENCE_S:
            self._silent = True
            self._cut()

    # -- its end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Cut the connection and let the socket go, as soon as no thread is in it any more.

        Its number may be another's at once, and the thread would read on from that.
        """
        self._cut()
        if self._busy:
            self._close_behind = True
        else:
            self._tls.close()

    def _cut(self) -> None:
        try:
            # Not the method of `SSLSocket`: that one drops the TLS layer, and a thread that is just
            # reading would go on with what came over the wire undecrypted.
            socket.socket.shutdown(self._tls, socket.SHUT_RDWR)
        except OSError:
            return


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error.strerror or type(error).__name__}"
    return str(getattr(error, "strerror", None) or error)
