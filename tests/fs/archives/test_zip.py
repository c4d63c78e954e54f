"""Zip archives: what a member says, and what hostile ones cannot do."""

from __future__ import annotations

import io
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from lanspread import limits
from lanspread.fs.archives import (
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveUnsupported,
    MemberKind,
    check_members,
)
from lanspread.fs.paths import UnsafePath
from tests.fs.archives.making import zipped
from tests.fs.archives.support import SOME, Memory, opened, put, unpacked


def with_modes(*modes: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, mode in enumerate(modes):
            info = zipfile.ZipInfo(f"m{number}")
            info.create_system = 3
            info.external_attr = mode << 16
            archive.writestr(info, b"x" if not stat.S_ISDIR(mode) else b"")
    return out.getvalue()


def central(data: bytes, offset: int, patch: bytes, number: int = 0) -> bytes:
    """`patch` written into an entry of the list, `offset` bytes behind its signature."""
    at = -1
    for _ in range(number + 1):
        at = data.index(b"PK\x01\x02", at + 1)
    return data[: at + offset] + patch + data[at + offset + len(patch) :]


def local(data: bytes, offset: int, patch: bytes) -> bytes:
    at = data.index(b"PK\x03\x04")
    return data[: at + offset] + patch + data[at + offset + len(patch) :]


def test_what_a_member_says(tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": zipped({"sub/": b"", "sub/ünï": SOME, "stored": b"x"})})
    with opened(tmp_path) as archive:
        assert check_members(archive.members, archive.packed_bytes) == ("sub", "sub/ünï", "stored")
        assert [member.kind for member in archive.members][:2] == [
            MemberKind.FOLDER,
            MemberKind.FILE,
        ]
        assert archive.members[1].size == len(SOME)
        when = archive.members[1].mtime_ns
        assert when is not None
        assert abs(when / 1e9 - 1_709_209_800) < 86_400  # the machine's own time zone
        assert unpacked(archive) == {"sub/ünï": SOME, "stored": b"x"}


def test_modes(tmp_path: Path) -> None:
    modes = (0, 0o100644, 0o100755, 0o40755, 0o120777, 0o10644, 0o60644)
    put(tmp_path, {"x.eti": with_modes(*modes)})
    with opened(tmp_path) as archive:
        assert [member.kind for member in archive.members] == [
            MemberKind.FILE,
            MemberKind.FILE,
            MemberKind.FILE,
            MemberKind.FOLDER,
            MemberKind.LINK,
            MemberKind.OTHER,
            MemberKind.OTHER,
        ]
        assert [member.executable for member in archive.members][:3] == [False, False, True]
        assert list(unpacked(archive)) == ["m0", "m1", "m2"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil", "a\\b", "n\0l"])
def test_names_come_as_they_are_and_are_refused(name: str, tmp_path: Path) -> None:
    holder = "~" * len(name)
    data = zipped({holder: b"evil"}).replace(holder.encode(), name.encode())
    put(tmp_path, {"x.eti": data})
    with opened(tmp_path) as archive:
        assert archive.members[0].path == name
        with pytest.raises(UnsafePath):
            check_members(archive.members, archive.packed_bytes)
    assert os.listdir(tmp_path) == ["x.eti"]


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_encrypted(flag: int, tmp_path: Path) -> None:
    data = central(zipped({"open": b"x", "secret": SOME}), 8, struct.pack("<H", flag), 1)
    put(tmp_path, {"x.eti": data})
    with pytest.raises(ArchiveEncrypted), opened(tmp_path):
        pass


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 99])
def test_other_compressions_are_not_supported(method: int, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": central(zipped({"a": SOME}), 10, struct.pack("<H", method))})
    with pytest.raises(ArchiveUnsupported), opened(tmp_path):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_without_a_bound_are_not_supported(method: int, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": zipped({"a": SOME}, method)})
    with pytest.raises(ArchiveUnsupported), opened(tmp_path):
        pass


def test_an_honest_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    size = limits.ARCHIVE_BOMB_BYTES + 1
    bomb = zipped({"bomb": bytes(size)}, level=9)
    assert size / len(bomb) > limits.ARCHIVE_BOMB_RATIO
    put(tmp_path, {"x.eti": bomb})
    with opened(tmp_path) as archive, pytest.raises(ArchiveBomb):
        check_members(archive.members, archive.packed_bytes)


def test_many_names_for_the_same_bytes_are_a_bomb(tmp_path: Path) -> None:
    """As far as `zipfile` lets two members overlap at all, their sizes add up."""
    one = zipped({"a": bytes(10_000_000)}, level=9)
    at, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    entry = one[at:end]
    count = 1000
    closing = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, at, 0)
    put(tmp_path, {"x.eti": one[:at] + entry * count + closing})
    with opened(tmp_path) as archive, pytest.raises(ArchiveBomb):
        check_members(archive.members, archive.packed_bytes)


@pytest.mark.parametrize("declared", [0, 10, 20_000_000 - 1])
def test_a_bomb_that_lies_gets_no_more_than_it_declares(declared: int, tmp_path: Path) -> None:
    """1 : 10,000 with a small size in both headers, 20 MB behind them."""
    inner = zipped({"bomb": bytes(20_000_000)}, level=9)
    lying = central(local(inner, 22, struct.pack("<L", declared)), 24, struct.pack("<L", declared))
    put(tmp_path, {"x.eti": lying})
    with opened(tmp_path) as archive:
        check_members(archive.members, archive.packed_bytes)
        sink = Memory(archive.members)
        with pytest.raises(ArchiveDamaged):
            archive.unpack(sink)
        assert sink.complete == []
        assert sum(map(len, sink.files.values())) <= declared


@pytest.mark.parametrize("declared", [len(SOME) + 1, 1 << 31])
def test_shorter_than_declared_is_damage(declared: int, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": central(zipped({"a": SOME}), 24, struct.pack("<L", declared))})
    with opened(tmp_path) as archive, pytest.raises(ArchiveDamaged):
        unpacked(archive)


@pytest.mark.parametrize("offset", [16, 17])
def test_a_wrong_sum_is_damage(offset: int, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": central(zipped({"a": SOME}), offset, b"\x13")})
    with opened(tmp_path) as archive, pytest.raises(ArchiveDamaged):
        unpacked(archive)


def test_a_list_without_an_end_is_not_read(tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 18)
    count = limits.MAX_ARCHIVE_MEMBERS + 1
    closing = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) * count, 4, 0)
    put(tmp_path, {"x.eti": b"PK\x03\x04" + entry * count + closing})
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveUnsupported), opened(tmp_path):
            pass
        # The list itself and no objects made of it.
        assert tracemalloc.get_traced_memory()[1] < 3 * len(entry) * count
    finally:
        tracemalloc.stop()


def test_a_list_that_is_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"x.eti": zipped({f"{number:0100}": b"" for number in range(100)})})
    monkeypatch.setattr(limits, "MAX_ARCHIVE_INDEX_BYTES", 10_000)
    with pytest.raises(ArchiveUnsupported), opened(tmp_path):
        pass


def test_a_list_that_claims_to_be_longer_than_the_file(tmp_path: Path) -> None:
    data = zipped({"a": SOME})
    at = data.index(b"PK\x05\x06") + 12
    put(tmp_path, {"x.eti": data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]})
    with pytest.raises(ArchiveDamaged), opened(tmp_path):
        pass


def test_an_empty_one_holds_nothing(tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": zipped({})})
    with opened(tmp_path) as archive:
        assert list(archive.members) == []
        assert unpacked(archive) == {}
