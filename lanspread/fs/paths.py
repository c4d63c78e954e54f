"""Which paths and game IDs from outside may become names on this disk. Pure.

Every rule holds on every system: a manifest that is refused on Windows is refused on Linux too, so
that a game means the same files everywhere. Source: ARCHITECTURE.md, "Paths from outside".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from lanspread import limits
from lanspread.model import fold_id

VERSION_INI: Final = "version.ini"
VERSION_INI_TMP: Final = ".version.ini.tmp"
VERSION_INI_DISCARDED: Final = ".version.ini.discarded"
LOCAL: Final = "local"
OWNED: Final = ".lanspread_owned"
OWN_FOLDER: Final = ".lanspread"

_OWN_PREFIXES: Final = (".version.ini.", ".local.", ".lanspread")
# Characters that mean something to Windows (a drive, a stream, a separator) or to a terminal.
_BAD_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\:\u2028\u2029]")
_RESERVED_ON_WINDOWS: Final = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in "0123456789¹²³"]
)
# The short names that Windows invents for ours: `.lanspread.json` is also `LANSPR~1.JSO`.
_SHORT_NAME: Final = re.compile(
    r"(lanspr|versio|local|(la|ve|lo)[0-9a-f]{4})~[0-9]+(\..*)?", re.DOTALL
)
_SHORT_MARKER: Final = re.compile(r"(lanspr|la[0-9a-f]{4})~[0-9]+(\..*)?", re.DOTALL)
_LITTER: Final = frozenset(["thumbs.db", "desktop.ini", ".ds_store"])


class UnsafePath(ValueError):
    """A path that is refused. `path` is cleaned for showing, `why` completes the sentence."""

    def __init__(self, path: str, why: str) -> None:
        self.path = shown(path)
        self.why = why
        super().__init__(f"{self.path!r} {why}")


def shown(text: str, length: int = 200) -> str:
    """`text` for messages: one line, printable, bounded."""
    clean = "".join(char if char.isprintable() else "?" for char in text[: length + 1])
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def fold_path(path: str) -> str:
    """The form in which paths collide: folded, without characters that some file systems ignore."""
    if path.isascii():
        return path.casefold()
    return fold_id("".join(char for char in path if unicodedata.category(char) != "Cf"))


# A download checks its paths when the manifest comes, before it writes, and twice when it is walked
# again. What is refused is not kept.
@lru_cache(maxsize=8_192)
def check_path(path_untrusted: str) -> str:
    """Return the path if it may be part of a manifest; raise `UnsafePath` otherwise."""
    parts = check_parts(path_untrusted)
    _check_root(parts, path_untrusted)
    if is_litter(parts[-1]):
        raise UnsafePath(path_untrusted, "is a file that desktops leave behind")
    return path_untrusted


def check_parts(path_untrusted: str) -> list[str]:
    """The parts of a path that is plain, relative and possible on every system, wherever it is to
    be; raise `UnsafePath` otherwise. What is reserved at the root is the caller's to refuse."""
    _check_whole(path_untrusted)
    parts = path_untrusted.split("/")
    for part in parts:
        _check_part(part, path_untrusted)
    return parts


def check_manifest_paths(paths: Iterable[str]) -> None:
    """Check every path, and that no two can meet on any file system. Raises `UnsafePath`."""
    names = NamesApart()
    for path in paths:
        names.count_file(path)
        check_path(path)
        names.add_file(path)


