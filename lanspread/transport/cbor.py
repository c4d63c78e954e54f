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


def scan(data: bytes, *, max_items: int, max_depth: int) -> None:
    """Check the structure without building anything. Raises `CborError`.

    Refused: tags, indefinite lengths, undefined and other simple values, map keys that are not
    text or come twice, trailing bytes, more than `max_items` items (a map's keys and values count)
    or containers nested deeper than `max_depth`.
    """
    position = items = 0
    size = len(data)
    # Of the container that is read now: how many items are left in it, and of a map the keys so
    # far; further down those around it. It begins with the one item that is to be there.
    left = 1
    keys: set[bytes] | None = None
    around: list[tuple[int, set[bytes] | None]] = []
    while True:
        while not left:
            if not around:
                if position != size:
                    raise CborError("bytes after the end")
                return
            left, keys = around.pop()
        items += 1
        if items > max_items:
            raise CborError(f"more than {max_items} items")
        if position >= size:
            raise CborError("cut short")
        major, value = data[position] >> 5, data[position] & 0x1F
        position += 1
        if value >= 24 or major >= _TAG:
            value, position = _argument(data, position, major, value)
        # In a map keys and values take turns, and it ends with a value.
        is_key = keys is not None and not left & 1
        left -= 1
        if is_key and major != _TEXT:
            raise CborError("a key is not text")
        if major in (_BYTES, _TEXT):
            if value > size - position:
                raise CborError("cut short")
            if is_key and keys is not None:
                key = data[position : position + value]
                if key in keys:
                    raise CborError("a key comes twice")
                keys.add(key)
            position += value
        elif major in (_ARRAY, _MAP):
            count = value * 2 if major == _MAP else value
            # Each item takes a byte at least, so a head cannot claim more than there is.
            if count > size - position:
                raise CborError("cut short")
            if len(around) >= max_depth:
                raise CborError(f"nested deeper than {max_depth}")
            around.append((left, keys))
            left, keys = count, set() if major == _MAP else None


def _argument(data: bytes, position: int, major: int, info: int) -> tuple[int, int]:
    """(argument, position behind it) of a head that is more than its first byte, or no number."""
    if major == _TAG:
        raise CborError("tags are not used")
    if major == _SIMPLE and info not in _SIMPLE_ALLOWED:
        raise CborError("a simple value that is not used")
    if info < 24:
        return info, position
    if info > 27:
        raise CborError("indefinite or reserved length")
    end = position + (1 << (info - 24))
    if end > len(data):
        raise CborError("cut short")
    return int.from_bytes(data[position:end], "big"), end
