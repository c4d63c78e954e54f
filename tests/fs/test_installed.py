"""What a walk learns of what is installed, and of a download that is not finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.install.names import RECORD
from lanspread.fs.install.record import InstalledFile, InstallRecord, encode_install_record
from lanspread.fs.installed import installed_version
from lanspread.fs.scan import scan_game
from lanspread.testing.memory_files import MemoryFileSystem
from tests.fs.support import open_folder, write_tree


def record(version: object, **more: object) -> bytes:
    return json.dumps({"format": 1, "version": version, "files": [], **more}).encode()


def version_in(data: bytes) -> str | None:
    files = MemoryFileSystem()
    files.write_file(f"/game/{RECORD}", data)
    with files.open_folder("/game") as folder:
        return installed_version(folder)


@pytest.mark.parametrize("version", ["1.10", "", "Ünï", 'a "b" \\ c'])
def test_the_version_of_the_record_whatever_follows_it(version: str) -> None:
    files = [[f"data/{number}", number, "00" * 32] for number in range(1_000)]
    assert version_in(record(version, files=files)) == version


def test_what_an_install_writes_is_read(tmp_path: Path) -> None:
    files = {f"data/{number}": InstalledFile(number, bytes(32)) for number in range(1_000)}
    assert version_in(encode_install_record(InstallRecord('1 "x" ü', files))) == '1 "x" ü'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 5_000,
        record(1),
        record(None),
        record(["1"]),
        record("two\nlines"),
        record("\x1b[2J"),
        record("\ud800"),
        record("9" * 70),
        record("9" * 5_000),
        b'{"format":2,"version":"1","files":[]}',
        b'{"format":1,"version":"1',
        b'{"format":1,"version":"\\q"}',
    ],
)
def test_anything_else_is_not_known(data: bytes) -> None:
    assert version_in(data) is None


@given(st.binary(max_size=60))
def test_no_bytes_can_make_it_fail(tail: bytes) -> None:
    found = version_in(b'{"format":1,"version":"' + tail)
    assert found is None or found.isprintable()


def test_no_record_a_folder_in_its_place_and_a_link_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_bytes(record("6"))
    with open_folder(tmp_path) as folder:
        assert installed_version(folder) is None
        (tmp_path / RECORD).mkdir(parents=True)
        assert installed_version(folder) is None
        (tmp_path / RECORD).rmdir()
        (tmp_path / RECORD).symlink_to(tmp_path / "elsewhere.json")
        assert installed_version(folder) is None


def test_a_walk_tells_it_only_of_a_game_that_is_installed(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"version.ini": b"2", RECORD: record("1")})
    with open_folder(tmp_path) as games:
        before = scan_game(games, "g")
        assert (before.installed, before.installed_version) == (False, None)
        (tmp_path / "g/local").mkdir()
        after = scan_game(games, "g")
        assert (after.installed, after.installed_version) == (True, "1")


def test_unfinished_is_our_folder_without_a_sentinel(tmp_path: Path) -> None:
    write_tree(tmp_path / "g", {"data.eti": b"x"})
    with open_folder(tmp_path) as games:
        assert not scan_game(games, "g").unfinished
        write_tree(tmp_path / "g", {".lanspread/plan.json": b"{}"})
        assert scan_game(games, "g").unfinished
        write_tree(tmp_path / "g", {"version.ini": b"1"})
        assert not scan_game(games, "g").unfinished
        # Below the root, or not a folder, it is not ours.
        write_tree(tmp_path / "h", {"sub/.lanspread/x": b"", ".lanspread": b""})
        assert not scan_game(games, "h").unfinished
