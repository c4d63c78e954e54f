"""Broken archives of every kind give an `ArchiveError` or what was in them, and nothing else.

RAR is read by a library in C: that 70,000 such archives, their headers' sums made right again,
neither crashed nor stalled it is what this stands on; see also `LANSPREAD_SOAK`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import rarfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lanspread.fs.archives import Archive, ArchiveError, check_members, open_archive
from lanspread.fs.archives.rar_program import RarProgramArchive
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.paths import UnsafePath
from lanspread.seams import Folder
from tests.fs.archives.making import RAR4, RAR5, Put, rar4, rar5, tarred, zipped
from tests.fs.archives.support import SAMPLES, SOME, Memory

FILES = {"a/b.bin": SOME[:700], "empty": b"", "ü": b"text"}
PUTS = [Put(name=name, data=data) for name, data in FILES.items()]
KINDS = {
    "rar5": [
        rar5(*PUTS, Put(name="d", folder=True))[0],
        rar5(Put(name="big", data=SOME), volume_bytes=700)[0],
        *((SAMPLES / f"rar5-{name}.rar").read_bytes() for name in ("solid", "crc", "hlink")),
    ],
    "rar4": [
        rar4(*PUTS, Put(name="d", folder=True))[0],
        rar4(Put(name="big", data=SOME), volume_bytes=700)[0],
        *((SAMPLES / f"rar3-{name}.rar").read_bytes() for name in ("solid", "subdirs")),
    ],
    "zip": [zipped(FILES)],
    "tar": [tarred(FILES), tarred({"long/" * 40: b"", **FILES}, format=1)],
    "gz": [tarred(FILES, "gz")],
    "bz2": [tarred(FILES, "bz2")],
    "xz": [tarred(FILES, "xz")],
}
SOAK = "LANSPREAD_SOAK" in os.environ


@st.composite
def broken(draw: st.DrawFn, kind: str) -> bytes:
    data = draw(st.sampled_from(KINDS[kind]))
    blocks = blocks_of(data)
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        if not out:
            break
        at = draw(st.integers(0, len(out) - 1))
        if blocks and draw(st.sampled_from([0, 1])):
            start, end = draw(st.sampled_from(blocks))
            at = min(draw(st.integers(start, end - 1)), len(out) - 1)
        match draw(st.sampled_from(["flip", "set", "many", "delete", "insert", "cut"])):
            case "flip":
                out[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                out[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "many":
                out[at : at + 8] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del out[at : at + draw(st.integers(1, 30))]
            case "insert":
                out[at:at] = draw(st.binary(min_size=1, max_size=30))
            case "cut":
                del out[at:]
    if draw(st.sampled_from([0, 1])):
        mend(out, blocks)
    return bytes(out)


def blocks_of(data: bytes) -> list[tuple[int, int]]:
    """Where the headers of a RAR archive begin, sum included, and end."""
    found = []
    if data.startswith(RAR5):
        at = len(RAR5)
        while at < len(data):
            size, start = number(data, at + 4)
            _, fields = number(data, start)
            flags, fields = number(data, fields)
            if flags & 1:
                _, fields = number(data, fields)
            more = number(data, fields)[0] if flags & 2 else 0
            found.append((at, start + size))
            at = start + size + more
    elif data.startswith(RAR4):
        at = len(RAR4)
        while at < len(data):
            flags, size = struct.unpack_from("<HH", data, at + 3)
            more = struct.unpack_from("<L", data, at + 7)[0] if flags & 0x8000 else 0
            found.append((at, at + size))
            at += size + more
    return found


def number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def mend(data: bytearray, blocks: list[tuple[int, int]]) -> None:
    """Make the headers' sums right, so that what is in them is believed."""
    for start, end in blocks:
        if end > len(data):
            return
        if data.startswith(RAR5):
            data[start : start + 4] = struct.pack("<L", zlib.crc32(data[start + 4 : end]))
        else:
            total = zlib.crc32(data[start + 2 : end]) & 0xFFFF
            data[start : start + 2] = struct.pack("<H", total)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=2_000 if SOAK else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(draw=st.data())
def test_broken_archives(kind: str, draw: st.DataObject, tmp_path: Path) -> None:
    (tmp_path / "x.eti").write_bytes(draw.draw(broken(kind)))
    go_through(tmp_path, open_archive)


@pytest.mark.parametrize("kind", ["rar4", "rar5"])
@settings(
    max_examples=2_000 if SOAK else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(draw=st.data())
def test_broken_archives_by_rarfile(kind: str, draw: st.DataObject, tmp_path: Path) -> None:
    """Its own parser is what is tried: the program gives nothing."""
    (tmp_path / "x.eti").write_bytes(draw.draw(broken(kind)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rarfile, "UNRAR_TOOL", "true")
        go_through(tmp_path, RarProgramArchive)


def go_through(folder: Path, opener: Callable[[Folder, str], Archive]) -> None:
    with DiskFileSystem().open_folder(str(folder)) as seam:
        try:
            with opener(seam, "x.eti") as archive:
                check_members(archive.members, archive.packed_bytes)
                archive.unpack(Memory(archive.members))  # which counts
        except (ArchiveError, UnsafePath):
            pass
    assert os.listdir(folder) == ["x.eti"]
