"""The index: a SQLite file in the state folder that remembers games. A cache, disposable.

One row of bytes per game, with a checksum: a wrong digest would make an honest peer look like a
liar. What the bytes mean is `stored`'s. A file that is damaged or of another format is deleted and
made again; a disk that cannot be written costs a walk and a rehash. Each is one line in the log.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeVar

import structlog
from blake3 import blake3

from lanspread.seams import IndexKey

INDEX_FILE: Final = "index.sqlite3"
_FORMAT: Final = 2
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
    }
)
# Games folders (and sizes of a block) whose games are remembered, the last used ones.
MAX_SHELVES: Final = 8
_CHECKSUM_BYTES: Final = 32
# Fewer than SQLite's bound on variables of one statement.
_GAMES_A_QUERY: Final = 500

T = TypeVar("T")

_log = structlog.get_logger(__name__)


def open_index(state_folder: str) -> SqliteIndex:
    """The index of a state folder. Never raises for a file that cannot be used."""
    return SqliteIndex(os.path.join(state_folder, INDEX_FILE))


class SqliteIndex:
    """`Index` in two tables. Its calls may come from any thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._closed = False
        self._told_unwritable = False
        self._shelves: dict[IndexKey, int] = {}
        self._connection = self._open_or_rebuild()

    def load(self, key: IndexKey, games: Collection[str] | None = None) -> dict[str, bytes]:
        with self._lock:
            found = self._guarded(lambda: list(self._read(key, games))) or []
        rows: dict[str, bytes] = {}
        damaged = 0
        for game, data in found:
            row = _unsealed(game, data)
            if row is None:
                damaged += 1
            else:
                rows[game.decode()] = row
        if damaged:
            _log.warning("damaged rows of the index are left out", rows=damaged)
        return rows

    def store(self, key: IndexKey, rows: Mapping[str, bytes | None]) -> None:
        sealed = {
            game.encode(): None if row is None else _sealed(game.encode(), row)
            for game, row in rows.items()
        }
        with self._lock:
            self._guarded(lambda: self._write(key, sealed))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()

    # -- under the lock ----------------------------------------------------------------------------

    def _read(self, key: IndexKey, games: Collection[str] | None) -> Iterable[tuple[bytes, bytes]]:
        shelf = self._shelf(key)
        if games is None:
            yield from self._connection.execute(
                "SELECT game, data FROM games WHERE shelf = ?", (shelf,)
            )
            return
        names = [game.encode() for game in games]
        for at in range(0, len(names), _GAMES_A_QUERY):
            part = names[at : at + _GAMES_A_QUERY]
            marks = ", ".join("?" * len(part))
            yield from self._connection.execute(
                f"SELECT game, data FROM games WHERE shelf = ? AND game IN ({marks})",
                (shelf, *part),
            )

    def _write(self, key: IndexKey, rows: Mapping[bytes, bytes | None]) -> None:
        shelf = self._shelf(key)
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO games VALUES (?, ?, ?)",
                [(shelf, game, data) for game, data in rows.items() if data is not None],
            )
            self._connection.executemany(
                "DELETE FROM games WHERE shelf = ? AND game = ?",
                [(shelf, game) for game, data in rows.items() if data is None],
            )

    def _shelf(self, key: IndexKey) -> int:
        """The number of a games folder; asked for the first time, it becomes the last used one."""
        if key in self._shelves:
            return self._shelves[key]
        # A folder's name need not be valid Unicode; SQLite's text must be.
        name = os.fsencode(f"{key.block_bytes}:{key.inode}:{os.path.realpath(key.folder)}")
        with self._connection as db:
            db.execute(
                "INSERT INTO shelves (name, used)"
                " VALUES (?, (SELECT coalesce(max(used), 0) + 1 FROM shelves))"
                " ON CONFLICT (name) DO UPDATE SET used = excluded.used",
                (name,),
            )
            db.execute(
                "DELETE FROM shelves WHERE number NOT IN"
                " (SELECT number FROM shelves ORDER BY used DESC LIMIT ?)",
                (MAX_SHELVES,),
            )
            db.execute("DELETE FROM games WHERE shelf NOT IN (SELECT number FROM shelves)")
            number: int = db.execute(
                "SELECT number FROM shelves WHERE name = ?", (name,)
            ).fetchone()[0]
        # The number of one that was let go may be used again.
        self._shelves = {key: number}
        return number

    def _guarded(self, call: Callable[[], T]) -> T | None:
        """The result of a call; None if the index is closed or the file did not allow it."""
        if self._closed:
            return None
        try:
            return call()
        except sqlite3.Error as error:
            self._after(error)
            return None

    def _after(self, error: sqlite3.Error) -> None:
        """After an error: a damaged file is made again; a full or busy disk is only endured."""
        if _is_of_the_disk(error):
            self._endure(error)
        else:
            self._connection.close()
            self._connection = self._rebuild(error)

    def _endure(self, error: sqlite3.Error) -> None:
        if not self._told_unwritable:
            self._told_unwritable = True
            _log.warning(
                "the index cannot be used now; games are hashed again later", why=str(error)
            )

    def _open_or_rebuild(self) -> sqlite3.Connection:
        try:
            return _open(self._path)
        except sqlite3.Error as error:
            if _is_of_the_disk(error):
                self._endure(error)
                return _open(":memory:")
            return self._rebuild(error)

    def _rebuild(self, error: sqlite3.Error) -> sqlite3.Connection:
        _log.warning("the index is made again; all games are walked and hashed", why=str(error))
        self._shelves.clear()
        try:
            for suffix in ("", "-journal", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._path + suffix)
            return _open(self._path)
        except (sqlite3.Error, OSError):
            return _open(":memory:")


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=1.0)
    try:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        # What a power cut may cost is a walk; the checksums find what it may spoil.
        connection.execute("PRAGMA synchronous = OFF")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if found != _FORMAT and (found != 0 or tables):
            raise sqlite3.DatabaseError(f"it is of format {found}, not {_FORMAT}")
        if not tables:
            with connection:
                connection.execute(
                    "CREATE TABLE shelves"
                    " (number INTEGER PRIMARY KEY, name BLOB UNIQUE, used INTEGER)"
                )
                connection.execute(
                    "CREATE TABLE games (shelf INTEGER, game BLOB, data BLOB,"
                    " PRIMARY KEY (shelf, game))"
                )
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.execute("SELECT number, name, used FROM shelves LIMIT 1").fetchone()
        connection.execute("SELECT shelf, game, data FROM games LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_of_the_disk(error: sqlite3.Error) -> bool:
    """Whether the file may be as good as ever: it is in use, the disk is full, say."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _PASSING


def _checksum(game: bytes, row: bytes) -> bytes:
    """Of the game's name too: a damaged page can mix up rows."""
    return blake3(game + b"\0" + row).digest()


def _sealed(game: bytes, row: bytes) -> bytes:
    return _checksum(game, row) + row


def _unsealed(game: object, data: object) -> bytes | None:
    """What `_sealed` made; None if it is not that, byte for byte."""
    if not isinstance(game, bytes) or not isinstance(data, bytes):
        return None
    row = data[_CHECKSUM_BYTES:]
    return row if _checksum(game, row) == data[:_CHECKSUM_BYTES] else None
