"""Which member of which archive becomes which file, when a game has several archives. Pure.

Members of one archive cannot meet, that is checked before. Of the same path in two archives the
later one wins; paths that differ only in case or Unicode form are the same path, spelled as the
first archive did, because they are the same file on half of all disks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from lanspread import limits
from lanspread.fs.archives.members import ArchiveBomb, Member, MemberKind
from lanspread.fs.paths import UnsafePath, fold_path


@attrs.frozen
class Listing:
    """What an archive holds; `paths` are the checked paths of its members, in their order."""

    name: str
    members: Sequence[Member]
    paths: Sequence[str]


@attrs.frozen
class Layout:
    """`paths[archive][number]` is where a file goes; members that lose or are folders have none.

    `folders` are all that are needed, parents first; `sizes` the declared bytes of every file to be
    written; `unpacked_bytes` those of all members, losers included.
    """

    paths: tuple[Mapping[int, str], ...]
    folders: tuple[str, ...]
    sizes: Mapping[str, int]
    unpacked_bytes: int


def lay_out(listings: Sequence[Listing]) -> Layout:
    """Raises `UnsafePath` if a file meets a folder of another archive, or for too many files;
    `ArchiveBomb` if all archives together are larger than any game."""
    tree = _Tree()
    winners: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}
    total = 0
    for at, listing in enumerate(listings):
        for number, (member, path) in enumerate(zip(listing.members, listing.paths, strict=True)):
            if member.kind is MemberKind.FOLDER:
                tree.folder(path)
                continue
            target = tree.file(path)
            winners[target] = (at, number)
            sizes[target] = member.size
            total += member.size
            if len(winners) > limits.MAX_FILES_PER_GAME:
                raise UnsafePath(path, f"is one file more than {limits.MAX_FILES_PER_GAME}")
            if total > limits.MAX_GAME_BYTES:
                raise ArchiveBomb(listing.name, f"makes more than {limits.MAX_GAME_BYTES} bytes")
    paths: tuple[dict[int, str], ...] = tuple({} for _ in listings)
    for target, (at, number) in winners.items():
        paths[at][number] = target
    return Layout(paths, tuple(sorted(tree.folders())), sizes, total)


class _Tree:
    """The names so far, each in its first spelling."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {"": ""}

    def folder(self, path: str) -> str:
        """A folder and those above it; returns its spelling."""
        key = fold_path(path)
        spelled = self._folders.get(key)
        if spelled is None:
            if key in self._files:
                raise UnsafePath(path, "is a file in one archive and a folder in another")
            spelled = self._folders[key] = self._below(path)
        return spelled

    def file(self, path: str) -> str:
        key = fold_path(path)
        if key in self._folders:
            raise UnsafePath(path, "is a file in one archive and a folder in another")
        spelled = self._files.get(key)
        if spelled is None:
            spelled = self._files[key] = self._below(path)
        return spelled

    def folders(self) -> list[str]:
        return [path for path in self._folders.values() if path]

    def _below(self, path: str) -> str:
        above, _, name = path.rpartition("/")
        parent = self.folder(above)
        return f"{parent}/{name}" if parent else name
