"""Makes RAR archives of both formats, stored, with whatever is to be wrong about them.

Sources: RAR 5.0 archive format and, for RAR 4, technote.txt of its time. Zip and tar archives are
made by the standard library.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import attrs

RAR5 = b"Rar!\x1a\x07\x01\x00"
RAR4 = b"Rar!\x1a\x07\x00"
UNIX_FILE = 0o100644
UNIX_LINK = 0o120777


@attrs.frozen(kw_only=True)
class Put:
    """What goes into a made archive. What is None follows from the others."""

    name: str | bytes
    data: bytes = b""
    folder: bool = False
    mode: int = UNIX_FILE
    link: int = 0  # RAR5: the type of the redirection; RAR4 has `mode`
    encrypted: bool = False
    crc: int | None = None
    size: int | None = None  # what the header says of the unpacked size
    dictionary: int = 0  # RAR5: 128 KiB times two to this
    mtime_s: int = 1_700_000_000

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()


@attrs.frozen(kw_only=True)
class Piece:
    """The part of a file that is in one volume."""

    put: Put
    data: bytes
    before: bool = False
    after: bool = False

    @property
    def crc(self) -> int:
        if self.put.crc is not None:
            return self.put.crc
        # All but the last piece carry the sum of what is in them, the last that of the whole.
        return zlib.crc32(self.data if self.after else self.put.data)


def rar5(*puts: Put, volume_bytes: int | None = None, end: bool = True) -> list[bytes]:
    """The volumes of a RAR5 archive; one where `volume_bytes` is None."""
    volumes = []
    split = split_up(puts, volume_bytes)
    for number, pieces in enumerate(split):
        flags = 0 if volume_bytes is None else 0x01 | (0x02 if number else 0)
        main = vint(1) + vint(0) + vint(flags) + (vint(number) if number else b"")
        blocks = [RAR5, block5(main)]
        for piece in pieces:
            blocks += [file_header5(piece), piece.data]
        if end:
            blocks.append(block5(vint(5) + vint(4) + vint(int(number < len(split) - 1))))
        volumes.append(b"".join(blocks))
    return volumes


def rar4(
    *puts: Put, volume_bytes: int | None = None, old_names: bool = False, end: bool = True
) -> list[bytes]:
    """The same in the format of RAR 1.5 to 4."""
    volumes = []
    split = split_up(puts, volume_bytes)
    for number, pieces in enumerate(split):
        flags = 0
        if volume_bytes is not None:
            flags = 0x01 | (0 if old_names else 0x10) | (0 if number else 0x100)
        blocks = [RAR4, block4(0x73, flags, bytes(6))]
        for piece in pieces:
            blocks += [file_header4(piece), piece.data]
        if end:
            blocks.append(block4(0x7B, 0x4000 | int(number < len(split) - 1), b""))
        volumes.append(b"".join(blocks))
    return volumes


def rar5_with_encrypted_headers() -> bytes:
    encryption = vint(4) + vint(0) + vint(0) + vint(0) + bytes([4]) + bytes(16)
    return RAR5 + block5(encryption) + bytes(range(128))


def rar4_with_encrypted_headers() -> bytes:
    return RAR4 + block4(0x73, 0x80, bytes(6)) + bytes(range(128))


def split_up(puts: Sequence[Put], volume_bytes: int | None) -> list[list[Piece]]:
    if volume_bytes is None:
        return [[Piece(put=put, data=put.data) for put in puts]]
    volumes: list[list[Piece]] = [[]]
    room = volume_bytes
    for put in puts:
        at = 0
        before = False
        while True:
            data = put.data[at : at + room]
            after = at + len(data) < len(put.data)
            volumes[-1].append(Piece(put=put, data=data, before=before, after=after))
            before = True
            at += len(data)
            room -= len(data)
            if not after:
                break
            volumes.append([])
            room = volume_bytes
    return volumes


def vint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def block5(header: bytes) -> bytes:
    sized = vint(len(header)) + header
    return struct.pack("<I", zlib.crc32(sized)) + sized


def file_header5(piece: Piece) -> bytes:
    put = piece.put
    extra = b""
    if put.encrypted:
        extra += record5(vint(1) + vint(0) + vint(0) + bytes([4]) + bytes(32))
    if put.link:
        extra += record5(vint(5) + vint(put.link) + vint(0) + vint(6) + b"target")
    flags = 0x02 | (0x01 if extra else 0) | piece.before * 0x08 | piece.after * 0x10
    size = len(put.data) if put.size is None else put.size
    return block5(
        vint(2)
        + vint(flags)
        + (vint(len(extra)) if extra else b"")
        + vint(len(piece.data))
        + vint(0x06 | put.folder)
        + vint(size)
        + vint(put.mode)
        + struct.pack("<II", put.mtime_s, piece.crc)
        + vint(put.dictionary << 10)
        + vint(1)
        + vint(len(put.raw_name))
        + put.raw_name
        + extra
    )


def record5(data: bytes) -> bytes:
    return vint(len(data)) + data


def block4(kind: int, flags: int, rest: bytes) -> bytes:
    header = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
    return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header


def file_header4(piece: Piece) -> bytes:
    put = piece.put
    flags = 0x8000 | piece.before * 0x01 | piece.after * 0x02 | put.encrypted * 0x04
    if put.folder:
        flags |= 0xE0
    size = len(put.data) if put.size is None else put.size
    name = put.raw_name
    rest = struct.pack(
        "<IIBIIBBHI",
        len(piece.data), size, 3, piece.crc, 0x57_6E_B1_A0, 20, 0x30, len(name), put.mode,
    )  # fmt: skip
    return block4(0x74, flags, rest + name)


def zipped(
    files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED, level: int = 6
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression, compresslevel=level) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 2, 29, 12, 30, 0)), data, compression)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], how: str = "", **options: int) -> bytes:
    """`how`: "", "gz", "bz2" or "xz". A name that ends in a slash is a folder."""
    out = io.BytesIO()
    mode = f"w:{how}"
    with tarfile.open(fileobj=out, mode=mode, **options) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name.removesuffix("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            info.mtime = 1_700_000_000
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
