"""A lane: one TLS 1.3 connection over TCP that carries the bytes of chunks.

Handshake and messages are read and written by awaiting, bulk bytes by a thread that blocks in
OpenSSL: that is what moves hundreds of MB/s. A thread has an owner, the task that waits for it; the
owner ends it by shutting the socket down, which wakes it at once. Never two calls at a time.
Source: ARCHITECTURE.md, "The second path for bulk data"; RFC 8446.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from lanspread import limits
from lanspread.identity import public_key_bytes
from lanspread.seams import Threads

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


class Lane:
    """One connection, from before its handshake on. Takes the socket over.

    Every method raises `LaneBroken` once something went wrong; then only `close` is left to call.
    Cancelling any of them breaks the lane, for nobody knows how far it came.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, threads: Threads, *, listening: bool
    ) -> None:
        self._threads = threads
        self._moved_bytes = 0
        self._silent = False
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
        """Between 1 and `max_bytes` bytes, or `b""` at the end."""
        return await self._nonblocking(self._tls.recv, max_bytes)

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
        """Send a message."""
        view = memoryview(data)
        while view:
            view = view[await self._nonblocking(self._tls.send, view) :]

    async def _nonblocking(self, call: Callable[..., T], *args: object) -> T:
        finished = False
        try:
            await trio.lowlevel.checkpoint()
            while True:
                try:
                    result = call(*args)
                    finished = True
                    return result
                except ssl.SSLWantReadError:
                    await trio.lowlevel.wait_readable(self._tls)
                except ssl.SSLWantWriteError:
                    await trio.lowlevel.wait_writable(self._tls)
        except (OSError, ValueError) as error:
            # `SSLError` and a cut connection are both `OSError`.
            raise LaneBroken(_why(error)) from error
        finally:
            if not finished:
                self._cut()

    # -- by a thread ------------------------------------------------------------------------------

    async def receive_into(self, view: memoryview) -> None:
        """Fill `view`, in a thread."""
        await self._in_thread(self._receive_into, view)

    async def run_sending(self, make: Callable[[Callable[[memoryview], None]], T]) -> T:
        """Run `make(send)` in a thread; it may block, and `send` all it likes.

        What `make` itself raises is raised, and leaves the lane as it is.
        """
        return await self._in_thread(make, self._send)

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        outcome: list[T] = []
        failure: Exception | None = None
        ended = False

        async def watch() -> None:
            """Cut the connection when the owner is cancelled, or when nothing moves any more."""
            moved = -1
            try:
                while moved != self._moved_bytes:
                    moved = self._moved_bytes
                    await trio.sleep(limits.LANE_SILENCE_S)
                self._silent = True
            finally:
                if not ended:
                    self._cut()

        self._tls.setblocking(True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                outcome.append(await self._threads.run(call, *args, pool="lane"))
            except Exception as error:
                # Taken out of the nursery, which would wrap it.
                failure = error
            ended = True
            nursery.cancel_scope.cancel()
        self._tls.setblocking(False)
        if failure is not None:
            raise LaneBroken("nothing moved any more") if self._silent else failure
        return outcome[0]

    def _receive_into(self, view: memoryview) -> None:
        at, size = 0, len(view)
        try:
            while at < size:
                count = self._tls.recv_into(view[at:])
                if not count:
                    raise LaneBroken("it ended early")
                at += count
                self._moved_bytes += count
        except (OSError, ValueError) as error:
            raise LaneBroken(_why(error)) from error

    def _send(self, view: memoryview) -> None:
        try:
            for at in range(0, len(view), _SEND_BYTES):
                piece = view[at : at + _SEND_BYTES]
                self._tls.sendall(piece)
                self._moved_bytes += len(piece)
        except (OSError, ValueError) as error:
            raise LaneBroken(_why(error)) from error

    # -- its end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Cut the connection and let the socket go. No thread may be in it."""
        self._cut()
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
