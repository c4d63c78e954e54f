"""Every message of the protocol, as typed values. Field by field: docs/protocol.md.

A message is a CBOR map whose `type` is the class's name. Decoding is type-exact and bounded
(`lanspread.sync.codec`); unknown fields are ignored, so that later versions may add some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from lanspread import limits
from lanspread.model import Availability

# -- bounds on fields -----------------------------------------------------------------------------


Validator = Callable[[Any, Any, Any], None]


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _text(most: int) -> Validator:
    def check(_: Any, attribute: Any, value: str) -> None:
        _check(len(value) <= most, f"{attribute.name} is longer than {most} characters")

    return check


def _exactly(size: int) -> Validator:
    def check(_: Any, attribute: Any, value: bytes | None) -> None:
        _check(value is None or len(value) == size, f"{attribute.name} is not {size} bytes long")

    return check


def _at_most(most: int) -> Validator:
    def check(_: Any, attribute: Any, value: Any) -> None:
        _check(len(value) <= most, f"{attribute.name} holds more than {most}")

    return check


def _number(most: int = 2**53) -> Validator:
    def check(_: Any, attribute: Any, value: int | None) -> None:
        _check(value is None or 0 <= value <= most, f"{attribute.name} is out of range")

    return check


def _texts(count: int, most: int) -> Validator:
    def check(_: Any, attribute: Any, value: tuple[str, ...]) -> None:
        _check(len(value) <= count, f"{attribute.name} holds more than {count}")
        _check(all(len(text) <= most for text in value), f"{attribute.name} has a long item")

    return check


_HASH: Final = _exactly(32)
_ID: Final = limits.MAX_GAME_ID_CHARS
PEER_ID_CHARS: Final = 36


@attrs.frozen(kw_only=True)
class Message:
    """Base of all messages; its name on the wire is the class's name."""


# -- handshake ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Hello(Message):
    """The dialer's first message. This outer shape is the same in every protocol version.

    `body` is the encoded `HelloBody`, `key` the dialer's SubjectPublicKeyInfo (DER), `proof` its
    signature over a domain string, the SHA-256 of the listener's key, and `body`.
    """

    body: bytes = attrs.field(validator=_at_most(64 * limits.KIB))
    key: bytes = attrs.field(validator=_at_most(1_024))
    proof: bytes = attrs.field(validator=_at_most(1_024))


@attrs.frozen(kw_only=True)
class HelloAck(Message):
    """The listener's answer; TLS proved its key already. `body` is an encoded `HelloBody`."""

    body: bytes = attrs.field(validator=_at_most(64 * limits.KIB))


@attrs.frozen(kw_only=True)
class HelloBody:
    """Who a peer is and where its library stands; the library is None where trust hides it."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))
    instance: bytes = attrs.field(validator=_exactly(16))
    proto_ver: int = attrs.field(validator=_number(2**31))
    listen_addrs: tuple[str, ...] = attrs.field(
        validator=_texts(limits.MAX_ADDRESSES_PER_PEER, 128)
    )
    library_epoch: bytes | None = attrs.field(validator=_exactly(16))
    library_rev: int | None = attrs.field(validator=_number())
    library_digest: bytes | None = attrs.field(validator=_HASH)
    features: dict[str, object] = attrs.field(validator=_at_most(limits.MAX_FEATURES))
    name: str = attrs.field(validator=_text(limits.MAX_NAME_CHARS))


# -- control --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class LibrarySummary(Message):
    """Where the sender's library stands now."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))
    library_epoch: bytes = attrs.field(validator=_exactly(16))
    library_rev: int = attrs.field(validator=_number())
    library_digest: bytes = attrs.field(validator=_HASH)
    game_count: int = attrs.field(validator=_number(limits.MAX_GAMES_PER_PEER))


@attrs.frozen(kw_only=True)
class LibraryDelta(Message):
    """What changed from one revision to another; `added` and `updated` are encoded summaries."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))
    library_epoch: bytes = attrs.field(validator=_exactly(16))
    from_rev: int = attrs.field(validator=_number())
    to_rev: int = attrs.field(validator=_number())
    library_digest: bytes = attrs.field(validator=_HASH)
    added: tuple[bytes, ...] = attrs.field(validator=_at_most(limits.MAX_GAMES_PER_PEER))
    updated: tuple[bytes, ...] = attrs.field(validator=_at_most(limits.MAX_GAMES_PER_PEER))
    removed: tuple[str, ...] = attrs.field(validator=_texts(limits.MAX_GAMES_PER_PEER, _ID))


@attrs.frozen(kw_only=True)
class Ping(Message):
    pass


@attrs.frozen(kw_only=True)
class Pong(Message):
    pass


@attrs.frozen(kw_only=True)
class ListenAddrs(Message):
    """Where the sender listens now; it was elsewhere when it greeted."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))
    listen_addrs: tuple[str, ...] = attrs.field(
        validator=_texts(limits.MAX_ADDRESSES_PER_PEER, 128)
    )


