"""The catalog: which games exist, and what is said of them.

Reading the file blocks; `Catalog` itself is pure. The format is docs/operators.md's.
"""

from __future__ import annotations

import json
import os
import sqlite3
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Final

from lanspread import limits
from lanspread.errors import StartError
from lanspread.fs.paths import UnsafePath, check_game_id, shown
from lanspread.model import CatalogEntry, clean_version, fold_id, version_key

_MAX_FILE_BYTES: Final = 64 * limits.MIB
_MAX_ENTRIES: Final = 100_000
_MAX_TEXT_CHARS: Final = 16 * limits.KIB
_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_TEXTS: Final = ("description", "genre", "players", "publisher", "version", "cover")


class Catalog:
    """What a catalog says; without one, every game is allowed and nothing is said of it."""

    def __init__(
        self, entries: Iterable[CatalogEntry] | None = None, *, folder: str | None = None
    ) -> None:
        # Where the paths of its pictures start.
        self.folder = folder
        self._entries: Mapping[str, CatalogEntry] | None = (
            None if entries is None else {fold_id(entry.id): entry for entry in entries}
        )

    @property
    def is_open(self) -> bool:
        """Whether there is no catalog, so that every game is allowed."""
        return self._entries is None

    def allows(self, game_id: str) -> bool:
        """Whether a game of this ID may be shared."""
        return self._entries is None or fold_id(game_id) in self._entries

    def entry(self, game_id: str) -> CatalogEntry | None:
        """What is said of a game."""
        return None if self._entries is None else self._entries.get(fold_id(game_id))

    def expected_version(self, game_id: str) -> str | None:
        """The one version that is offered, None if any is."""
        entry = self.entry(game_id)
        return None if entry is None else entry.version

    def objection(self, game_id: str, version: str | None) -> str | None:
        """Why a game that is here may not be shared; `version` is None if it is not downloaded."""
        if not self.allows(game_id):
            return "it is not in the catalog"
        expected = self.expected_version(game_id)
        if expected is None or version is None:
            return None
        if version_key(version) != version_key(expected):
            return f"the catalog expects version {shown(expected)}"
        return None

    def entries(self) -> tuple[CatalogEntry, ...]:
        """All entries, in the file's order."""
        return () if self._entries is None else tuple(self._entries.values())


def load_catalog(path: str | None) -> Catalog:
    """Read a catalog file, JSON or SQLite; None is the open catalog.

    Raises `StartError` (usage) with one line that says what is wrong.
    """
    if path is None:
        return Catalog()
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror or error}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise _bad(path, f"is larger than {_MAX_FILE_BYTES} bytes")
    rows = _sqlite_rows(path) if data.startswith(_SQLITE_MAGIC) else _json_rows(path, data)
    if len(rows) > _MAX_ENTRIES:
        raise _bad(path, f"has more than {_MAX_ENTRIES} games")
    entries: dict[str, CatalogEntry] = {}
    for number, row in enumerate(rows, 1):
        try:
            entry = _entry(row)
        except ValueError as error:
            raise _bad(path, f"entry {number}: {error}") from error
        if entries.setdefault(fold_id(entry.id), entry) is not entry:
            raise _bad(path, f"entry {number}: {shown(entry.id)!r} is there twice")
    return Catalog(entries.values(), folder=os.path.dirname(path) or ".")


def _json_rows(path: str, data: bytes) -> list[object]:
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _bad(path, "is neither JSON nor SQLite") from error
    if not isinstance(value, list):
        raise _bad(path, "is not a list of games")
    return value


def _sqlite_rows(path: str) -> list[object]:
    # A path, not a URI of the user's making: `?` and `#` in it are part of the name.
    address = f"file:{urllib.request.pathname2url(path)}?mode=ro"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            connection.row_factory = sqlite3.Row
            found = connection.execute(f"SELECT * FROM games LIMIT {_MAX_ENTRIES + 1}").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _bad(path, f"has no readable table 'games': {error}") from error
    return [{key: row[key] for key in row.keys()} for row in found]  # noqa: SIM118


def _entry(row: object) -> CatalogEntry:
    if not isinstance(row, dict):
        raise ValueError("it is not an object")
    game_id = row.get("id")
    if not isinstance(game_id, str):
        raise ValueError("its id is not a text")
    try:
        check_game_id(game_id)
    except UnsafePath as error:
        raise ValueError(f"its id {error}") from error
    year = row.get("year")
    if year is not None and (type(year) is not int or not 0 <= year <= 9_999):
        raise ValueError("its year is not a number of a year")
    texts = {key: _text(row, key) for key in _TEXTS}
    version = texts["version"]
    texts["version"] = None if version is None else clean_version(version) or None
    return CatalogEntry(
        id=game_id,
        name=(_text(row, "name") or game_id)[: limits.MAX_NAME_CHARS],
        year=year,
        **texts,
    )


def _text(row: Mapping[object, object], key: str) -> str | None:
    value = row.get(key)
    if value is None:
        return None
    # SQLite keeps what was put in: a version or a number of players may be a number there.
    if type(value) in (int, float):
        value = str(value)
    if not isinstance(value, str) or len(value) > _MAX_TEXT_CHARS:
        raise ValueError(f"its {key} is not a text")
    return value


def _bad(path: str, why: str) -> StartError:
    return StartError(f"the catalog {shown(path)} {why}", usage=True)
