"""The games folder: held open, and looked for again before anything is read or written in it.

An unmounted disk leaves an empty folder at the same path; writing there would fill the wrong disk.
So the path must still lead to the folder (device, inode) that was there at the start; otherwise its
games are absent until it is back. Calls block and may come from any thread.
"""

from __future__ import annotations

from lanspread.fs.errors import InTheWay, NotHere
from lanspread.fs.paths import check_game_id, shown
from lanspread.fs.scan import (
    Fingerprint,
    GamesListing,
    ScannedGame,
    fingerprint_game,
    list_games,
    scan_game,
)
from lanspread.model import fold_id
from lanspread.seams import FileSystem, Folder


class GamesFolder:
    """The folder of all games. It may go away and come back."""

    def __init__(self, files: FileSystem, path: str) -> None:
        """Raises `OSError` if it cannot be opened now."""
        self._files = files
        self._path = path
        self._root = files.open_folder(path)
        here = self._root.entry()
        self._identity = (here.device, here.inode)
        self._present = True

    @property
    def path(self) -> str:
        return self._path

    @property
    def is_present(self) -> bool:
        """What the last `look` saw."""
        return self._present

    def look(self) -> bool:
        """Whether the path leads to the same folder as at the start."""
        try:
            with self._files.open_folder(self._path) as found:
                here = found.entry()
            self._present = (here.device, here.inode) == self._identity
        except OSError:
            self._present = False
        return self._present

    def listing(self) -> GamesListing | None:
        """The games in it, None if it is gone or cannot be read."""
        if not self.look():
            return None
        try:
            return list_games(self._root)
        except OSError:
            self._present = False
            return None

    def scan(self, game_id: str) -> ScannedGame | None:
        """Walk a game; None if it is not there."""
        if not self.look():
            return None
        try:
            return scan_game(self._root, game_id)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def fingerprint(self, game_id: str) -> Fingerprint | None:
        """The cheap look at a game; None if it is not there or cannot be read."""
        try:
            return fingerprint_game(self._root, game_id)
        except OSError:
            return None

    def open_game(self, game_id: str) -> Folder:
        """Open a game's folder. Raises `NotHere`, `OSError`."""
        self._must_be_here()
        try:
            return self._root.folder(check_game_id(game_id), follow=True)
        except (FileNotFoundError, NotADirectoryError):
            raise NotHere(f"the folder of {shown(game_id)} is not there") from None

    def make_game(self, game_id: str) -> Folder:
        """Open a game's folder, made if need be; one that differs only in case is that folder.

        Raises `NotHere`, `UnsafePath`, `InTheWay` if something else has the name, `OSError`.
        """
        check_game_id(game_id)
        self._must_be_here()
        twins = [name.name for name in self._root.list() if fold_id(name.name) == fold_id(game_id)]
        if len(twins) > 1:
            raise InTheWay(twins[0], f"and {shown(twins[1])} name the same game")
        if not twins:
            self._root.make_folder(game_id)
            self._root.sync_folder()
        name = twins[0] if twins else game_id
        try:
            return self._root.folder(name, follow=True)
        except (FileNotFoundError, NotADirectoryError):
            raise InTheWay(name, "is in the way of the game's folder") from None

    def drop_if_empty(self, game_id: str) -> None:
        """Remove a game's folder if nothing is in it; anything else is left as it is."""
        try:
            if self.look():
                self._root.remove_folder(check_game_id(game_id))
        except OSError:
            return

    def close(self) -> None:
        self._root.close()

    def _must_be_here(self) -> None:
        if not self.look():
            raise NotHere("the games folder is not there")
