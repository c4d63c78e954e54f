"""Tar archives, compressed or not: what a member says, and what hostile ones cannot do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from lanspread import limits
from lanspread.fs.archives import (
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveUnsupported,
    MemberKind,
    check_members,
    open_archive,
)
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.errors import Stopped
from lanspread.fs.paths import UnsafePath
from tests.fs.archives.making import tarred
from tests.fs.archives.support import SOME, opened, put, unpacked
from tests.fs.install.support import Counter

END = bytes(1024)
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}
EVERY = pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)


def header(
    name: str = "x", kind: bytes = tarfile.REGTYPE, size: int = 0, mode: int = 0o644
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, size, mode
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(*records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    data = b"".join(records)
    return header("pax", kind, len(data)) + padded(data)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body)
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


@EVERY
@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_a_member_says(
    compress: Callable[[bytes], bytes], format_: int, tmp_path: Path
) -> None:
    long = "deep/" * 30 + "ünï"
    files = {"sub/": b"", "sub/a": SOME, long: b"long name", "empty": b""}
    put(tmp_path, {"x.eti": compress(tarred(files, format=format_))})
    with opened(tmp_path) as archive:
        safe = check_members(archive.members, archive.packed_bytes)
        assert safe == ("sub", "sub/a", long, "empty")
        assert [member.kind for member in archive.members][:2] == [
            MemberKind.FOLDER,
            MemberKind.FILE,
        ]
        assert archive.members[1].mtime_ns == 1_700_000_000_000_000_000
        assert unpacked(archive) == {"sub/a": SOME, long: b"long name", "empty": b""}


def test_modes_and_kinds(tmp_path: Path) -> None:
    kinds = [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        b"M",
        b"~",
    ]
    blocks = [header("run", mode=0o755), *(header("m", kind) for kind in kinds)]
    put(tmp_path, {"x.eti": b"".join([*blocks, END])})
    with opened(tmp_path) as archive:
        assert archive.members[0].executable
        found = [member.kind for member in archive.members[1:]]
        assert found == [MemberKind.LINK] * 2 + [MemberKind.OTHER] * 5
        for number in range(1, len(blocks)):
            with pytest.raises(UnsafePath):
                check_members([archive.members[number]], 1)
        assert list(unpacked(archive)) == ["run"]


def test_what_tar_makes_of_the_folder_itself(tmp_path: Path) -> None:
    blocks = [header("./", tarfile.DIRTYPE), header("./sub/", tarfile.DIRTYPE), header("./sub/a")]
    put(tmp_path, {"x.eti": b"".join([*blocks, END])})
    with opened(tmp_path) as archive:
        assert check_members(archive.members, 1) == ("sub", "sub/a")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "a\\b", "./../x"])
def test_names_come_as_they_are_and_are_refused(name: str, tmp_path: Path) -> None:
    for data in (header(name), pax(record("path", name)) + header("good")):
        put(tmp_path, {"x.eti": data + END})
        with opened(tmp_path) as archive, pytest.raises(UnsafePath):
            check_members(archive.members, archive.packed_bytes)


def test_extended_headers(tmp_path: Path) -> None:
    extended = pax(
        record("path", "ünï"),
        record("size", "3"),
        record("mtime", "1700000000.123456789123"),
        record("comment", "a=b\nc"),
    )
    data = pax(record("path", "all"), kind=tarfile.XGLTYPE) + extended + header("x", size=7)
    put(tmp_path, {"x.eti": data + padded(b"abc") + header("y") + END})
    with opened(tmp_path) as archive:
        assert [member.path for member in archive.members] == ["ünï", "y"]
        assert archive.members[0].mtime_ns == 1_700_000_000_123_456_789
        assert unpacked(archive) == {"ünï": b"abc", "y": b""}


@pytest.mark.parametrize(
    "bad",
    [
        b"no length\n",
        b"5 a=b\n",
        b"99 a=b\n",
        b"0 a=b\n",
        b"6 ab\n\n",
        b"1" * 3000,
        record("size", "-1"),
        record("size", "9" * 5000),
        record("size", "\u0663"),
    ],
)
def test_bad_extended_headers_are_damage(bad: bytes, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": pax(bad) + header("x") + END})
    with pytest.raises(ArchiveDamaged), opened(tmp_path):
        pass


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
)
def test_huge_extended_headers_are_not_read(kind: bytes, tmp_path: Path) -> None:
    body = bytes(30_000_000)
    put(tmp_path, {"x.eti": gzip.compress(header("x", kind, len(body)) + body + END)})
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveUnsupported), opened(tmp_path):
            pass
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_many_extended_headers_for_one_member_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": pax(record("path", "x")) * 5000 + header("x") + END})
    with pytest.raises(ArchiveUnsupported), opened(tmp_path):
        pass


def test_holes_are_not_supported(tmp_path: Path) -> None:
    for data in (
        header("x", tarfile.GNUTYPE_SPARSE),
        pax(record("GNU.sparse.major", "1")) + header("x"),
    ):
        put(tmp_path, {"x.eti": data + END})
        with pytest.raises(ArchiveUnsupported, match="holes"), opened(tmp_path):
            pass


@EVERY
def test_a_member_that_claims_more_than_there_is(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    for size in (600, 7_000_000_000):
        put(tmp_path, {"x.eti": compress(header("x", size=size) + bytes(512))})
        with pytest.raises((ArchiveDamaged, ArchiveBomb)), opened(tmp_path):
            pass


@pytest.mark.parametrize("size", [-1, 1 << 60, (1 << 87) - 1])
def test_absurd_sizes(size: int, tmp_path: Path) -> None:
    data = bytearray(header("x"))
    data[124:136] = (size if size >= 0 else (1 << 96) + size).to_bytes(12, "big")
    data[124] |= 0x80
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    put(tmp_path, {"x.eti": bytes(data) + END})
    with pytest.raises((ArchiveDamaged, ArchiveBomb)), opened(tmp_path):
        pass


@EVERY
def test_every_cut_is_seen(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = tarred({"a": SOME, "b": b"x" * 600})
    data = compress(whole[: whole.rindex(b"x") + 1500])
    step = max(1, len(data) // 60)
    for cut in (*range(0, len(data) - 1024, step), *range(0, len(data) - 1024, 512)):
        put(tmp_path, {"x.eti": data[:cut]})
        with pytest.raises((ArchiveDamaged, ArchiveUnsupported)), opened(tmp_path) as archive:
            unpacked(archive)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_the_sum_of_a_compressed_one_is_checked_before_anything_is_unpacked(
    kind: str, tmp_path: Path
) -> None:
    data = bytearray(tarred({"a": SOME * 50}, kind))
    data[{"gz": -5, "bz2": -3, "xz": -40}[kind]] ^= 0x10
    put(tmp_path, {"x.eti": bytes(data)})
    with pytest.raises(ArchiveDamaged), opened(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_bomb_is_left_as_soon_as_it_shows(kind: str, tmp_path: Path) -> None:
    # What it claims is not even there: nobody looked.
    start = header("bomb", size=10 * limits.ARCHIVE_BOMB_BYTES) + bytes(2_000_000)
    put(tmp_path, {"x.eti": COMPRESSIONS[kind](start)})
    with pytest.raises(ArchiveBomb), opened(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_many_zeros_after_the_end_are_passed_over(kind: str, tmp_path: Path) -> None:
    """More than are read at once; another stream may follow."""
    first, second = header("x") + bytes(100), bytes(412) + END
    packed = [COMPRESSIONS[kind](part) for part in (first, second)]
    put(tmp_path, {"x.eti": packed[0] + bytes(200_000) + packed[1] + bytes(200_000)})
    with opened(tmp_path) as archive:
        assert [member.path for member in archive.members] == ["x"]


def test_what_follows_the_end_is_bounded(tmp_path: Path) -> None:
    good = header("x") + END
    put(tmp_path, {"x.eti": gzip.compress(good + bytes(1_000_000)) + bytes(100)})
    with opened(tmp_path) as archive:
        assert list(unpacked(archive)) == ["x"]
    put(tmp_path, {"x.eti": gzip.compress(good + bytes(9 * limits.MIB))})
    with pytest.raises(ArchiveDamaged, match="after its end"), opened(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_several_streams_are_one_file(kind: str, tmp_path: Path) -> None:
    whole = tarred({"a": SOME, "b": b"x" * 600})
    compress = COMPRESSIONS[kind]
    data = b"".join(compress(whole[at : at + 700]) for at in range(0, len(whole), 700))
    put(tmp_path, {"x.eti": data})
    with opened(tmp_path) as archive:
        assert unpacked(archive) == {"a": SOME, "b": b"x" * 600}


def test_xz_that_needs_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 8 * limits.MIB}]
    put(tmp_path, {"x.eti": lzma.compress(tarred({"a": SOME}), filters=filters)})
    with opened(tmp_path) as archive:
        assert unpacked(archive) == {"a": SOME}
    monkeypatch.setattr(limits, "MAX_ARCHIVE_DICTIONARY_BYTES", 4 * limits.MIB)
    with pytest.raises(ArchiveUnsupported, match="memory"), opened(tmp_path):
        pass


def test_what_changes_between_listing_and_unpacking_is_damage(tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": header("a") + header("b") + END})
    with opened(tmp_path) as archive:
        for changed in (header("a") + END + END, header("a") + header("../b") + END):
            with io.FileIO(tmp_path / "x.eti", "r+") as file:
                file.write(changed)
            with pytest.raises(ArchiveDamaged):
                unpacked(archive)


def test_the_older_header_without_a_signature(tmp_path: Path) -> None:
    data = bytearray(header("x", size=2))
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    put(tmp_path, {"x.eti": bytes(data) + padded(b"hi") + END})
    with opened(tmp_path) as archive:
        assert unpacked(archive) == {"x": b"hi"}
    assert struct.calcsize("512s") == len(data)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_listing_a_large_one_can_be_stopped(kind: str, tmp_path: Path) -> None:
    """Wherever it is: in the members, in what they hold, in what follows the end."""
    parts = {
        "members": b"".join(header(f"{number}") for number in range(500)) + END,
        "content": tarred({"a": bytes(5_000_000)}),
        "after": header("x") + END,
    }
    for part, data in parts.items():
        packed = COMPRESSIONS[kind](data) + bytes(5_000_000 if part == "after" else 0)
        put(tmp_path, {f"{part}.eti": packed})
        with DiskFileSystem().open_folder(str(tmp_path)) as folder:
            counted = Counter()
            open_archive(folder, f"{part}.eti", counted).close()
            assert counted.steps >= 8
            for stop_at in (0, 1, counted.steps // 2, counted.steps - 1):
                with pytest.raises(Stopped):
                    open_archive(folder, f"{part}.eti", Counter(stop_at=stop_at))


def test_unpacking_can_be_stopped_between_what_is_unpacked(tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": gzip.compress(tarred({"a": SOME}))})
    watch = Counter()
    with (
        DiskFileSystem().open_folder(str(tmp_path)) as folder,
        open_archive(folder, "x.eti", watch) as archive,
    ):
        watch.stop_at = watch.steps
        with pytest.raises(Stopped):
            unpacked(archive)
