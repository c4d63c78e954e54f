"""The pictures of games: the catalog's, or `cover.*` in the game's folder.

A browser asks for a picture by an address alone, so the address is what permits it: it ends in a
key that only this peer can make, good for one picture in one state. Whoever may see the game was
given it; the API's token never stands in an address that is copied or kept with a picture.
Source: docs/api.md, "Covers".
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import quote

from lanspread import limits
from lanspread.fs.catalog import Catalog
from lanspread.fs.errors import FsError
from lanspread.fs.library import Library
from lanspread.fs.local_game import LocalGame
from lanspread.fs.paths import UnsafePath, check_path
from lanspread.fs.pictures import picture_type
from lanspread.model import fold_id
from lanspread.seams import FileSystem, Folder
from lanspread.views import Picture

PREFIX: Final = "/cover/"


class Covers:
    """Where the pictures of games are. `token` is the API's: a new one makes all keys worthless."""

    def __init__(self, library: Library, catalog: Catalog, files: FileSystem, token: str) -> None:
        self._library = library
        self._catalog = catalog
        self._files = files
        self._key = hashlib.sha256(b"lanspread cover\0" + token.encode()).digest()

    def url(self, game_id: str) -> str | None:
        """The path on the API's port, with its key, of a game's picture; None if it has none."""
        state = self._state(game_id)
        if state is None:
            return None
        return f"{PREFIX}{quote(game_id, safe='')}?key={self._sign(game_id, state)}"

    def read(self, game_id: str, key: str) -> Picture | None:
        """The picture that `key` is good for, None if there is none (any more). Blocks."""
        state = self._state(game_id)
        if state is None or not hmac.compare_digest(
            self._sign(game_id, state).encode(), key.encode("utf-8", "replace")
        ):
            return None
        return self._from_catalog(game_id) or self._from_game(game_id)

    def _state(self, game_id: str) -> str | None:
        """Which pictures there are, in a text that changes when one of them does."""
        named = self._named(game_id)
        game = self._local(game_id)
        stamp = None if game is None else game.files.cover
        if named is None and stamp is None:
            return None
        return f"{named}\0{stamp}"

    def _sign(self, game_id: str, state: str) -> str:
        text = f"{fold_id(game_id)}\0{state}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]

    def _named(self, game_id: str) -> str | None:
        """The catalog's picture, by a path below the catalog's folder."""
        entry = self._catalog.entry(game_id)
        if entry is None or not entry.cover:
            return None
        try:
            # What leads out of the catalog's folder, or is an address of a website, is nothing.
            check_path(entry.cover)
        except UnsafePath:
            return None
        return entry.cover

    def _local(self, game_id: str) -> LocalGame | None:
        return self._library.games.get(fold_id(game_id))

    def _from_catalog(self, game_id: str) -> Picture | None:
        named = self._named(game_id)
        if named is None or self._catalog.folder is None:
            return None
        try:
            with self._files.open_folder(self._catalog.folder) as folder:
                return _read(folder, named)
        except (OSError, FsError):
            return None

    def _from_game(self, game_id: str) -> Picture | None:
        game = self._local(game_id)
        if game is None or game.files.cover is None:
            return None
        try:
            with self._library.open_game(game.id) as folder:
                return _read(folder, game.files.cover.path)
        except (OSError, FsError):
            return None


def _read(folder: Folder, path: str) -> Picture | None:
    with folder.open(path, "read") as file:
        data = bytearray()
        while len(data) <= limits.MAX_COVER_BYTES:
            part = file.read_at(limits.MAX_COVER_BYTES + 1 - len(data), len(data))
            if not part:
                break
            data += part
    if len(data) > limits.MAX_COVER_BYTES:
        return None
    media_type = picture_type(bytes(data))
    return None if media_type is None else Picture(media_type, bytes(data))
