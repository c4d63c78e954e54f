"""Which files of a game are those of its downloads: may be written to, and removed. Blocks.

A planned name is not enough: what the user put there, or changed since, is the user's.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from lanspread import limits
from lanspread.fs.download.survey import Survey
from lanspread.seams import Entry, Folder


@attrs.frozen
class Ours:
    """What downloads had made before this one, as it was found.

    `carried` are those of them that this one does not have, with their planned sizes; `unsure`
    those that a crash may have left unsynced.
    """

    files: Mapping[str, Entry]
    carried: Mapping[str, int]
    unsure: frozenset[str]

    def unchanged(self, folder: Folder, path: str) -> Entry | None:
        """The file, if it is one of these and nobody has changed it since. Raises `OSError`."""
        seen = self.files.get(path)
        entry = None if seen is None else _entry(folder, path)
        return entry if entry == seen else None


def find_ours(folder: Folder, found: Survey, planned: Mapping[str, int]) -> Ours:
    """What is there of files of downloads, before one of `planned` begins. Raises `OSError`."""
    files = {path: entry for path, entry in found.present.items() if found.is_ours(path, entry)}
    carried: dict[str, int] = {}
    space = limits.MAX_MANIFEST_BYTES
    for path, size in () if found.plan is None else found.plan.files.items():
        entry = None if path in planned else _entry(folder, path)
        if entry is None or not found.is_ours(path, entry):
            continue
        space -= len(path.encode())
        if space < 0 or len(carried) == limits.MAX_FILES_PER_GAME:
            # No plan can be longer, and nobody has so many.
            break
        carried[path] = size
        files[path] = entry
    ended_in_order = found.plan is None or found.plan.made is not None
    unsure = (
        ()
        if ended_in_order
        else (path for path, entry in files.items() if not found.is_recorded(path, entry))
    )
    return Ours(files, carried, frozenset(unsure))


def folders_above(paths: Iterable[str]) -> list[str]:
    """Every folder that leads to one of these, the game's own included."""
    return sorted({"", *(above for path in paths for above in parents(path))})


def parents(path: str) -> Iterable[str]:
    """The folders above a path, the nearest first, without the game's own."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _entry(folder: Folder, path: str) -> Entry | None:
    try:
        return folder.entry(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
