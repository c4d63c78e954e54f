"""What a picture's first bytes say: its type and its size in pixels. Pure.

A cover may have come from another peer, so nothing is believed of its name. What is not one of
three formats, or so large that a browser would spend its memory on it, is no picture to us.
Sources: PNG (W3C), section 11.2.1; JPEG (ITU T.81), B.2.2; WebP (RFC 9649), section 2.
"""

from __future__ import annotations

from typing import Final

MAX_SIDE_PIXELS: Final = 4096
# Before its size a JPEG has a few dozen at the most.
_MAX_SEGMENTS: Final = 500

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
# Start-of-frame markers carry the size; C4, C8 and CC in their range are something else.
_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def picture_type(data_untrusted: bytes) -> str | None:
    """The media type of a PNG, JPEG or WebP of at most 4096 x 4096 pixels; None for all else."""
    found = _measured(data_untrusted)
    if found is None:
        return None
    media_type, width, height = found
    if not (0 < width <= MAX_SIDE_PIXELS and 0 < height <= MAX_SIDE_PIXELS):
        return None
    return media_type


def _measured(data: bytes) -> tuple[str, int, int] | None:
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return "image/png", _big(data[16:20]), _big(data[20:24])
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp(data)
    return None


def _jpeg(data: bytes) -> tuple[str, int, int] | None:
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 9 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            return "image/jpeg", _big(data[at + 7 : at + 9]), _big(data[at + 5 : at + 7])
        length = _big(data[at + 2 : at + 4])
        if length < 2:
            return None
        at += 2 + length
    return None


def _webp(data: bytes) -> tuple[str, int, int] | None:
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
        case b"VP8L" if data[20] == 0x2F:
            bits = _little(data[21:25])
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = _little(data[24:27]) + 1, _little(data[27:30]) + 1
        case _:
            return None
    return "image/webp", width, height


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
