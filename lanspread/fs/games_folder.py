"""The games folder: held open, and looked for again before anything is read or written in it.

An unmounted disk leaves an empty folder at the same path; writing there would fill the wrong disk.
So the path must still lead to the folder (device, inode) that was there at the start; otherwise its
games are absent until it is back. Calls block and may come from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from lanspread.fs.errors import InTheWay, MovedAway, NotHere
from lanspread.fs.install.recovery import Recovery, recover
from lanspread.fs.paths import OWN_FOLDER, check_game_id, shown
from lanspread.fs.progress import Watch
from lanspread.fs.scan import (
    GamesListing,
    Look,
    ScannedGame,
    list_games,
    look_at_game,
    scan_game,
)
from lanspread.model import fold_id
from lanspread.seams import FileSystem, Folder

# Files after which a hop into a thread comes back, so that others get their turn.
_FILES_A_STEP: Final = 2_000


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
        self._lock = threading.Lock()
        self._users = 0
        self._old: list[Folder] = []
        self._closed = False

    @property
    def path(self) -> str:
        return self._path

    @property
    def inode(self) -> int:
        return self._identity[1]

    @property
    def is_present(self) -> bool:
        """What the last `look` saw."""
        return self._present

    def look(self) -> bool:
        """Whether the path leads to the same folder as at the start."""
        try:
            found = self._files.open_folder(self._path)
        except OSError:
            self._present = False
            return False
        same = self._is_it(found)
        with self._lock:
            if same and not self._present and not self._closed:
                # The descriptor of a disk that was pulled out stays dead when it is back.
                self._root, found = found, self._root
                self._old.append(found)
                self._present = True
                return True
            self._present = same
        found.close()
        return same

    def is_at(self, path: str) -> bool:
        """Whether another path leads to it; False where that cannot be seen."""
        try:
            with self._files.open_folder(path) as found:
                return self._is_it(found)
        except OSError:
            return False

    def _is_it(self, found: Folder) -> bool:
        try:
            here = found.entry()
        except OSError:
            return False
        return (here.device, here.inode) == self._identity

    def listing(self) -> GamesListing | None:
        """The games in it, None if it is gone or cannot be read."""
        with self._used() as root:
            if root is None or not self.look():
                return None
            try:
                return list_games(root)
            except OSError:
                self._present = False
                return None

    def scan(self, game_ids: Sequence[str], watch: Watch) -> list[ScannedGame | None]:
        """Walk games, the first at least, and the next as long as all that is not much work.

        None for one that is not there; nothing at all if the folder is gone. Raises `Stopped` if
        `watch` says so.
        """
        found: list[ScannedGame | None] = []
        with self._used() as root:
            if root is None or not self.look():
                return found
            files = 0
            for game_id in game_ids:
                try:
                    game = scan_game(root, game_id, watch)
                    files += len(game.stamps)
                except (FileNotFoundError, NotADirectoryError):
                    game = None
                found.append(game)
                if files > _FILES_A_STEP:
                    break
            # What was read while the disk went away is not what the games are.
            return found if self.look() else []

    def looks(self, game_ids: Sequence[str]) -> list[Look | None]:
        """The cheap look at games; None for one that is not there or cannot be read."""
        found: list[Look | None] = []
        with self._used() as root:
            for game_id in game_ids:
                try:
                    found.append(None if root is None else look_at_game(root, game_id))
                except OSError:
                    found.append(None)
        return found

    def open_game(self, game_id: str) -> Folder:
        """Open a game's folder. Raises `NotHere`, `OSError`."""
        with self._here() as root:
            try:
                return root.folder(check_game_id(game_id), follow=True)
            except (FileNotFoundError, NotADirectoryError):
                raise NotHere(f"the folder of {shown(game_id)} is not there") from None

    def make_game(self, game_id: str) -> Folder:
        """Open a game's folder, made if need be; one that differs only in case is that folder.

        Raises `NotHere`, `UnsafePath`, `InTheWay` if something else has the name, `OSError`.
        """
        check_game_id(game_id)
        with self._here() as root:
            name = _name_in(root, game_id)
            if name is None:
                root.make_folder(game_id)
                root.sync_folder()
                name = game_id
            try:
                return root.folder(name, follow=True)
            except (FileNotFoundError, NotADirectoryError):
                raise InTheWay(name, "is in the way of the game's folder") from None

    def must_hold(self, game_id: str, folder: Folder) -> None:
        """See that a game's open folder still has its place here: what is moved away stays open.

        Raises `MovedAway`, `NotHere` without a games folder, `OSError`.
        """
        gone = f"the folder of {shown(game_id)} was moved away or replaced meanwhile"
        with self._here() as root:
            try:
                name = _name_in(root, check_game_id(game_id)) or game_id
                with root.folder(name, follow=True) as found:
                    there = found.entry()
            except (FileNotFoundError, NotADirectoryError):
                raise MovedAway(gone) from None
            ours = folder.entry()
            if (there.device, there.inode) != (ours.device, ours.inode):
                raise MovedAway(gone)

    def recover(self, game_id: str, watch: Watch) -> Recovery:
        """Put a game's folder right. Raises `NotHere`, `OSError` if it cannot be looked at."""
        with self.open_game(game_id) as folder:
            return recover(folder, watch)

    def drop_if_empty(self, game_id: str) -> None:
        """Remove a game's folder if nothing is in it, or only an empty folder of ours; anything
        else is left as it is."""
        with self._used() as root:
            if root is None or not self.look():
                return
            with suppress(OSError):
                root.remove_folder(f"{check_game_id(game_id)}/{OWN_FOLDER}")
            with suppress(OSError):
                root.remove_folder(game_id)

    def close(self) -> None:
        """Nothing is opened any more; a call that is under way in a thread is let finish."""
        with self._lock:
            self._closed = True
            self._old.append(self._root)
        self._close_unused()

    @contextmanager
    def _here(self) -> Iterator[Folder]:
        with self._used() as root:
            if root is None or not self.look():
                raise NotHere("the games folder is not there")
            yield root

    @contextmanager
    def _used(self) -> Iterator[Folder | None]:
        """The open folder, for one call; None once closed.

        A descriptor that is closed under a call could be another file's by then.
        """
        with self._lock:
            root = None if self._closed else self._root
            self._users += 1
        try:
            yield root
        finally:
            with self._lock:
                self._users -= 1
            self._close_unused()

    def _close_unused(self) -> None:
        with self._lock:
            unused = [] if self._users else self._old
            if unused:
                self._old = []
        for folder in unused:
            folder.close()


def _name_in(root: Folder, game_id: str) -> str | None:
    """How a game's folder is spelled; None if there is none. Raises `InTheWay` for two."""
    names = (glance[0] for glance in root.peek(lambda name: False))
    twins = [name for name in names if fold_id(name) == fold_id(game_id)]
    if len(twins) > 1:
        raise InTheWay(twins[0], f"and {shown(twins[1])} name the same game")
    return twins[0] if twins else None
