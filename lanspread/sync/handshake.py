"""Hello and HelloAck: who is on the other end of a connection, and is it to be talked to.

The dialer signs a statement that names the listener's key; the listener was proved by TLS. Both
run under the caller's deadline. Source: docs/protocol.md, "Handshake".
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from lanspread import limits
from lanspread.identity import Identity, IdentityError, check_hello, peer_id_of, sign_hello
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.directory import bounded_features
from lanspread.sync.errors import HandshakeFailed, HandshakeFault
from lanspread.transport import (
    CloseInfo,
    Connection,
    ConnectionLost,
    Stream,
    StreamReset,
    TransportError,
)
from lanspread.transport.framing import FrameError, FrameReader, frame


@attrs.frozen
class Greeted:
    """A handshake that succeeded: the other side's word, and the control stream."""

    body: m.HelloBody
    stream: Stream
    reader: FrameReader


# What each close code of a handshake means to the side that sees it.
_FAULT_OF_CLOSE = {
    m.CLOSE_INCOMPATIBLE: HandshakeFault.INCOMPATIBLE,
    m.CLOSE_REFUSED: HandshakeFault.REFUSED,
    m.CLOSE_WRONG_IDENTITY: HandshakeFault.WRONG_IDENTITY,
    m.CLOSE_PROTOCOL_ERROR: HandshakeFault.MISBEHAVED,
    m.CLOSE_SELF: HandshakeFault.SELF,
    m.CLOSE_REPLACED: HandshakeFault.REPLACED,
}
_CLOSE_OF_FAULT = {fault: code for code, fault in _FAULT_OF_CLOSE.items()}
_CLOSE_OF_FAULT[HandshakeFault.CLONE] = m.CLOSE_SELF


async def dial(
    connection: Connection, identity: Identity, body: m.HelloBody, expected_peer_id: str | None
) -> Greeted:
    """Greet the listener of a fresh connection. Raises `HandshakeFailed`, connection closed.

    With `expected_peer_id` nothing is sent unless the listener's key is that peer's.
    """
    key = connection.peer_public_key
    if key is None:
        raise _close(connection, HandshakeFault.MISBEHAVED, "the listener showed no key")
    listener = peer_id_of(key)
    if listener == identity.peer_id:
        # Ourselves, or a clone: only the instance in its HelloAck tells them apart.
        expected_peer_id = None
    if expected_peer_id is not None and listener != expected_peer_id:
        raise _close(connection, HandshakeFault.WRONG_IDENTITY, f"{listener} answered in its place")
    encoded = codec.encode_body(body)
    hello = m.Hello(body=encoded, key=identity.public_key, proof=sign_hello(identity, key, encoded))
    try:
        stream = await connection.open_stream()
        await stream.send_all(frame(codec.encode(hello)))
        reader = FrameReader(stream, max_frame_bytes=limits.MAX_HELLO_BYTES)
        answer = await _first_message(reader)
    except (TransportError, FrameError, codec.MessageError) as error:
        raise _failed(connection, error) from error
    if not isinstance(answer, m.HelloAck):
        raise _close(connection, HandshakeFault.MISBEHAVED, "the first answer is no HelloAck")
    theirs = _checked_body(connection, answer.body, listener, body.instance, identity.peer_id)
    return Greeted(theirs, stream, reader)


async def listen(
    connection: Connection,
    identity: Identity,
    body: m.HelloBody,
    admits: Callable[[str], bool],
) -> Greeted:
    """Answer the dialer of a fresh connection. Raises `HandshakeFailed`, connection closed.

    `admits(peer_id)` says whether there is room for it; it is asked before HelloAck is sent.
    """
    try:
        stream = await connection.accept_stream()
        reader = FrameReader(stream, max_frame_bytes=limits.MAX_HELLO_BYTES)
        hello = await _first_message(reader)
    except (TransportError, FrameError, codec.MessageError) as error:
        raise _failed(connection, error) from error
    if not isinstance(hello, m.Hello):
        raise _close(connection, HandshakeFault.MISBEHAVED, "the first message is no Hello")
    try:
        dialer = check_hello(hello.key, hello.proof, identity.public_key, hello.body)
    except IdentityError as error:
        raise _close(connection, HandshakeFault.WRONG_IDENTITY, str(error)) from error
    theirs = _checked_body(connection, hello.body, dialer, body.instance, identity.peer_id)
    if not admits(dialer):
        raise _close(connection, HandshakeFault.REFUSED, "no more sessions are taken")
    try:
        await stream.send_all(frame(codec.encode(m.HelloAck(body=codec.encode_body(body)))))
    except TransportError as error:
        raise _failed(connection, error) from error
    return Greeted(theirs, stream, reader)


async def _first_message(reader: FrameReader) -> m.Message | codec.Unknown | None:
    payload = await reader.frame()
    # Whoever stays is known by now, and what else it says may be longer.
    reader.max_frame_bytes = limits.MAX_MESSAGE_BYTES
    return None if payload is None else codec.decode(payload)


def _checked_body(
    connection: Connection, encoded: bytes, proved: str, our_instance: bytes, our_peer_id: str
) -> m.HelloBody:
    try:
        version = codec.body_version(encoded)
        if version != limits.PROTOCOL_VERSION:
            raise _close(
                connection,
                HandshakeFault.INCOMPATIBLE,
                f"one side speaks protocol {version}, the other {limits.PROTOCOL_VERSION}",
            )
        body = codec.decode_body(encoded)
    except codec.MessageError as error:
        raise _close(connection, HandshakeFault.MISBEHAVED, str(error)) from error
    if body.peer_id != proved:
        raise _close(
            connection, HandshakeFault.WRONG_IDENTITY, "the peer_id is not that of the key"
        )
    if proved == our_peer_id:
        if body.instance == our_instance:
            raise _close(connection, HandshakeFault.SELF, "this is ourselves")
        raise _close(connection, HandshakeFault.CLONE, "another machine has the same identity")
    return attrs.evolve(body, features=bounded_features(body.features))


def _close(connection: Connection, fault: HandshakeFault, reason: str) -> HandshakeFailed:
    """Close the connection, telling the other side why; returns the error to raise."""
    connection.close(_CLOSE_OF_FAULT[fault], reason[:200])
    return HandshakeFailed(fault, reason)


def _failed(connection: Connection, error: Exception) -> HandshakeFailed:
    if isinstance(error, ConnectionLost):
        return HandshakeFailed(fault_of(error.info), describe_close(error.info))
    if isinstance(error, StreamReset):
        return _close(connection, HandshakeFault.MISBEHAVED, "the control stream was reset")
    return _close(connection, HandshakeFault.MISBEHAVED, str(error))


def fault_of(info: CloseInfo) -> HandshakeFault:
    """What the end of a connection means to a handshake."""
    if info.by == "peer" and info.application:
        return _FAULT_OF_CLOSE.get(info.code, HandshakeFault.LOST)
    return HandshakeFault.LOST


def describe_close(info: CloseInfo) -> str:
    """The end of a connection in words for a person."""
    if info.by == "timeout":
        return "the other side went silent"
    who = {"us": "closed here", "peer": "closed by the other side"}.get(info.by, "failed")
    return f"{who}: {info.reason}" if info.reason else who
