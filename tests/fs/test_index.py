"""The index is a cache: whatever happens to its file, nobody fails."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lanspread.fs.index import INDEX_FILE, MAX_SHELVES, SqliteIndex, _unsealed, open_index
from lanspread.seams import IndexKey

KEY = IndexKey("/games", 7, 4096)
ROWS: dict[str, bytes | None] = {"g": b"\x01" * 5000, "ü": b"", "zero": b"\0"}


def opened(tmp_path: Path) -> SqliteIndex:
    return open_index(str(tmp_path))


def test_remembers(tmp_path: Path) -> None:
    index = opened(tmp_path)
    assert index.load(KEY) == {}
    index.store(KEY, ROWS)
    index.close()
    index = opened(tmp_path)
    assert index.load(KEY) == ROWS
    assert index.load(KEY, ["ü", "other"]) == {"ü": b""}
    many = [f"no {number}" for number in range(2000)]
    assert index.load(KEY, [*many, "zero"]) == {"zero": b"\0"}
    index.store(KEY, {"g": b"new", "ü": None, "never": None})
    assert index.load(KEY) == {"g": b"new", "zero": b"\0"}
    index.close()
    assert index.load(KEY) == {}
    index.store(KEY, ROWS)


@pytest.mark.parametrize(
    "other",
    [IndexKey("/two", 7, 4096), IndexKey("/games", 8, 4096), IndexKey("/games", 7, 1024)],
)
def test_folders_and_blocks_are_apart(tmp_path: Path, other: IndexKey) -> None:
    index = opened(tmp_path)
    index.store(KEY, ROWS)
    assert index.load(other) == {}
    index.store(other, {"g": b"other"})
    assert index.load(KEY) == ROWS
    index.close()


def test_the_last_used_folders_are_kept(tmp_path: Path) -> None:
    keys = [IndexKey(f"/games{number}", 7, 4096) for number in range(MAX_SHELVES + 3)]
    for key in keys:
        index = opened(tmp_path)
        index.load(keys[0])
        index.store(key, ROWS)
        index.close()
    index = opened(tmp_path)
    known = sqlite3.connect(tmp_path / INDEX_FILE)
    assert known.execute("SELECT count(DISTINCT shelf) FROM games").fetchone() == (MAX_SHELVES,)
    known.close()
    # Asked for every time, so never the one that was not used for longest.
    assert index.load(keys[0]) == ROWS
    assert index.load(keys[-1]) == ROWS
    assert index.load(keys[1]) == {}
    index.close()


def test_a_folder_let_go_while_it_is_in_use_is_only_forgotten(tmp_path: Path) -> None:
    index = opened(tmp_path)
    for number in range(3 * MAX_SHELVES):
        key = IndexKey(f"/games{number}", 7, 4096)
        index.store(key, {"g": b"%d" % number})
        assert index.load(key) == {"g": b"%d" % number}
    index.store(KEY, ROWS)
    assert index.load(IndexKey("/games0", 7, 4096)) == {}
    assert index.load(KEY) == ROWS
    index.close()


@pytest.mark.parametrize(
    "damage", [b"", b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / INDEX_FILE).write_bytes(damage)
    with capture_logs() as logs:
        index = opened(tmp_path)
        assert index.load(KEY) == {}
        index.store(KEY, ROWS)
        assert index.load(KEY) == ROWS
        index.close()
    assert len(logs) == (1 if damage else 0)


def test_every_damaged_page_is_endured(tmp_path: Path) -> None:
    index = opened(tmp_path)
    many: dict[str, bytes | None] = {f"g{number}": bytes([number]) * 300 for number in range(200)}
    index.store(KEY, many)
    index.close()
    good = (tmp_path / INDEX_FILE).read_bytes()
    for at in range(0, len(good), 1024):
        (tmp_path / INDEX_FILE).write_bytes(good[:at] + b"\xa5" * 700 + good[at + 700 :])
        with capture_logs() as logs:
            index = opened(tmp_path)
            assert index.load(KEY).items() <= many.items()
        assert len(logs) <= 1
        index.store(KEY, many)
        index.close()
        # What a rebuild cost is there again.
        index = opened(tmp_path)
        assert index.load(KEY).items() <= many.items()
        index.close()


def test_a_file_of_another_format_is_made_again(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / INDEX_FILE)
    connection.execute("CREATE TABLE games (x)")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with capture_logs() as logs:
        index = opened(tmp_path)
    assert [log["log_level"] for log in logs] == ["warning"]
    index.store(KEY, ROWS)
    assert index.load(KEY) == ROWS
    index.close()


def test_a_file_that_cannot_be_made_costs_only_a_rehash(tmp_path: Path) -> None:
    with capture_logs() as logs:
        index = open_index(str(tmp_path / "nowhere"))
    index.store(KEY, ROWS)
    assert index.load(KEY) == ROWS
    index.close()
    assert len(logs) == 1


def test_a_locked_or_full_file_is_endured_and_told_once(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.store(KEY, ROWS)
    index._connection.execute("PRAGMA max_page_count = 10")
    with capture_logs() as logs:
        for _ in range(3):
            index.store(KEY, {"huge": bytes(1_000_000), "g": b"new"})
    assert len(logs) == 1
    # All or none.
    assert index.load(KEY) == ROWS
    index.close()
    index = opened(tmp_path)
    other = sqlite3.connect(tmp_path / INDEX_FILE)
    other.execute("BEGIN EXCLUSIVE")
    index.store(KEY, ROWS)
    other.close()
    index.close()


@given(st.binary(max_size=10), st.binary(max_size=100))
def test_only_what_was_stored_is_believed(game: bytes, data: bytes) -> None:
    assert _unsealed(game, data) is None


def test_a_row_under_another_name_is_not_believed(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.store(KEY, ROWS)
    connection = sqlite3.connect(tmp_path / INDEX_FILE)
    connection.execute("UPDATE games SET game = ? WHERE game = ?", (b"h", b"g"))
    connection.execute("UPDATE games SET data = 'text' WHERE game = ?", (b"zero",))
    connection.commit()
    connection.close()
    with capture_logs() as logs:
        assert index.load(KEY) == {"ü": b""}
    assert [log["rows"] for log in logs] == [2]
    index.close()


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_file_in_use_at_the_start_is_left_alone(tmp_path: Path, lock: str) -> None:
    """A backup reads it: the cache of a terabyte is not thrown away for that."""
    index = opened(tmp_path)
    index.store(KEY, ROWS)
    index.close()
    other = sqlite3.connect(tmp_path / INDEX_FILE)
    other.execute(f"BEGIN {lock}")
    opened(tmp_path).close()
    other.rollback()
    other.close()
    index = opened(tmp_path)
    assert index.load(KEY) == ROWS
    index.close()


def test_a_start_writes_nothing_into_a_good_file(tmp_path: Path) -> None:
    """So a disk that is full costs nothing."""
    index = opened(tmp_path)
    index.store(KEY, ROWS)
    index.close()
    before = (tmp_path / INDEX_FILE).read_bytes()
    opened(tmp_path).close()
    assert (tmp_path / INDEX_FILE).read_bytes() == before
