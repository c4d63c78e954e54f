"""The pictures of games: the catalog's, or `cover.*` in the game's folder.

A browser asks for a picture by an address alone, so the address is what permits it: it ends in a
key that only this peer can make, good for one picture in one state. Whoever may see the game was
given it; the API's token never stands in an address that is copied or kept with a picture.
Source: docs/api.md, "Covers".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import trio

from lanspread import limits
from lanspread.fs.catalog import Catalog
from lanspread.fs.catalog_pictures import CatalogPictures
from lanspread.fs.errors import FsError
from lanspread.fs.library import Library
from lanspread.fs.local_game import LocalGame
from lanspread.fs.pictures import picture_type
from lanspread.model import fold_id
from lanspread.seams import File, FileStamp, FileSystem, Threads
from lanspread.views import Picture

PREFIX: Final = "/cover/"


class Covers:
    """Where the pictures of games are. `token` is the API's: a new one makes all keys worthless.

    The game's own are as the library saw them last, the catalog's as they were at the last `look`,
    or when one of them was read. `on_change` is told the games of which that is another one.
    """

    def __init__(
        self,
        library: Library,
        catalog: Catalog,
        files: FileSystem,
        token: str,
        threads: Threads,
        on_change: Callable[[frozenset[str]], None],
    ) -> None:
        self._library = library
        self._catalog = catalog
        self._files = files
        self._threads = threads
        self._on_change = on_change
        self._named = CatalogPictures(catalog, files)
        self._key = hashlib.sha256(b"lanspread cover\0" + token.encode()).digest()

    async def look(self) -> None:
        """See the catalog's pictures as they are now, untold. To be done before the first use."""
        if self._named:
            await self._threads.run(self._named.look)
            self._named.take_changed()

    async def run(self) -> None:
        """Look again now and then, until cancelled."""
        while self._named:
            await trio.sleep(limits.FALLBACK_SCAN_S)
            await self._threads.run(self._named.look)
            self._tell()

    async def read(self, game_id: str, key: str) -> Picture | None:
        """The picture that `key` is good for, None if there is none (any more)."""
        picture = await self._threads.run(self._read, game_id, key)
        self._tell()
        return picture

    def url(self, game_id: str) -> str | None:
        """The path on the API's port, with its key, of a game's picture; None if it has none."""
        state = self._state(game_id)
        if state is None:
            return None
        return f"{PREFIX}{quote(game_id, safe='')}?key={self._sign(game_id, state)}"

    def _read(self, game_id: str, key: str) -> Picture | None:
        state = self._state(game_id)
        if state is None or not hmac.compare_digest(
            self._sign(game_id, state).encode(), key.encode("utf-8", "replace")
        ):
            return None
        if self._named.stamp(game_id) is not None:
            return self._from_catalog(game_id)
        return self._from_game(game_id)

    def _tell(self) -> None:
        if changed := self._named.take_changed():
            self._on_change(changed)

    def _state(self, game_id: str) -> FileStamp | None:
        """Which picture it is, and in which state."""
        named = self._named.stamp(game_id)
        if named is not None:
            return named
        game = self._local(game_id)
        return None if game is None else game.files.cover

    def _sign(self, game_id: str, state: FileStamp) -> str:
        what = f"{state.path}\0{state.size}\0{state.mtime_ns}\0{state.inode}"
        text = f"{fold_id(game_id)}\0{what}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]

    def _local(self, game_id: str) -> LocalGame | None:
        return self._library.games.get(fold_id(game_id))

    def _from_catalog(self, game_id: str) -> Picture | None:
        seen = self._named.stamp(game_id)
        if seen is None or self._catalog.folder is None:
            return None
        try:
            with (
                self._files.open_folder(self._catalog.folder) as folder,
                folder.open(seen.path, "read") as file,
            ):
                # Another one since: it has another key, which a list of games tells.
                if not self._named.check(game_id, file.entry()):
                    return None
                return _picture(file)
        except (OSError, FsError):
            self._named.check(game_id, None)
            return None

    def _from_game(self, game_id: str) -> Picture | None:
        game = self._local(game_id)
        if game is None or game.files.cover is None:
            return None
        try:
            with (
                self._library.open_game(game.id) as folder,
                folder.open(game.files.cover.path, "read") as file,
            ):
                return _picture(file)
        except (OSError, FsError):
            return None


def _picture(file: File) -> Picture | None:
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
