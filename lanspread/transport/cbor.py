"""CBOR (RFC 8949) off the wire: bounded before it is decoded, and written canonically.

A decoder spends memory on what a few bytes claim (32 MiB of empty arrays became 2.4 GB in cbor2),
so `scan` reads only the heads of the items first and refuses everything that no message of ours
contains. What passes costs at most a small multiple of its own size to decode.
Source: docs/protocol.md, "Encoding".
"""

from __future__ import annotations

import cbor2

from lanspread import limits


class CborError(ValueError):
    """The bytes are not one well-formed, bounded item of the subset that we speak."""


_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
# false, true, null; and the three widths of floats, by the additional information of their head.
_SIMPLE_ALLOWED = {20, 21, 22, 25, 26, 27}


def encode(value: object) -> bytes:
    """Canonical CBOR: shortest heads, sorted keys, definite lengths."""
    return cbor2.dumps(value, canonical=True)


def decode(
    data_untrusted: bytes | bytearray | memoryview,
    *,
    max_items: int = limits.MAX_CBOR_ITEMS,
    max_depth: int = limits.MAX_CBOR_DEPTH,
) -> object:
    """Decode exactly one item. Raises `CborError`, and nothing else."""
    data = bytes(data_untrusted)
    scan(data, max_items=max_items, max_depth=max_depth)
    try:
        return cbor2.loads(data)
    except Exception as error:  # bad UTF-8 is left to the decoder, whose errors are many
        raise CborError("not decodable") from error


class _Container:
    """An array or map whose items are still being read."""

    __slots__ = ("keys", "left", "want_key")

    def __init__(self, left: int, keys: set[bytes] | None) -> None:
        self.left = left
        self.keys = keys
        self.want_key = keys is not None


def scan(data: bytes, *, max_items: int, max_depth: int) -> None:
    """Check the structure without building anything. Raises `CborError`.

    Refused: tags, indefinite lengths, undefined and other simple values, map keys that are not
    text or come twice, trailing bytes, more than `max_items` items (a map's keys and values count)
    or containers nested deeper than `max_depth`.
    """
    position = 0
    items = 0
    stack: list[_Container] = []
    size = len(data)
    while True:
        items += 1
        if items > max_items:
            raise CborError(f"more than {max_items} items")
        major, value, position = _head(data, position, size)
        container = stack[-1] if stack else None
        is_key = container is not None and container.want_key
        if is_key and major != _TEXT:
            raise CborError("a key is not text")
        opened: _Container | None = None
        if major in (_BYTES, _TEXT):
            if value > size - position:
                raise CborError("cut short")
            if is_key and container is not None and container.keys is not None:
                key = data[position : position + value]
                if key in container.keys:
                    raise CborError("a key comes twice")
                container.keys.add(key)
            position += value
        elif major in (_ARRAY, _MAP):
            count = value * 2 if major == _MAP else value
            # Each item takes a byte at least, so a head cannot claim more than there is.
            if count > size - position:
                raise CborError("cut short")
            if len(stack) >= max_depth:
                raise CborError(f"nested deeper than {max_depth}")
            opened = _Container(count, set() if major == _MAP else None)
        if container is not None:
            container.left -= 1
            if container.keys is not None:
                container.want_key = not container.want_key
        if opened is not None:
            stack.append(opened)
        while stack and stack[-1].left == 0:
            stack.pop()
        if not stack:
            break
    if position != size:
        raise CborError("bytes after the end")


def _head(data: bytes, position: int, size: int) -> tuple[int, int, int]:
    """(major type, argument, position behind the head)."""
    if position >= size:
        raise CborError("cut short")
    first = data[position]
    position += 1
    major, info = first >> 5, first & 0x1F
    if major == _TAG:
        raise CborError("tags are not used")
    if major == _SIMPLE and info not in _SIMPLE_ALLOWED:
        raise CborError("a simple value that is not used")
    if info < 24:
        return major, info, position
    if info > 27:
        raise CborError("indefinite or reserved length")
    width = 1 << (info - 24)
    if position + width > size:
        raise CborError("cut short")
    value = int.from_bytes(data[position : position + width], "big")
    return major, value, position + width