@attrs.frozen(kw_only=True)
class Renamed(Message):
    """What the sender is called now; it said another name when it greeted."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))
    name: str = attrs.field(validator=_text(limits.MAX_NAME_CHARS))


@attrs.frozen(kw_only=True)
class Goodbye(Message):
    """The sender leaves. A hint: nothing is wrong without it."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))


# -- requests -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class LibraryPosition:
    epoch: bytes = attrs.field(validator=_exactly(16))
    rev: int = attrs.field(validator=_number())


@attrs.frozen(kw_only=True)
class GetLibrary(Message):
    """Answered by a `LibraryDelta` since that position or by pages of `LibrarySnapshot`."""

    since: LibraryPosition | None


@attrs.frozen(kw_only=True)
class ListGames(Message):
    """Answered by pages of `GameList`: what can be fetched from the peer now."""


@attrs.frozen(kw_only=True)
class GetGame(Message):
    """Answered by pages of `GameManifest`, by `NotModified`, or by an `Error`."""

    id: str = attrs.field(validator=_text(_ID))
    known_manifest_hash: bytes | None = attrs.field(validator=_HASH)
    known_content_hash: bytes | None = attrs.field(validator=_HASH)


@attrs.frozen(kw_only=True)
class GetBlockDigests(Message):
    """Answered by pages of `BlockDigests`, once all are computed, or by an `Error`."""

    id: str = attrs.field(validator=_text(_ID))
    manifest_hash: bytes = attrs.field(validator=_HASH)


@attrs.frozen(kw_only=True)
class GetGameFileData(Message):
    """Answered by `FileData` and the file's bytes, at most 8 MiB, or by an `Error`."""

    id: str = attrs.field(validator=_text(_ID))
    path: str = attrs.field(validator=_text(limits.MAX_PATH_BYTES))
    manifest_hash: bytes = attrs.field(validator=_HASH)


Extent = tuple[int, int, int]


def _check_extents(_: Any, __: Any, value: tuple[Extent, ...]) -> None:
    _check(0 < len(value) <= limits.MAX_CHUNK_EXTENTS, "wrong number of extents")
    total, behind = 0, (-1, 0)
    for number, offset, length in value:
        _check(0 <= number < limits.MAX_FILES_PER_GAME, "file number out of range")
        _check(0 <= offset <= limits.MAX_GAME_BYTES, "offset out of range")
        _check(length > 0, "an empty extent")
        _check((number, offset) >= behind, "extents overlap or do not ascend")
        behind = (number, offset + length)
        total += length
    _check(total <= limits.MAX_CHUNK_BYTES, "the chunk is too large")


@attrs.frozen(kw_only=True)
class GetGameFileChunk(Message):
    """Answered by `ChunkData` and the extents' bytes one behind the other, or by an `Error`.

    An extent is (file number in the manifest, offset, length), ascending and disjoint.
    """

    id: str = attrs.field(validator=_text(_ID))
    manifest_hash: bytes = attrs.field(validator=_HASH)
    extents: tuple[Extent, ...] = attrs.field(validator=_check_extents)

    @property
    def length(self) -> int:
        """How many bytes are asked for."""
        return sum(extent[2] for extent in self.extents)


@attrs.frozen(kw_only=True)
class GetBulkTicket(Message):
    """Answered by `BulkTicket`, or `Unsupported` where there is no second path for bulk data."""


@attrs.frozen(kw_only=True)
class NextPage(Message):
    """Asks, on the same stream, for page `page` of the answer that is being read."""

    page: int = attrs.field(validator=_number(2**20))


# -- answers --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Page(Message):
    """Base of answers that come in pages: `page` counts from 0, `more` says that one follows."""

    page: int = attrs.field(validator=_number(2**20))
    more: bool


@attrs.frozen(kw_only=True)
class LibrarySnapshot(Page):
    """One page of the whole library; `games` are encoded summaries."""

    peer_id: str = attrs.field(validator=_text(PEER_ID_CHARS))
    library_epoch: bytes = attrs.field(validator=_exactly(16))
    library_rev: int = attrs.field(validator=_number())
    library_digest: bytes = attrs.field(validator=_HASH)
    game_count: int = attrs.field(validator=_number(limits.MAX_GAMES_PER_PEER))
    games: tuple[bytes, ...] = attrs.field(validator=_at_most(limits.MAX_GAMES_PER_PEER))


