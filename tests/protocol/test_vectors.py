"""Every test vector of docs/protocol.md against our code, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio.testing
from cryptography.hazmat.primitives.asymmetric import ec
from zeroconf import ServiceInfo

from lanspread import limits
from lanspread.fs import manifest as manifests
from lanspread.identity import (
    Identity,
    check_hello,
    is_peer_id,
    new_identity,
    peer_id_of,
    public_key_bytes,
    sign_hello,
)
from lanspread.model import Availability, FileEntry, GameSummary, Manifest, blocks_of
from lanspread.platform import RealEntropy
from lanspread.seams import Address, Advertisement
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.delta import Diff, apply_change, diff
from lanspread.sync.remote import Draft, decode_game
from lanspread.transport import cbor
from lanspread.transport.dns_records import RawRecord, instance_label, parse_record, txt_of
from lanspread.transport.framing import FrameReader, frame
from tests.protocol.page import Vector, field_tables, read_page, table, vectors
from tests.sync.support import decoded

PAGE = read_page()
VECTORS = vectors(PAGE)
CHECKS: dict[str, Callable[[Vector], None]] = {}

Check = Callable[[Vector], None]


def checks(*names: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(names, check))
        return check

    return register


def test_every_vector_is_checked_and_every_check_has_its_vector() -> None:
    assert VECTORS.keys() == CHECKS.keys()
    assert PAGE.count("vector: ") == len(VECTORS)


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_vector(name: str) -> None:
    vector = VECTORS[name]
    CHECKS[name](vector)
    assert not vector.unread, "values that no check looked at"


# -- identity -------------------------------------------------------------------------------------


def _key(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())


@checks("peer-id", "peer-id-listener")
def check_peer_id(vector: Vector) -> None:
    assert public_key_bytes(_key(vector["private_scalar"]).public_key()) == vector["spki"]
    assert peer_id_of(vector["spki"]) == vector["peer_id"]
    assert is_peer_id(vector["peer_id"])


@checks("hello-proof")
def check_proof(vector: Vector) -> None:
    key, body, listener = _key(vector["dialer_scalar"]), vector["body"], vector["listener_spki"]
    spki = public_key_bytes(key.public_key())
    peer_id = peer_id_of(spki)
    assert check_hello(spki, vector["proof"], listener, body) == peer_id
    # What we sign is verified against the bytes on the page, not against our own idea of them.
    identity = Identity(key, new_identity(RealEntropy()).certificate, spki, peer_id)
    ours = sign_hello(identity, listener, body)
    key.public_key().verify(ours, vector["signed"], _ecdsa())
    key.public_key().verify(vector["proof"], vector["signed"], _ecdsa())


def _ecdsa() -> ec.ECDSA:
    from cryptography.hazmat.primitives.hashes import SHA256

    return ec.ECDSA(SHA256())


# -- frames and messages --------------------------------------------------------------------------


def _unframed(data: bytes) -> tuple[bytes, bytes]:
    """The first frame and what follows it, read as off a stream."""
    end, stream = trio.testing.memory_stream_one_way_pair()

    async def read() -> tuple[bytes, bytes]:
        await end.send_all(data)
        await end.aclose()
        reader = FrameReader(stream)
        payload = await reader.frame()
        assert payload is not None
        rest = b""
        while more := await reader.raw(limits.READ_BYTES):
            rest += more
        return payload, rest

    return trio.run(read)


def _same(vector: Vector, message: m.Message) -> None:
    assert codec.encode(message) == vector["encoded"]
    assert codec.decode(vector["encoded"]) == message


def _body(vector: Vector) -> m.HelloBody:
    fields: dict[str, Any] = {name: vector[name] for name in vector if name != "encoded"}
    return m.HelloBody(**{**fields, "listen_addrs": tuple(fields["listen_addrs"])})


@checks("hello-body", "hello-body-hidden")
def check_body(vector: Vector) -> None:
    body = _body(vector)
    assert codec.encode_body(body) == vector["encoded"]
    assert codec.decode_body(vector["encoded"]) == body
    assert codec.body_version(vector["encoded"]) == limits.PROTOCOL_VERSION


@checks("hello-frame")
def check_hello_frame(vector: Vector) -> None:
    hello = m.Hello(body=vector["body"], key=vector["key"], proof=vector["proof"])
    assert frame(codec.encode(hello)) == vector["frame"]
    payload, rest = _unframed(vector["frame"])
    assert (codec.decode(payload), rest) == (hello, b"")


@checks("ping-frame")
def check_ping(vector: Vector) -> None:
    assert frame(codec.encode(m.Ping())) == vector["frame"]
    payload, rest = _unframed(vector["frame"])
    assert (codec.decode(payload), rest) == (m.Ping(), b"")


@checks("get-library")
def check_get_library(vector: Vector) -> None:
    _same(vector, m.GetLibrary(since=vector["since"]))


@checks("get-library-since")
def check_get_library_since(vector: Vector) -> None:
    _same(vector, m.GetLibrary(since=m.LibraryPosition(epoch=vector["epoch"], rev=vector["rev"])))


@checks("get-game")
def check_get_game(vector: Vector) -> None:
    _same(
        vector,
        m.GetGame(
            id=vector["id"],
            known_manifest_hash=vector["known_manifest_hash"],
            known_content_hash=vector["known_content_hash"],
        ),
    )


@checks("get-game-file-chunk")
def check_chunk(vector: Vector) -> None:
    extents: Any = tuple(tuple(extent) for extent in vector["extents"])
    _same(
        vector,
        m.GetGameFileChunk(id=vector["id"], manifest_hash=vector["manifest_hash"], extents=extents),
    )


@checks("chunk-answer")
def check_chunk_answer(vector: Vector) -> None:
    header = m.ChunkData(size=vector["size"])
    assert frame(codec.encode(header)) + vector["raw"] == vector["stream"]
    payload, rest = _unframed(vector["stream"])
    assert (codec.decode(payload), rest) == (header, vector["raw"])
    assert len(rest) == header.size


@checks("next-page")
def check_next_page(vector: Vector) -> None:
    _same(vector, m.NextPage(page=vector["page"]))


@checks("error")
def check_error(vector: Vector) -> None:
    _same(vector, m.Error(code=vector["code"], message=vector["message"]))


# -- manifests ------------------------------------------------------------------------------------


def _tiny() -> tuple[Manifest, list[bytes]]:
    tiny = VECTORS["tiny-game"]
    contents = [text.encode() for text in tiny["contents"]]
    files = zip(tiny["paths"], contents, strict=True)
    return Manifest(tuple(FileEntry(path, len(data)) for path, data in files)), contents


@checks("tiny-game")
def check_tiny_game(vector: Vector) -> None:
    manifest, contents = _tiny()
    manifests.check_manifest(manifest)
    assert manifests.manifest_of(reversed(manifest.files)) == manifest
    assert manifests.manifest_hash(manifest) == vector["manifest_hash"]
    assert cbor.decode(vector["manifest_cbor"]) == [[e.path, e.size] for e in manifest.files]
    digests = [
        manifests.block_digest(contents[number][offset : offset + length])
        for number, offset, length in blocks_of(manifest, vector["block_size"])
    ]
    assert digests == [vector["digest_of_data_eti"], vector["digest_of_version_ini"]]
    found = manifests.content_hash(vector["manifest_hash"], vector["block_size"], digests)
    assert found == vector["content_hash"]
    assert cbor.decode(vector["content_cbor"]) == [
        vector["manifest_hash"],
        vector["block_size"],
        digests,
    ]
    assert manifests.version_of(contents[-1]) == vector["version"]


@checks("two-blocks")
def check_two_blocks(vector: Vector) -> None:
    manifest = Manifest((FileEntry("a", vector["size"]),))
    blocks = blocks_of(manifest, vector["block_size"])
    joined = b"".join(manifests.block_digest(b"a" * length) for _, _, length in blocks)
    assert joined == vector["digests"]
    assert len(joined) == 2 * manifests.DIGEST_BYTES


@checks("game-manifest")
def check_game_manifest(vector: Vector) -> None:
    tiny = VECTORS["tiny-game"]
    manifest, _ = _tiny()
    known = (None, b"", vector["digest_of_version_ini"])
    rows = zip(manifest.files, known, strict=True)
    _same(
        vector,
        m.GameManifest(
            page=0,
            more=False,
            id="quake",
            eti_version=tiny["version"],
            manifest_hash=tiny["manifest_hash"],
            content_hash=None,
            block_size=tiny["block_size"],
            file_count=len(manifest.files),
            files=tuple((entry.path, entry.size, digests) for entry, digests in rows),
        ),
    )


# -- libraries ------------------------------------------------------------------------------------


@checks("game-summary", "game-summary-bare")
def check_summary(vector: Vector) -> None:
    fields = {field.name: vector[field.name] for field in attrs.fields(GameSummary)}
    fields["availability"] = Availability(fields["availability"])
    summary = GameSummary(**fields)
    assert codec.encode_summary(summary) == vector["encoded"]
    assert codec.decode_summary(vector["encoded"]) == summary
    assert codec.summary_hash(vector["encoded"]) == vector["hash"]


def _hashes(*encoded: bytes) -> dict[str, bytes]:
    return {codec.decode_summary(data).id: codec.summary_hash(data) for data in encoded}


@checks("library-digest")
def check_library_digest(vector: Vector) -> None:
    cut = vector["first_length"]
    hashes = _hashes(vector["summaries"][:cut], vector["summaries"][cut:])
    assert len(hashes) == 2
    assert codec.library_digest(hashes) == vector["digest"]
    rows = cbor.decode(vector["digest_cbor"])
    assert isinstance(rows, list)
    assert dict(rows) == hashes
    assert [row[0] for row in rows] == sorted(hashes, key=str.encode)


@checks("library-digest-empty")
def check_empty_digest(vector: Vector) -> None:
    assert codec.library_digest({}) == vector["digest"]


@checks("library-delta")
def check_delta(vector: Vector) -> None:
    _same(
        vector,
        m.LibraryDelta(
            peer_id=vector["peer_id"],
            library_epoch=vector["library_epoch"],
            from_rev=vector["from_rev"],
            to_rev=vector["to_rev"],
            library_digest=vector["library_digest"],
            added=(vector["added"],),
            updated=(),
            removed=tuple(vector["removed"]),
        ),
    )
    old = VECTORS["game-summary"]["encoded"]
    assert codec.library_digest(_hashes(old, vector["added"])) == vector["library_digest"]


@checks("library-delta-applied")
def check_delta_applied(vector: Vector) -> None:
    first, second = vector["before_old"], vector["before_doom"]
    draft = Draft()
    for encoded in (first, second):
        draft.add(decode_game(encoded))
    assert draft.digest() == codec.library_digest(_hashes(first, second))
    assert draft.digest() == vector["digest_before"]
    message = codec.decode(vector["encoded"])
    assert isinstance(message, m.LibraryDelta)
    assert codec.encode(message) == vector["encoded"]
    assert (message.from_rev, message.to_rev) == (vector["from_rev"], vector["to_rev"])
    assert (message.added, message.updated) == ((vector["added"],), (vector["updated"],))
    assert message.removed == tuple(vector["removed"])
    assert message.library_digest == vector["digest_after"]
    apply_change(draft, decoded(message))
    assert draft.digest() == vector["digest_after"]
    before = {codec.decode_summary(data).id: data for data in (first, second)}
    after = {codec.decode_summary(data).id: data for data in (*message.added, *message.updated)}
    assert diff(before, after) == Diff(message.added, message.updated, message.removed)


@checks("library-delta-empty")
def check_delta_empty(vector: Vector) -> None:
    known = VECTORS["library-delta"]
    assert vector["library_digest"] == VECTORS["library-delta-applied"]["digest_before"]
    _same(
        vector,
        m.LibraryDelta(
            peer_id=known["peer_id"],
            library_epoch=known["library_epoch"],
            from_rev=vector["rev"],
            to_rev=vector["rev"],
            library_digest=vector["library_digest"],
            added=(),
            updated=(),
            removed=(),
        ),
    )


@checks("not-modified")
def check_not_modified(vector: Vector) -> None:
    tiny = VECTORS["tiny-game"]
    asked = m.GetGame(
        id="quake",
        known_manifest_hash=tiny["manifest_hash"],
        known_content_hash=tiny["content_hash"],
    )
    assert codec.encode(asked) == vector["request"]
    assert codec.decode(vector["request"]) == asked
    assert codec.encode(m.NotModified()) == vector["answer"]
    assert codec.decode(vector["answer"]) == m.NotModified()


# -- discovery ------------------------------------------------------------------------------------


@checks("txt-record")
def check_txt(vector: Vector) -> None:
    advert = Advertisement(
        peer_id=vector["peer_id"],
        proto_ver=vector["proto_ver"],
        addresses=(Address("192.168.1.20", vector["port"]),),
        library_rev=vector["library_rev"],
        hostname=vector["hostname"],
    )
    name = f"{vector['instance']}.{limits.SERVICE_TYPE}"
    sent = ServiceInfo(limits.SERVICE_TYPE, name, properties=txt_of(advert))
    assert sent.text == vector["rdata"]
    heard = ServiceInfo(limits.SERVICE_TYPE, name, properties=vector["rdata"])
    raw = RawRecord(vector["port"], dict(heard.properties), ("192.168.1.20",))
    assert parse_record(raw, allow_loopback=False) == advert
    assert instance_label(advert.peer_id, vector["start"], vector["port"]) == vector["instance"]


# -- the tables of the page -----------------------------------------------------------------------


def test_the_page_has_every_field_of_every_message() -> None:
    ours = {kind.__name__: kind for kind in (*m.MESSAGES.values(), m.HelloBody)}
    expected = {name: {f.name for f in attrs.fields(kind)} for name, kind in ours.items()}
    expected["GameSummary"] = {f.name for f in attrs.fields(m.WireSummary)}
    assert field_tables(PAGE) == expected


def test_the_page_has_every_code() -> None:
    named = {name: code for name, code in vars(m).items() if name.startswith(("CLOSE_", "RESET_"))}
    for name, code in named.items():
        assert f"| `{code:#04x}` | {name.split('_', 1)[1]} |" in PAGE, name
    errors = [code for name, code in vars(m).items() if name.startswith("ERROR_")]
    assert errors
    for error in errors:
        assert f"| `{error}` |" in PAGE


def test_the_limits_of_the_page_are_ours() -> None:
    expected = {
        "frame": limits.MAX_MESSAGE_BYTES,
        "frame of a request": limits.MAX_REQUEST_BYTES,
        "frame of Hello, HelloAck": limits.MAX_HELLO_BYTES,
        "CBOR items in a message": limits.MAX_CBOR_ITEMS,
        "CBOR depth": limits.MAX_CBOR_DEPTH,
        "page (how far a sender of ours fills it)": limits.PAGE_BYTES,
        "summary": limits.MAX_SUMMARY_BYTES,
        "features": limits.MAX_FEATURES,
        "games per peer": limits.MAX_GAMES_PER_PEER,
        "files per game": limits.MAX_FILES_PER_GAME,
        "blocks per game": limits.MAX_BLOCKS_PER_GAME,
        "size of a game": limits.MAX_GAME_BYTES,
        "manifest in memory": limits.MAX_MANIFEST_BYTES,
        "path": limits.MAX_PATH_BYTES,
        "part of a path": limits.MAX_PATH_PART_BYTES,
        "parts of a path": limits.MAX_PATH_DEPTH,
        "block size, default": limits.BLOCK_BYTES,
        "block size, smallest": limits.MIN_BLOCK_BYTES,
        "block size, largest": limits.MAX_BLOCK_BYTES,
        "chunk": limits.MAX_CHUNK_BYTES,
        "extents of a chunk": limits.MAX_CHUNK_EXTENTS,
        "whole file": limits.MAX_WHOLE_FILE_BYTES,
        "asked for and not received, per session": limits.MAX_IN_FLIGHT_BYTES,
        "requests served at a time, per session": limits.MAX_SERVED_REQUESTS,
        "of these for file bytes": limits.MAX_SERVED_CHUNKS_PER_SESSION,
        "of these answered in pages": limits.MAX_SERVED_PAGED_PER_SESSION,
        "requests before HelloAck": limits.MAX_EARLY_REQUESTS,
        "games of which changes are remembered": limits.MAX_HISTORY_IDS,
        "deltas held, of a peer": limits.MAX_HELD_DELTAS,
        "bytes of deltas held, of a peer": limits.MAX_HELD_DELTA_BYTES,
        "bytes of deltas held, of all peers": limits.MAX_HELD_DELTA_BYTES_OF_ALL,
        "manifests kept": limits.MAX_CACHED_MANIFEST_BYTES,
        "streams open, by one side": limits.MAX_STREAMS_FROM_PEER,
        "unread and reassembly bytes, per connection": limits.MAX_CONNECTION_BUFFER_BYTES,
        "unread and reassembly bytes, per endpoint": limits.MAX_ENDPOINT_BUFFER_BYTES,
        "gaps in received streams, per connection": limits.MAX_REASSEMBLY_GAPS,
        "connections, per host": limits.MAX_CONNECTIONS_PER_HOST,
        "connections": limits.MAX_CONNECTIONS,
        "half-open handshakes before Retry": limits.RETRY_ABOVE_HALF_OPEN,
        "half-open handshakes": limits.MAX_HALF_OPEN,
        "sessions": limits.MAX_SESSIONS,
        "inbound connections in their Hello": limits.MAX_GREETING,
        "QUIC handshake": limits.HANDSHAKE_TIMEOUT_S,
        "Hello": limits.HELLO_TIMEOUT_S,
        "crossed dial": limits.CROSSED_DIAL_S,
        "idle ping": limits.IDLE_PING_S,
        "idle ping of the listener, later by": limits.PING_YIELD_S,
        "doubt after an unanswered ping": limits.PING_ANSWER_S,
        "between two pings": limits.PING_GAP_S,
        "difference of two clocks that means sleep": limits.SUSPEND_JUMP_S,
        "patience with a session after a sleep": limits.WAKE_GRACE_S,
        "wait for the connection that stays": limits.OVERTAKEN_S,
        "ping while answers are waited for": limits.WAITING_PING_S,
        "lanes per session": limits.MAX_LANES_PER_SESSION,
        "lanes per address": limits.MAX_LANES_PER_HOST,
        "lanes of all": limits.MAX_LANES,
        "a wait for those who are sent to on lanes": limits.LANE_QUEUE_S,
        "lanes that are sent to at once": limits.MAX_LANES_SENDING,
        "a lane on which nothing is asked": limits.LANE_IDLE_S,
        "a message on a lane that begins to come": limits.LANE_READ_S,
        "a ticket is good for": limits.LANE_TICKET_S,
        "a lane's way to its secret": limits.LANE_ADMISSION_S,
        "connections on that way": limits.MAX_LANES_PENDING,
        "of these of one address": limits.MAX_LANES_PENDING_PER_HOST,
        "silence on a lane that is waited for": limits.LANE_SILENCE_S,
        "silence after which a source is passed over": limits.SOURCE_SILENCE_S,
        "stale timeout": limits.STALE_TIMEOUT_S,
        "QUIC idle timeout": limits.QUIC_IDLE_TIMEOUT_S,
        "request must arrive within": limits.REQUEST_ARRIVAL_S,
        "an asker's patience with file bytes": limits.REQUEST_SILENCE_S,
        "an asker's patience with a page of a library": limits.REQUEST_SILENCE_S,
        "an answerer's patience with its asker": limits.SEND_SILENCE_S,
        "unverified mDNS candidates": limits.MAX_CANDIDATES,
        "addresses per peer": limits.MAX_ADDRESSES_PER_PEER,
    }
    assert {name: _amount(text) for name, text in table(PAGE, "Limits").items()
            if not name.startswith("---")} == expected  # fmt: skip


def _amount(text: str) -> float:
    if text.startswith("2^"):
        return float(2 ** int(text[2:]))
    number, _, unit = text.partition(" ")
    return float(number.replace(",", "")) * {"KiB": limits.KIB, "MiB": limits.MIB}.get(unit, 1)
