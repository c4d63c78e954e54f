"""Pictures for tests: the least that is one, of each kind."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 6, height: int = 8) -> bytes:
    """A whole PNG, orange."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress((b"\0" + b"\xe0\x7a\x20" * min(width, 64)) * min(height, 64))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg(width: int = 6, height: int = 8) -> bytes:
    """The head of a JPEG: a JFIF segment, a table, and the frame that says the size."""
    jfif = b"\xff\xe0\x00\x10JFIF\0" + bytes(9)
    table = b"\xff\xc4\x00\x04\x00\x00"
    frame = b"\xff\xc2\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    return b"\xff\xd8" + jfif + table + frame + b"\xff\xd9"


def webp(kind: bytes, width: int = 6, height: int = 8) -> bytes:
    """The head of a WebP: lossy (`VP8 `), lossless (`VP8L`) or extended (`VP8X`)."""
    match kind:
        case b"VP8 ":
            body = b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height)
        case b"VP8L":
            body = b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + bytes(5)
        case _:
            body = bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + kind + bytes(4) + body
