"""The index is a cache: whatever happens to its file, nobody fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.index import INDEX_FILE, SqliteIndex, _decode, open_index
from lanspread.seams import FileStamp

DIGESTS = {
    FileStamp("a/ü", 5000, 1_700_000_000_000_000_001, 2**64 - 1): (b"\x01" * 32, b"\x02" * 32),
    FileStamp("empty", 0, -1, 7): (),
}


def opened(tmp_path: Path, games: str = "/games") -> SqliteIndex:
    return open_index(str(tmp_path), games)


def test_remembers(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.store_digests("g", 4096, DIGESTS)
    index.close()
    index = opened(tmp_path)
    assert index.load_digests("g", 4096) == DIGESTS
    assert index.load_digests("g", 1024) == {}
    assert index.load_digests("other", 4096) == {}
    index.store_digests("g", 4096, {})
    assert index.load_digests("g", 4096) == {}
    index.close()
    assert index.load_digests("g", 4096) == {}
    index.store_digests("g", 4096, DIGESTS)


def test_games_folders_are_apart(tmp_path: Path) -> None:
    index = opened(tmp_path, "/one")
    index.store_digests("g", 4096, DIGESTS)
    index.close()
    index = opened(tmp_path, "/two")
    assert index.load_digests("g", 4096) == {}
    index.close()


@pytest.mark.parametrize(
    "damage", [b"", b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / INDEX_FILE).write_bytes(damage)
    index = opened(tmp_path)
    assert index.load_digests("g", 4096) == {}
    index.store_digests("g", 4096, DIGESTS)
    assert index.load_digests("g", 4096) == DIGESTS
    index.close()


def test_every_damaged_page_is_endured(tmp_path: Path) -> None:
    index = opened(tmp_path)
    many: dict[FileStamp, tuple[bytes, ...]] = {
        FileStamp(f"f{number}", 1, 1, number): (bytes([number]) * 32,) for number in range(200)
    }
    index.store_digests("g", 4096, many)
    index.close()
    good = (tmp_path / INDEX_FILE).read_bytes()
    for at in range(0, len(good), 1024):
        (tmp_path / INDEX_FILE).write_bytes(good[:at] + b"\xa5" * 700 + good[at + 700 :])
        index = opened(tmp_path)
        assert index.load_digests("g", 4096) in ({}, many)
        index.store_digests("g", 4096, many)
        index.close()
        # What a rebuild cost is there again.
        index = opened(tmp_path)
        assert index.load_digests("g", 4096) in ({}, many)
        index.close()


def test_a_file_of_another_format_is_made_again(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / INDEX_FILE)
    connection.execute("CREATE TABLE games (x)")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    index = opened(tmp_path)
    index.store_digests("g", 4096, DIGESTS)
    assert index.load_digests("g", 4096) == DIGESTS
    index.close()


def test_a_file_that_cannot_be_made_costs_only_a_rehash(tmp_path: Path) -> None:
    index = open_index(str(tmp_path / "nowhere"), "/games")
    index.store_digests("g", 4096, DIGESTS)
    assert index.load_digests("g", 4096) == DIGESTS
    index.close()


def test_a_locked_file_is_endured(tmp_path: Path) -> None:
    index = opened(tmp_path)
    other = sqlite3.connect(tmp_path / INDEX_FILE)
    other.execute("BEGIN EXCLUSIVE")
    index.store_digests("g", 4096, DIGESTS)
    other.close()
    index.close()


@given(st.binary(max_size=100))
def test_only_what_was_stored_is_believed(data: bytes) -> None:
    assert _decode(data) == {}
