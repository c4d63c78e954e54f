"""Messages to bytes and back: strict, bounded, type-exact.

cattrs' own hooks turn "5" into 5 and bytes into their repr; these refuse instead.
Source: docs/protocol.md, "Encoding".
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from lanspread.model import Availability, GameSummary
from lanspread.sync.messages import (
    MESSAGES,
    HelloBody,
    LibraryPosition,
    Message,
    WireSummary,
)
from lanspread.transport import cbor

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class MessageError(Exception):
    """Bytes off the wire that are no message as agreed."""


@attrs.frozen
class Unknown:
    """A well-formed message of a type that this version does not know."""

    type: str


def _exact(kind: type[T]) -> Any:
    def structure(value: object, _: object) -> T:
        # type(), not isinstance: True is an int to Python and must not be one here.
        if type(value) is not kind:
            raise ValueError(f"expected {kind.__name__}, found {type(value).__name__}")
        return value

    return structure


def _optional_bytes(value: object, _: object) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    raise ValueError(f"expected bytes or null, found {type(value).__name__}")


def _text_list(value: object, _: object) -> tuple[str, ...]:
    if type(value) is not list or any(type(item) is not str for item in value):
        raise ValueError("expected an array of text")
    return tuple(value)


def _bytes_list(value: object, _: object) -> tuple[bytes, ...]:
    if type(value) is not list or any(type(item) is not bytes for item in value):
        raise ValueError("expected an array of byte strings")
    return tuple(value)


def _extents(value: object, _: object) -> tuple[tuple[int, int, int], ...]:
    if type(value) is not list:
        raise ValueError("expected an array of extents")
    for row in value:
        if type(row) is not list or len(row) != 3 or any(type(item) is not int for item in row):
            raise ValueError("expected an extent of three numbers")
    return tuple(tuple(row) for row in value)


def _file_rows(value: object, _: object) -> tuple[tuple[str, int, bytes | None], ...]:
    if type(value) is not list:
        raise ValueError("expected an array of files")
    for row in value:
        if (
            type(row) is not list
            or len(row) != 3
            or type(row[0]) is not str
            or type(row[1]) is not int
            or not (row[2] is None or type(row[2]) is bytes)
        ):
            raise ValueError("expected a file of path, size and digests")
    return tuple(tuple(row) for row in value)


def _availability(value: object, _: object) -> Availability:
    if type(value) is not str:
        raise ValueError(f"expected text, found {type(value).__name__}")
    return Availability(value)


def _features(value: object, _: object) -> dict[str, object]:
    if type(value) is not dict:
        raise ValueError("expected a map")
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False, forbid_extra_keys=False)
    for kind in (int, str, bytes, bool):
        converter.register_structure_hook(kind, _exact(kind))
    # A subclass of str: without a hook of its own it would stay the text that came.
    converter.register_structure_hook(Availability, _availability)
    hooks: Sequence[tuple[object, Any]] = (
        (bytes | None, _optional_bytes),
        (tuple[str, ...], _text_list),
        (tuple[bytes, ...], _bytes_list),
        (tuple[tuple[int, int, int], ...], _extents),
        (tuple[tuple[str, int, bytes | None], ...], _file_rows),
        (dict[str, object], _features),
    )
    for kind_, hook in hooks:
        converter.register_structure_hook_func(functools.partial(operator.eq, kind_), hook)
    attrs_classes: tuple[Any, ...] = (LibraryPosition, *MESSAGES.values(), HelloBody, WireSummary)
    for kind__ in attrs_classes:
        attrs.resolve_types(kind__)
        inner: Any = make_dict_structure_fn(kind__, converter, _cattrs_forbid_extra_keys=False)
        converter.register_structure_hook(kind__, _map_only(inner))
    return converter


def _map_only(inner: Any) -> Any:
    def structure(value: object, kind: Any) -> Any:
        if type(value) is not dict:
            raise ValueError("expected a map")
        return inner(value, kind)

    return structure


_converter = _make_converter()


def _structure(value: object, kind: type[T]) -> T:
    try:
        return _converter.structure(value, kind)
    except Exception as error:  # the input decides which error cattrs raises
        raise MessageError(f"malformed {kind.__name__}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)[:200]


def _decode(data_untrusted: bytes) -> object:
    try:
        return cbor.decode(data_untrusted)
    except cbor.CborError as error:
        raise MessageError(f"malformed CBOR: {error}") from error


def encode(message: Message) -> bytes:
    """The message's CBOR map."""
    fields = _fields(message)
    fields["type"] = type(message).__name__
    return cbor.encode(fields)


def decode(payload_untrusted: bytes) -> Message | Unknown:
    """The message in a frame. Raises `MessageError`."""
    value = _decode(payload_untrusted)
    if type(value) is not dict or type(value.get("type")) is not str:
        raise MessageError("a message is not a map with a type")
    name = value["type"]
    kind = MESSAGES.get(name)
    return Unknown(name[:64]) if kind is None else _structure(value, kind)


def encode_body(body: HelloBody) -> bytes:
    """The bytes that stand in Hello and HelloAck as `body`."""
    return cbor.encode(_fields(body))


def body_version(body_untrusted: bytes) -> int:
    """The protocol version in a body of any version. Raises `MessageError`."""
    value = _decode(body_untrusted)
    if type(value) is not dict or type(value.get("proto_ver")) is not int:
        raise MessageError("a body without proto_ver")
    return int(value["proto_ver"])


def decode_body(body_untrusted: bytes) -> HelloBody:
    """The body of a Hello or HelloAck of our own version. Raises `MessageError`."""
    return _structure(_decode(body_untrusted), HelloBody)


def encode_summary(summary: GameSummary) -> bytes:
    """The bytes of a summary, as sent and as hashed."""
    return cbor.encode(_fields(summary))


def decode_summary(data_untrusted: bytes) -> GameSummary:
    """A summary as received. Raises `MessageError`."""
    wire = _structure(_decode(data_untrusted), WireSummary)
    return GameSummary(**_plain(wire))


def summary_hash(encoded: bytes) -> bytes:
    """SHA-256 of a summary's bytes exactly as sent."""
    return hashlib.sha256(encoded).digest()


def library_digest(hashes: Mapping[str, bytes]) -> bytes:
    """The digest of a library: `hashes` is id → `summary_hash`.

    SHA-256 of the canonical CBOR array of [id, hash], ascending by the UTF-8 bytes of the id:
    which is the order of code points.
    """
    return hashlib.sha256(cbor.encode(sorted(hashes.items()))).digest()


def _plain(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}


_AS_IT_IS: Final = frozenset({int, str, bytes, bool, type(None)})


def _fields(value: Any) -> dict[str, Any]:
    return {name: _simple(item) for name, item in _plain(value).items()}


def _simple(value: Any) -> Any:
    if isinstance(value, Availability):
        return value.value
    if isinstance(value, tuple):
        # A request for small files names a thousand of them, three numbers each.
        return [item if type(item) in _AS_IT_IS else _simple(item) for item in value]
    if attrs.has(type(value)):
        return _fields(value)
    return value
