"""The index: a SQLite file in the state folder that remembers digests. A cache, disposable.

One row per game and block size: what is known of its files, as CBOR with a checksum, because a
wrong digest would make an honest peer look like a liar. A file that is damaged or of another format
is deleted and made again; a disk that cannot be written costs a rehash, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import Final

import cbor2
from blake3 import blake3

from lanspread.fs.manifest import DIGEST_BYTES
from lanspread.seams import FileStamp

INDEX_FILE: Final = "index.sqlite3"
_FORMAT: Final = 1

Digests = dict[FileStamp, tuple[bytes, ...]]


def open_index(state_folder: str, games_folder: str) -> SqliteIndex:
    """The index of one games folder. Never raises for a file that cannot be used."""
    return SqliteIndex(os.path.join(state_folder, INDEX_FILE), os.path.realpath(games_folder))


class SqliteIndex:
    """`Index` in one table. Its calls may come from any thread."""

    def __init__(self, path: str, games_folder: str) -> None:
        self._path = path
        # A folder's name need not be valid Unicode; SQLite's text must be.
        self._games = os.fsencode(games_folder)
        self._lock = threading.Lock()
        self._closed = False
        self._connection = self._open_or_rebuild()

    def load_digests(self, game_id: str, block_bytes: int) -> Digests:
        with self._lock:
            if self._closed:
                return {}
            try:
                row = self._connection.execute(
                    "SELECT digests FROM games WHERE folder = ? AND game = ? AND block = ?",
                    (self._games, game_id, block_bytes),
                ).fetchone()
            except sqlite3.Error as error:
                self._after(error)
                return {}
        return {} if row is None else _decode(row[0])

    def store_digests(self, game_id: str, block_bytes: int, digests: Digests) -> None:
        data = _encode(digests)
        with self._lock:
            if self._closed:
                return
            try:
                with self._connection:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO games VALUES (?, ?, ?, ?)",
                        (self._games, game_id, block_bytes, data),
                    )
            except sqlite3.Error as error:
                self._after(error)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()

    def _after(self, error: sqlite3.Error) -> None:
        """After an error: a damaged file is made again; a full or busy disk is only endured."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(
            error, sqlite3.OperationalError | sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            self._connection.close()
            self._connection = self._rebuild()

    def _open_or_rebuild(self) -> sqlite3.Connection:
        try:
            return _open(self._path)
        except sqlite3.Error:
            return self._rebuild()

    def _rebuild(self) -> sqlite3.Connection:
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
        # What a power cut may cost is a rehash; the checksums find what it may spoil.
        connection.execute("PRAGMA synchronous = OFF")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if found != _FORMAT and (found != 0 or tables):
            raise sqlite3.DatabaseError("the index is of another format")
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS games (folder BLOB, game TEXT, block INTEGER,"
                " digests BLOB, PRIMARY KEY (folder, game, block))"
            )
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.execute("SELECT folder, game, block FROM games LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _encode(digests: Digests) -> bytes:
    data = cbor2.dumps(
        [
            [stamp.path, stamp.size, stamp.mtime_ns, stamp.inode, b"".join(blocks)]
            for stamp, blocks in digests.items()
        ]
    )
    return blake3(data).digest() + data


def _decode(data: object) -> Digests:
    """What `_encode` made; nothing if it is not that, byte for byte."""
    if not isinstance(data, bytes) or blake3(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
        return {}
    return {
        FileStamp(path, size, mtime_ns, inode): tuple(
            blocks[at : at + DIGEST_BYTES] for at in range(0, len(blocks), DIGEST_BYTES)
        )
        for path, size, mtime_ns, inode, blocks in cbor2.loads(data[DIGEST_BYTES:])
    }