class NamesApart:
    """The names of one tree: a file or folder that could meet another on any disk is refused."""

    def __init__(self) -> None:
        self._count = 0
        self._files: set[str] = set()
        self._folders: dict[str, str] = {}

    def count_file(self, path: str) -> None:
        """Raises `UnsafePath` for one file more than a game may have."""
        self._count += 1
        if self._count > limits.MAX_FILES_PER_GAME:
            raise UnsafePath(path, f"is one file more than {limits.MAX_FILES_PER_GAME}")

    def add_file(self, path: str) -> None:
        """Raises `UnsafePath` if its name, or that of a folder above it, meets another."""
        key = fold_path(path)
        if key in self._files or key in self._folders:
            raise UnsafePath(path, "collides with another file or folder")
        self._files.add(key)
        self.add_folder(path.rpartition("/")[0], path)

    def add_folder(self, folder: str, path: str) -> None:
        """A folder, "" the root, that is there because of `path`; once more is no collision."""
        while folder:
            key = fold_path(folder)
            if self._folders.get(key) == folder:
                break  # Its own parents were seen with it.
            if key in self._folders or key in self._files:
                raise UnsafePath(path, "collides with another file or folder")
            self._folders[key] = folder
            folder = folder.rpartition("/")[0]


def check_game_id(id_untrusted: str) -> str:
    """Return the ID if it may name a game's folder; raise `UnsafePath` otherwise."""
    if not 1 <= len(id_untrusted) <= limits.MAX_GAME_ID_CHARS:
        raise UnsafePath(id_untrusted, f"is not 1 to {limits.MAX_GAME_ID_CHARS} characters long")
    if not id_untrusted.isprintable():
        raise UnsafePath(id_untrusted, "has characters that cannot be shown")
    if "/" in id_untrusted or id_untrusted.startswith("."):
        raise UnsafePath(id_untrusted, "has a slash or starts with a dot")
    _check_whole(id_untrusted)
    _check_part(id_untrusted, id_untrusted)
    return id_untrusted


def is_litter(name: str) -> bool:
    """Whether a file of this name is what desktops leave behind; it is no part of any game."""
    return name.startswith("._") or name.lower() in _LITTER


def is_own(name: str) -> bool:
    """Whether a name at a game's root is one of ours: scratch, journal, staging."""
    if name.isascii() and not name.startswith("."):
        return False  # Asked for every name of a library at every start.
    return fold_path(name).startswith(_OWN_PREFIXES)


def names_marker(name: str) -> bool:
    """Whether a name could be our marker of ownership on some disk, short names included."""
    folded = fold_path(name)
    return folded == OWNED or _SHORT_MARKER.fullmatch(folded) is not None


def is_root_archive(path: str) -> bool:
    """Whether a path is an archive at the game's root."""
    return "/" not in path and path.casefold().endswith(".eti")


def _check_whole(path: str) -> None:
    if not path:
        raise UnsafePath(path, "is empty")
    try:
        length = len(path) if path.isascii() else len(path.encode())
    except UnicodeEncodeError:
        raise UnsafePath(path, "is not valid Unicode") from None
    if length > limits.MAX_PATH_BYTES:
        raise UnsafePath(path, f"is longer than {limits.MAX_PATH_BYTES} bytes")
    if path.count("/") >= limits.MAX_PATH_DEPTH:
        raise UnsafePath(path, f"is deeper than {limits.MAX_PATH_DEPTH} folders")
    if _BAD_CHARACTER.search(path):
        raise UnsafePath(path, "has a backslash, a colon or a control character")


def _check_part(part: str, path: str) -> None:
    if part in ("", ".", ".."):
        raise UnsafePath(path, "is not a plain path below the game's folder")
    if part[-1] in ". ":
        raise UnsafePath(path, "has a name that ends in a dot or a space")
    if len(part.encode()) > limits.MAX_PATH_PART_BYTES:
        raise UnsafePath(path, f"has a name longer than {limits.MAX_PATH_PART_BYTES} bytes")
    stem = part.split(".", 1)[0].rstrip(" ")
    if len(stem) <= 7 and stem.lower() in _RESERVED_ON_WINDOWS:
        raise UnsafePath(path, "has a name that is reserved on Windows")


def _check_root(parts: list[str], path: str) -> None:
    root = fold_path(parts[0])
    if root.startswith(_OWN_PREFIXES) or root == LOCAL or _SHORT_NAME.fullmatch(root):
        raise UnsafePath(path, "has a name that is reserved")
    if root == VERSION_INI and path != VERSION_INI:
        raise UnsafePath(path, "has a name that is reserved")