@attrs.frozen(kw_only=True)
class GameList(Page):
    games: tuple[bytes, ...] = attrs.field(validator=_at_most(limits.MAX_GAMES_PER_PEER))


@attrs.frozen(kw_only=True)
class NotModified(Message):
    """Both hashes that the asker knows are still right."""


# (path, size, the digests of its blocks one behind the other, or None where not known)
FileRow = tuple[str, int, bytes | None]


@attrs.frozen(kw_only=True)
class GameManifest(Page):
    """One page of a game's manifest, with the digests known so far."""

    id: str = attrs.field(validator=_text(_ID))
    eti_version: str = attrs.field(validator=_text(limits.MAX_VERSION_CHARS))
    manifest_hash: bytes = attrs.field(validator=_HASH)
    content_hash: bytes | None = attrs.field(validator=_HASH)
    block_size: int = attrs.field(validator=_number(limits.MAX_BLOCK_BYTES))
    file_count: int = attrs.field(validator=_number(limits.MAX_FILES_PER_GAME))
    files: tuple[FileRow, ...]


@attrs.frozen(kw_only=True)
class BlockDigests(Page):
    """One page of all digests of a game, 32 bytes each, in manifest order."""

    manifest_hash: bytes = attrs.field(validator=_HASH)
    block_size: int = attrs.field(validator=_number(limits.MAX_BLOCK_BYTES))
    digests: bytes


@attrs.frozen(kw_only=True)
class FileData(Message):
    """`size` raw bytes follow, then the stream ends."""

    size: int = attrs.field(validator=_number(limits.MAX_WHOLE_FILE_BYTES))


@attrs.frozen(kw_only=True)
class ChunkData(Message):
    """`size` raw bytes follow, then the stream ends."""

    size: int = attrs.field(validator=_number(limits.MAX_CHUNK_BYTES))


@attrs.frozen(kw_only=True)
class BulkTicket(Message):
    id: bytes = attrs.field(validator=_exactly(16))
    secret: bytes = attrs.field(validator=_exactly(32))


@attrs.frozen(kw_only=True)
class Error(Message):
    """A request that is not served; `code` is one of those below, others count as Busy."""

    code: str = attrs.field(validator=_text(64))
    message: str = attrs.field(validator=_text(512))


ERROR_NOT_FOUND: Final = "NotFound"
ERROR_CHANGED: Final = "Changed"
ERROR_BUSY: Final = "Busy"
ERROR_TOO_LARGE: Final = "TooLarge"
ERROR_UNSUPPORTED: Final = "Unsupported"

# -- the summary of a game, encoded by itself so that its bytes can be hashed as they were sent ---


@attrs.frozen(kw_only=True)
class WireSummary:
    """`lanspread.model.GameSummary` as it travels."""

    id: str = attrs.field(validator=_text(_ID))
    name: str = attrs.field(validator=_text(limits.MAX_NAME_CHARS))
    eti_version: str = attrs.field(validator=_text(limits.MAX_VERSION_CHARS))
    size: int = attrs.field(validator=_number(limits.MAX_GAME_BYTES))
    downloaded: bool
    installed: bool
    manifest_hash: bytes | None = attrs.field(validator=_HASH)
    content_hash: bytes | None = attrs.field(validator=_HASH)
    availability: Availability


MESSAGES: Final[dict[str, type[Message]]] = {
    kind.__name__: kind
    for kind in (
        Hello,
        HelloAck,
        LibrarySummary,
        LibraryDelta,
        Ping,
        Pong,
        ListenAddrs,
        Renamed,
        Goodbye,
        GetLibrary,
        ListGames,
        GetGame,
        GetBlockDigests,
        GetGameFileData,
        GetGameFileChunk,
        GetBulkTicket,
        NextPage,
        LibrarySnapshot,
        GameList,
        NotModified,
        GameManifest,
        BlockDigests,
        FileData,
        ChunkData,
        BulkTicket,
        Error,
    )
}

# The feature of one who only looks, such as a diagnosis: nobody keeps who it was.
VISIT: Final = "visit"

# -- codes of QUIC: why a connection was closed, why a stream was reset ---------------------------

CLOSE_GOODBYE: Final = 0x00
CLOSE_PROTOCOL_ERROR: Final = 0x01
CLOSE_INCOMPATIBLE: Final = 0x02
CLOSE_REFUSED: Final = 0x03
CLOSE_REPLACED: Final = 0x04
CLOSE_WRONG_IDENTITY: Final = 0x05
CLOSE_STALE: Final = 0x06
CLOSE_SELF: Final = 0x07

RESET_CANCELLED: Final = 0x20
RESET_CHANGED: Final = 0x21
RESET_BUSY: Final = 0x22
