"""Messages: what goes in comes out, what is malformed is refused, nothing costs much memory."""

from __future__ import annotations

from typing import Any

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.model import Availability, GameSummary
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.transport import cbor

HASH = st.binary(min_size=32, max_size=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBER = st.integers(0, 2**53)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "peer_id": TEXT,
    "library_epoch": st.binary(min_size=16, max_size=16),
    "library_rev": NUMBER,
    "from_rev": NUMBER,
    "to_rev": NUMBER,
    "library_digest": HASH,
    "game_count": st.integers(0, limits.MAX_GAMES_PER_PEER),
    "manifest_hash": HASH,
    "content_hash": st.none() | HASH,
    "known_manifest_hash": st.none() | HASH,
    "known_content_hash": st.none() | HASH,
    "body": st.binary(max_size=50),
    "key": st.binary(max_size=50),
    "proof": st.binary(max_size=50),
    "path": TEXT,
    "eti_version": TEXT,
    "code": TEXT,
    "message": TEXT,
    "page": st.integers(0, 2**20),
    "more": st.booleans(),
    "games": st.lists(st.binary(max_size=20)).map(tuple),
    "added": st.lists(st.binary(max_size=20)).map(tuple),
    "updated": st.lists(st.binary(max_size=20)).map(tuple),
    "removed": st.lists(TEXT).map(tuple),
    "listen_addrs": st.lists(TEXT, max_size=8).map(tuple),
    "block_size": st.integers(0, limits.MAX_BLOCK_BYTES),
    "file_count": st.integers(0, limits.MAX_FILES_PER_GAME),
    "files": st.lists(st.tuples(TEXT, NUMBER, st.none() | st.binary(max_size=64))).map(tuple),
    "digests": st.binary(max_size=96),
    "size": st.integers(0, limits.MAX_CHUNK_BYTES),
    "secret": HASH,
    "since": st.none()
    | st.builds(m.LibraryPosition, epoch=st.binary(min_size=16, max_size=16), rev=NUMBER),
    "extents": st.just(((0, 0, 5), (0, 5, 7), (3, 1, 1))),
}


def build(kind: type[m.Message]) -> st.SearchStrategy[m.Message]:
    fields = {}
    for field in attrs.fields(kind):
        strategy = FIELDS.get(field.name, TEXT)
        if kind is m.BulkTicket and field.name == "id":
            strategy = st.binary(min_size=16, max_size=16)
        fields[field.name] = strategy
    return st.builds(kind, **fields)


@given(st.one_of([build(kind) for kind in m.MESSAGES.values()]))
def test_every_message_comes_out_as_it_went_in(message: m.Message) -> None:
    assert codec.decode(codec.encode(message)) == message


@given(st.one_of([build(kind) for kind in m.MESSAGES.values()]), st.data())
def test_a_field_of_another_type_is_refused(message: m.Message, data: st.DataObject) -> None:
    value = cbor2.loads(codec.encode(message))
    names = sorted(value.keys() - {"type"})
    if not names:
        return
    name = data.draw(st.sampled_from(names))
    wrong = data.draw(
        st.sampled_from([True, 1.5, "5", b"5", 5, -1, [1], {"a": 1}, None]).filter(
            lambda found: type(found) is not type(value[name])
        )
    )
    nullable = value[name] is None or wrong is None
    value[name] = wrong
    try:
        decoded = codec.decode(cbor.encode(value))
    except codec.MessageError:
        return
    # Only null, or what stands where null may stand, passes; and never as another type.
    assert nullable
    assert isinstance(decoded, m.Message)
    assert type(getattr(decoded, name)) in (type(wrong), tuple, m.LibraryPosition)


@given(st.one_of([build(kind) for kind in m.MESSAGES.values()]), st.data())
def test_a_missing_field_is_refused_and_an_unknown_one_ignored(
    message: m.Message, data: st.DataObject
) -> None:
    value = cbor2.loads(codec.encode(message))
    value["a field of a later version"] = [1, {"x": None}]
    assert codec.decode(cbor.encode(value)) == message
    names = sorted(value.keys() - {"type", "a field of a later version"})
    if names:
        del value[data.draw(st.sampled_from(names))]
        with pytest.raises(codec.MessageError, match="is missing"):
            codec.decode(cbor.encode(value))


@given(st.binary(max_size=200))
def test_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        found = codec.decode(data)
    except codec.MessageError:
        return
    assert isinstance(found, m.Message | codec.Unknown)


def test_an_unknown_message_is_named() -> None:
    assert codec.decode(cbor.encode({"type": "Later", "x": 1})) == codec.Unknown("Later")


@pytest.mark.parametrize(
    "extents",
    [
        [],
        [[0, 0, 0]],
        [[0, 0, 5], [0, 4, 5]],
        [[1, 0, 5], [0, 0, 5]],
        [[0, -1, 5]],
        [[0, 0, limits.MAX_CHUNK_BYTES + 1]],
        [[n, 0, 1] for n in range(limits.MAX_CHUNK_EXTENTS + 1)],
        [[0, 0]],
        [[0, 0, "5"]],
        [[0, 0, True]],
    ],
)
def test_extents_out_of_bounds_are_refused(extents: list[Any]) -> None:
    value = {
        "type": "GetGameFileChunk",
        "id": "x",
        "manifest_hash": bytes(32),
        "extents": extents,
    }
    with pytest.raises(codec.MessageError):
        codec.decode(cbor.encode(value))


def test_a_summary_keeps_its_hash_as_it_was_sent() -> None:
    summary = GameSummary(
        id="quake",
        name="Quake",
        eti_version="1.0",
        size=5,
        downloaded=True,
        installed=False,
        manifest_hash=bytes(32),
        content_hash=None,
        availability=Availability.READY,
    )
    encoded = codec.encode_summary(summary)
    assert codec.decode_summary(encoded) == summary
    assert type(codec.decode_summary(encoded).availability) is Availability
    with pytest.raises(codec.MessageError):
        codec.decode_summary(cbor.encode({**cbor2.loads(encoded), "availability": "stolen"}))
    later = cbor.encode({**cbor2.loads(encoded), "a field of a later version": 1})
    assert codec.decode_summary(later) == summary
    assert codec.summary_hash(later) != codec.summary_hash(encoded)


def test_the_version_is_read_from_a_body_of_any_version() -> None:
    assert codec.body_version(cbor.encode({"proto_ver": 9, "new": [1]})) == 9
    for bad in (b"", cbor.encode([1]), cbor.encode({"proto_ver": "3"}), cbor.encode({})):
        with pytest.raises(codec.MessageError):
            codec.body_version(bad)
