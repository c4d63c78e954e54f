"""RAR of both formats, made here and by real packers, by the library and by the program."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import rarfile

from lanspread.fs.archives import (
    Archive,
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveUnsupported,
    MemberKind,
    check_members,
    opening,
)
from lanspread.fs.paths import UnsafePath
from tests.fs.archives.making import (
    RAR4,
    RAR5,
    UNIX_LINK,
    Put,
    block4,
    block5,
    rar4,
    rar4_with_encrypted_headers,
    rar5,
    rar5_with_encrypted_headers,
    vint,
)
from tests.fs.archives.support import SAMPLES, SOME, opened, put, unpacked

ROOT = Path(__file__).parents[3]
MAKERS = pytest.mark.parametrize("make", [rar4, rar5])


@pytest.fixture(params=["library", "program"])
def reader(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """With "program", everything goes through rarfile and a stand-in for `unrar`."""
    if request.param == "program":
        program = tmp_path_factory.mktemp("bin") / "unrar"
        fake = Path(__file__).with_name("fake_unrar.py")
        # Whether it is there is asked for every archive: that needs no Python.
        program.write_text(
            f"""#!/bin/sh
[ "$1" = -inul ] && exit 0
PYTHONPATH="{ROOT}" exec "{sys.executable}" "{fake}" "$@"
"""
        )
        program.chmod(0o755)
        monkeypatch.setattr(rarfile, "UNRAR_TOOL", str(program))
        monkeypatch.setattr(opening, "_installed", lambda package: package == "rarfile")
    return str(request.param)


def sample(folder: Path, name: str) -> None:
    shutil.copy(SAMPLES / f"{name}.rar", folder / "x.eti")


def check(archive: Archive) -> tuple[str, ...]:
    return check_members(archive.members, archive.packed_bytes)


@MAKERS
def test_what_a_member_says(make: type, reader: str, tmp_path: Path) -> None:
    made = make(
        Put(name="sub/ünï", data=SOME),
        Put(name="sub", folder=True, mode=0o40755),
        Put(name="run", data=b"#!", mode=0o100755),
        Put(name="empty"),
    )
    put(tmp_path, {"x.eti": made[0]})
    with opened(tmp_path) as archive:
        assert check(archive) == ("sub/ünï", "sub", "run", "empty")
        kinds = [member.kind for member in archive.members]
        assert kinds == [MemberKind.FILE, MemberKind.FOLDER, MemberKind.FILE, MemberKind.FILE]
        assert [member.size for member in archive.members] == [len(SOME), 0, 2, 0]
        assert [archive.members[number].executable for number in (0, 2)] == [False, True]
        # RAR 4 has local time, to two seconds.
        when = archive.members[0].mtime_ns
        assert when is not None
        assert abs(when / 1e9 - 1_700_000_000) < (1 if make is rar5 else 86_400)
        assert unpacked(archive) == {"sub/ünï": SOME, "run": b"#!", "empty": b""}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("rar3-solid", ["stest1.txt", "stest2.txt"]),
        ("rar5-solid", ["stest1.txt", "stest2.txt"]),
        ("rar5-crc", ["stest1.txt", "stest2.txt"]),
        ("rar5-blake", ["stest1.txt", "stest2.txt"]),
    ],
)
def test_compressed_samples(name: str, files: list[str], reader: str, tmp_path: Path) -> None:
    sample(tmp_path, name)
    with opened(tmp_path) as archive:
        assert list(check(archive)) == files
        got = unpacked(archive)
        assert [len(data) for data in got.values()] == [2048, 2048]
        assert got["stest1.txt"] == got["stest2.txt"]
        assert got["stest1.txt"].isascii()


@pytest.mark.parametrize("name", ["rar3-subdirs", "rar5-subdirs"])
def test_samples_with_folders(name: str, reader: str, tmp_path: Path) -> None:
    sample(tmp_path, name)
    with opened(tmp_path) as archive:
        assert set(check(archive)) > {"sub/üȵĩöḋè/file.txt", "sub/empty", "sub/with space"}
        assert unpacked(archive)["sub/dir1/file1.txt"] == b"file1\n"


def test_names_whose_characters_came_apart(tmp_path: Path) -> None:
    sample(tmp_path, "unicode2")
    with opened(tmp_path) as archive:
        assert check(archive) == ("𝐀𝐁𝐁𝐂.txt", "уииоотивл.txt")


@pytest.mark.parametrize("name", ["rar3-comment-hpsw", "rar5-hpsw", "rar3-comment-psw", "rar5-psw"])
def test_encrypted_samples(name: str, reader: str, tmp_path: Path) -> None:
    sample(tmp_path, name)
    with pytest.raises(ArchiveEncrypted), opened(tmp_path):
        pass


@pytest.mark.parametrize(
    "data",
    [
        rar5_with_encrypted_headers(),
        rar4_with_encrypted_headers(),
        rar5(Put(name="open"), Put(name="secret", data=SOME, encrypted=True))[0],
        rar4(Put(name="open"), Put(name="secret", data=SOME, encrypted=True))[0],
    ],
)
def test_encrypted_ones_made_here(data: bytes, reader: str, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": data})
    with pytest.raises(ArchiveEncrypted), opened(tmp_path):
        pass


@pytest.mark.parametrize("name", ["rar3-symlink-unix", "rar5-symlink-win", "rar5-hlink"])
def test_samples_with_links(name: str, reader: str, tmp_path: Path) -> None:
    sample(tmp_path, name)
    with opened(tmp_path) as archive:
        assert MemberKind.LINK in [member.kind for member in archive.members]
        with pytest.raises(UnsafePath):
            check(archive)
        unpacked(archive)  # gives the files only


def test_copies_by_reference_are_said(reader: str, tmp_path: Path) -> None:
    sample(tmp_path, "rar5-dups")
    with pytest.raises(ArchiveUnsupported, match="only once") as caught, opened(tmp_path):
        pass
    assert "-oi" in caught.value.remedy


LINKS = [
    *(rar5(Put(name="x", link=kind))[0] for kind in (1, 2, 3, 4)),
    rar5(Put(name="x", mode=UNIX_LINK, data=b"/etc/passwd"))[0],
    rar4(Put(name="x", mode=UNIX_LINK, data=b"/etc/passwd"))[0],
    *(rar5(Put(name="x", mode=kind | 0o644))[0] for kind in (0o10000, 0o20000, 0o60000)),
    rar4(Put(name="x", mode=0o10644))[0],
]


@pytest.mark.parametrize("data", LINKS)
def test_refuses_links_and_devices(data: bytes, reader: str, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": data})
    with opened(tmp_path) as archive:
        with pytest.raises(UnsafePath):
            check(archive)
        assert unpacked(archive) == {}


@MAKERS
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/evil",
        "a/../../evil",
        "C:/evil",
        "C:\\evil",
        "..\\evil",
        "\\evil",
        ".lanspread_owned",
        "nul",
        "x" * 241,
        "/".join(["x" * 200] * 6),
    ],
)
def test_refuses_names(make: type, name: str, reader: str, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": make(Put(name="good"), Put(name=name, data=b"evil"))[0]})
    try:
        with opened(tmp_path) as archive, pytest.raises(UnsafePath):
            check(archive)
    except (ArchiveUnsupported, ArchiveDamaged):
        assert len(name) > 1000
    assert os.listdir(tmp_path) == ["x.eti"]


@MAKERS
@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\xf7\xbf\xbf\xbf", b"a\0b"]
)
def test_names_that_are_no_text_are_damage_or_some_name(
    make: type, name: bytes, reader: str, tmp_path: Path
) -> None:
    put(tmp_path, {"x.eti": make(Put(name=name, data=SOME))[0]})
    try:
        with opened(tmp_path) as archive:
            assert len(archive.members[0].path) <= 5
            assert list(unpacked(archive).values()) == [SOME]
            check(archive)
    except (ArchiveDamaged, UnsafePath):
        pass


@MAKERS
@pytest.mark.parametrize(
    "wrong",
    [{"crc": 1}, {"size": len(SOME) - 1}, {"size": len(SOME) + 1}, {"size": 1 << 40}, {"size": 0}],
)
def test_wrong_sums_and_sizes_are_damage(
    make: type, wrong: dict[str, int], reader: str, tmp_path: Path
) -> None:
    size = min(wrong.get("size", len(SOME)), 0xFFFFFFFE if make is rar4 else 1 << 40)
    bad = Put(name="x", data=SOME, size=size, crc=wrong.get("crc"))
    put(tmp_path, {"x.eti": make(Put(name="a"), bad)[0]})
    with pytest.raises(ArchiveDamaged), opened(tmp_path) as archive:
        unpacked(archive)


def test_a_size_that_nobody_knows(tmp_path: Path) -> None:
    header = vint(2) + vint(2) + vint(4) + vint(0x0C) + vint(0) + vint(0o100644)
    header += b"sum!" + vint(0) + vint(1) + vint(1) + b"x"
    put(tmp_path, {"x.eti": RAR5 + block5(vint(1) + vint(0) + vint(0)) + block5(header) + b"data"})
    with pytest.raises(ArchiveUnsupported, match="how large"), opened(tmp_path):
        pass


@pytest.mark.parametrize("dictionary", [14, 15])
def test_a_dictionary_that_is_too_large(dictionary: int, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": rar5(Put(name="x", data=SOME, dictionary=dictionary))[0]})
    with pytest.raises(ArchiveUnsupported, match="memory"), opened(tmp_path):
        pass


@pytest.mark.parametrize(
    "data",
    [
        RAR5 + block5(vint(1) + vint(0) + vint(0)) + b"\0\0\0\0" + b"\xff" * 9 + b"\x01",
        RAR5 + block5(vint(2) + vint(3) + vint(1 << 62) + vint(1 << 62) + vint(4)),
        RAR4 + block4(0x73, 0, bytes(6)) + b"\0\0\x74\0\x80\xff\xff" + b"\xff" * 25,
        RAR5,
        RAR4,
    ],
)
def test_absurd_headers_are_damage(data: bytes, reader: str, tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": data})
    with pytest.raises(ArchiveDamaged), opened(tmp_path) as archive:
        unpacked(archive)


def test_a_cut_between_two_files_is_seen(reader: str, tmp_path: Path) -> None:
    whole = rar5(Put(name="a", data=SOME), Put(name="b", data=SOME))[0]
    put(tmp_path, {"x.eti": rar5(Put(name="a", data=SOME), end=False)[0]})
    with pytest.raises(ArchiveDamaged), opened(tmp_path):
        pass
    put(tmp_path, {"x.eti": whole + b"what is behind the end" * 10})
    with opened(tmp_path) as archive:
        assert list(unpacked(archive)) == ["a", "b"]


def volumes(made: list[bytes], name: str = "x") -> dict[str, bytes]:
    return {f"{name}.part{number}.eti": data for number, data in enumerate(made, 1)}


@MAKERS
def test_volumes(make: type, reader: str, tmp_path: Path) -> None:
    files = [Put(name=f"f{number}", data=SOME[: 1000 * number]) for number in range(1, 5)]
    made = volumes(make(*files, volume_bytes=3000))
    assert len(made) == 4
    put(tmp_path, made)
    with opened(tmp_path, "x.part1.eti") as archive:
        assert list(archive.volumes) == list(made)
        assert archive.packed_bytes == sum(len(data) for data in made.values())
        assert unpacked(archive) == {file.raw_name.decode(): file.data for file in files}


@MAKERS
def test_a_missing_volume_is_named(make: type, tmp_path: Path) -> None:
    made = volumes(make(Put(name="big", data=SOME), volume_bytes=2000))
    put(tmp_path, made)
    (tmp_path / "x.part1.rev").write_bytes(b"no recovery volume")
    (tmp_path / "x.part3.eti").unlink()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ArchiveDamaged, match=r"x\.part3\.eti"), opened(tmp_path, "x.part1.eti"):
        pass
    (tmp_path / "x.part2.eti").unlink()
    before.remove("x.part2.eti")
    with pytest.raises(ArchiveDamaged, match=r"x\.part2\.eti"), opened(tmp_path, "x.part1.eti"):
        pass
    assert sorted(os.listdir(tmp_path)) == before


@MAKERS
def test_a_volume_that_goes_while_unpacking(make: type, tmp_path: Path) -> None:
    made = volumes(make(Put(name="big", data=SOME), volume_bytes=2000))
    put(tmp_path, made)
    with opened(tmp_path, "x.part1.eti") as archive:
        (tmp_path / "x.part3.eti").unlink()
        with pytest.raises(ArchiveDamaged, match=r"x\.part3\.eti"):
            unpacked(archive)


@MAKERS
@pytest.mark.parametrize("link", [True, False])
def test_volumes_are_regular_files_of_the_folder(
    make: type, link: bool, reader: str, tmp_path: Path
) -> None:
    made = volumes(make(Put(name="big", data=SOME), volume_bytes=2000))
    (tmp_path / "game").mkdir()
    put(tmp_path / "game", made)
    (tmp_path / "game/x.part2.eti").rename(tmp_path / "outside")
    if link:
        (tmp_path / "game/x.part2.eti").symlink_to(tmp_path / "outside")
    else:
        (tmp_path / "game/x.part2.eti").mkdir()
    with pytest.raises(ArchiveDamaged), opened(tmp_path / "game", "x.part1.eti"):
        pass


@pytest.mark.parametrize("letter", ["e", "r"])
def test_volumes_with_old_names(letter: str, tmp_path: Path) -> None:
    made = rar4(Put(name="big", data=SOME), volume_bytes=2000, old_names=True)
    names = ["x.eti", f"x.{letter}00", f"x.{letter}01"]
    put(tmp_path, dict(zip(names, made, strict=True)))
    with opened(tmp_path) as archive:
        assert list(archive.volumes) == names
        assert unpacked(archive) == {"big": SOME}


@MAKERS
def test_a_volume_that_was_left_out(make: type, reader: str, tmp_path: Path) -> None:
    made = make(Put(name="big", data=SOME * 2), volume_bytes=2000)
    put(tmp_path, {"x.part1.eti": made[0], "x.part2.eti": made[2], "x.part3.eti": made[4]})
    with pytest.raises(ArchiveDamaged), opened(tmp_path, "x.part1.eti") as archive:
        unpacked(archive)


def test_what_changes_between_listing_and_unpacking_is_damage(tmp_path: Path) -> None:
    put(tmp_path, {"x.eti": rar5(Put(name="a", data=SOME), Put(name="b"))[0]})
    with opened(tmp_path) as archive:
        put(tmp_path, {"x.eti": rar5(Put(name="../a", data=SOME), Put(name="b"))[0]})
        with pytest.raises(ArchiveDamaged, match="changed"):
            unpacked(archive)
        put(tmp_path, {"x.eti": rar5(Put(name="a", data=SOME))[0]})
        with pytest.raises(ArchiveDamaged, match="changed"):
            unpacked(archive)


def test_without_the_program_rarfile_is_no_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rarfile, "UNRAR_TOOL", str(tmp_path / "no such program"))
    monkeypatch.setattr(opening, "_installed", lambda package: package == "rarfile")
    put(tmp_path, {"x.eti": rar5(Put(name="a", data=SOME))[0]})
    with pytest.raises(ArchiveUnsupported) as caught, opened(tmp_path):
        pass
    assert "lanspread[rar]" in caught.value.remedy
