"""The format is told by content; sets of volumes are opened once; what is not there is said."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path

import pytest

from lanspread.fs.archives import (
    ArchiveDamaged,
    ArchiveUnsupported,
    MemberKind,
    open_archive,
    open_archives,
    opening,
    sort_volumes,
)
from lanspread.fs.archives.rar_headers import HEAD_BYTES, Place, place_by_name, place_of
from lanspread.fs.disk import DiskFileSystem
from lanspread.testing.memory_files import MemoryFileSystem
from tests.fs.archives.making import (
    Put,
    rar4,
    rar4_with_encrypted_headers,
    rar5,
    rar5_with_encrypted_headers,
    tarred,
    zipped,
)
from tests.fs.archives.support import SOME, opened, put, unpacked

FILES = {"a/b.bin": SOME, "empty": b"", "ü": b"text"}
KINDS = {
    "rar5": rar5(*(Put(name=name, data=data) for name, data in FILES.items()))[0],
    "rar4": rar4(*(Put(name=name, data=data) for name, data in FILES.items()))[0],
    "zip": zipped(FILES),
    "tar": tarred(FILES),
    "gz": tarred(FILES, "gz"),
    "bz2": tarred(FILES, "bz2"),
    "xz": tarred(FILES, "xz"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x.eti", "x.zip", "x", "x.tar.gz", "ünï.part1.eti"])
def test_the_content_tells_the_format(kind: str, name: str, tmp_path: Path) -> None:
    put(tmp_path, {name: KINDS[kind]})
    with opened(tmp_path, name) as archive:
        assert [member.path for member in archive.members] == list(FILES)
        assert {member.kind for member in archive.members} == {MemberKind.FILE}
        assert archive.packed_bytes == len(KINDS[kind])
        assert list(archive.volumes) == [name]
        assert unpacked(archive) == FILES
        assert unpacked(archive) == FILES  # once more is another pass
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("rar")])
def test_zip_and_tar_are_read_through_the_seam(kind: str) -> None:
    files = MemoryFileSystem()
    files.make_folders("/games/x")
    with files.open_folder("/games/x") as folder:
        with folder.open("x.eti", "create") as file:
            file.write_at(KINDS[kind], 0)
        with open_archive(folder, "x.eti") as archive:
            assert unpacked(archive) == FILES


@pytest.mark.parametrize("kind", ["rar4", "rar5"])
def test_rar_is_read_from_disks_only(kind: str) -> None:
    files = MemoryFileSystem()
    files.make_folders("/games/x")
    with files.open_folder("/games/x") as folder:
        with folder.open("x.eti", "create") as file:
            file.write_at(KINDS[kind], 0)
        with pytest.raises(ArchiveUnsupported):
            open_archive(folder, "x.eti")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ArchiveDamaged),
        (bytes(5000), ArchiveDamaged),
        (b"MZ" + bytes(5000), ArchiveUnsupported),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), ArchiveUnsupported),
        (b"text " * 1000, ArchiveUnsupported),
        (gzip.compress(b"no tar " * 1000), ArchiveUnsupported),
        (bz2.compress(b""), ArchiveUnsupported),
    ],
)
def test_what_is_no_archive_is_said(data: bytes, error: type[Exception], tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": data})
    with pytest.raises(error), opened(tmp_path):
        pass


def test_without_a_reader_rar_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, {"x.eti": KINDS["rar5"]})
    monkeypatch.setattr(opening, "_installed", lambda package: False)
    with pytest.raises(ArchiveUnsupported) as caught, opened(tmp_path):
        pass
    assert "lanspread[rar]" in caught.value.remedy


@pytest.mark.parametrize("link", [True, False])
def test_what_is_no_regular_file_is_no_archive(link: bool, tmp_path: Path) -> None:
    put(tmp_path, {"real": KINDS["rar5"]})
    if link:
        (tmp_path / "x.eti").symlink_to("real")
    else:
        (tmp_path / "x.eti").mkdir()
    with pytest.raises(OSError, match=r"."), opened(tmp_path):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_open(kind: str, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": KINDS[kind], "bad.eti": KINDS[kind][: len(KINDS[kind]) * 2 // 3]})
    before = len(os.listdir("/proc/self/fd"))
    with opened(tmp_path) as archive:
        unpacked(archive)
    with pytest.raises(ArchiveDamaged), opened(tmp_path, "bad.eti") as archive:
        unpacked(archive)
    assert len(os.listdir("/proc/self/fd")) == before


class Full(Exception):
    """What a disk says."""


class Refusing:
    def __init__(self, when: str) -> None:
        self.when = when

    def begin(self, number: int) -> None:
        self._maybe("begin")

    def data(self, chunk: bytes | memoryview) -> None:
        self._maybe("data")

    def end(self) -> None:
        self._maybe("end")

    def _maybe(self, what: str) -> None:
        if what == self.when:
            raise Full


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["begin", "data", "end"])
def test_what_the_sink_raises_comes_out(kind: str, when: str, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": KINDS[kind]})
    with opened(tmp_path) as archive:
        with pytest.raises(Full):
            archive.unpack(Refusing(when))
        assert unpacked(archive) == FILES


def volumes(made: list[bytes], name: str = "v") -> dict[str, bytes]:
    return {f"{name}.part{number}.eti": data for number, data in enumerate(made, 1)}


@pytest.mark.parametrize("make", [rar4, rar5])
def test_each_set_is_opened_once(make: type, tmp_path: Path) -> None:
    parts = volumes(make(Put(name="big", data=SOME), Put(name="small"), volume_bytes=2000))
    put(tmp_path, {**parts, "a.eti": KINDS["zip"], "z.eti": KINDS["rar5"]})
    names = sorted([*parts, "a.eti", "z.eti"])
    with DiskFileSystem().open_folder(str(tmp_path)) as folder:
        assert sort_volumes(folder, names) == (
            ("a.eti", "v.part1.eti", "z.eti"),
            ("v.part2.eti", "v.part3.eti"),
        )
        with open_archives(folder, names) as archives:
            assert [list(archive.volumes) for archive in archives] == [
                ["a.eti"],
                ["v.part1.eti", "v.part2.eti", "v.part3.eti"],
                ["z.eti"],
            ]
            assert unpacked(archives[1]) == {"big": SOME, "small": b""}


@pytest.mark.parametrize("make", [rar4, rar5])
def test_a_set_without_its_beginning_is_damaged(make: type, tmp_path: Path) -> None:
    parts = volumes(make(Put(name="big", data=SOME), volume_bytes=2000))
    del parts["v.part1.eti"]
    put(tmp_path, {**parts, "a.eti": KINDS["zip"]})
    with DiskFileSystem().open_folder(str(tmp_path)) as folder:
        with (
            pytest.raises(ArchiveDamaged, match=r"v\.part2\.eti"),
            open_archives(folder, ["a.eti", *parts]),
        ):
            pass
        with pytest.raises(ArchiveDamaged, match="first volume"):
            open_archive(folder, "v.part2.eti")


def test_places_by_header() -> None:
    for make in (rar4, rar5):
        single = make(Put(name="x"))
        made = make(Put(name="x", data=SOME), volume_bytes=2000)
        places = [place_of(data[:HEAD_BYTES]) for data in [*single, *made]]
        assert places == [Place.FIRST, Place.FIRST, Place.LATER, Place.LATER]
        for cut in range(len(made[1])):
            assert place_of(made[1][:cut]) is not Place.FIRST or cut < 8
    assert place_of(rar5_with_encrypted_headers()) is Place.UNKNOWN
    assert place_of(rar4_with_encrypted_headers()) is Place.FIRST
    assert place_of(KINDS["zip"]) is Place.FIRST
    # RAR 2 had no mark of a first volume.
    old = rar4(Put(name="x", data=SOME), volume_bytes=2000, old_names=True)
    assert [place_of(data) for data in old] == [Place.FIRST, Place.UNKNOWN, Place.UNKNOWN]
    assert place_of(b"Rar!\x1a\x07\x01\x00" + b"\xff" * 100) is Place.UNKNOWN


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("x.part1.eti", Place.FIRST),
        ("x.part01.eti", Place.FIRST),
        ("X.PART2.eti", Place.LATER),
        ("x.part002.eti", Place.LATER),
        ("y.part2.eti", Place.UNKNOWN),
        ("x.part0.eti", Place.UNKNOWN),
        ("x.eti", Place.FIRST),
        ("part2.eti", Place.FIRST),
    ],
)
def test_places_by_name(name: str, place: Place) -> None:
    names = ["x.part1.eti", name]
    assert place_by_name(name, names) is place
