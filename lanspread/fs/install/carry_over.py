"""What an update takes along from the old `local/` into the new one, and under which names. Pure.

The rule: whatever the user made or changed is there afterwards under some name. What is as an
install of ours left it is ours, and the new version decides about it.

| the user's file | in the new version | becomes |
|---|---|---|
| as installed | anything | what the new version says |
| changed | as in the old version | stays: the user's wins |
| changed | not there | stays |
| changed, or not from us | another one | the new one wins, the user's is beside it |
| the same as the new one | | the new one |

"Beside it" is `NAME.before-update`, or the next free name like it. So is what stands where the new
version has a folder, and the folder that stands where it has a file. Without a record nothing is
known to be ours. Links are the user's and taken along as links; so are empty folders that no
install made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from lanspread.fs.errors import CannotKeep
from lanspread.fs.install.record import InstalledFile, InstallRecord
from lanspread.fs.paths import fold_path
from lanspread.seams import Entry, Kind

SUFFIX: Final = ".before-update"


@attrs.frozen
class Keep:
    """A file or link to be taken along; `replaces` one of the new version that is there now."""

    source: str
    target: str
    replaces: bool = False


@attrs.frozen
class CarryOver:
    """`folders` are to be made first, parents first, each with the user's folder that it is for;
    `empty` are those of them that the user had empty."""

    folders: Mapping[str, str]
    keeps: tuple[Keep, ...]
    empty: tuple[str, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """What is taken along, by its new name, sorted."""
        return tuple(sorted([*(keep.target for keep in self.keeps), *self.empty]))


def plan_carry_over(
    theirs: Mapping[str, Entry],
    record: InstallRecord | None,
    new: Mapping[str, InstalledFile],
    new_folders: Iterable[str],
    digest_of: Callable[[str], bytes],
    *,
    folds: bool,
) -> CarryOver:
    """Plan it.

    `theirs` is the old `local/`, parents first; `new` and `new_folders` are what was unpacked.
    `digest_of` is asked for the BLAKE3 of a file of `theirs` only where its size does not tell.
    `folds`: the disk takes names that differ in case or Unicode form for the same.

    Raises `CannotKeep` for what is neither file, folder nor link, and what `digest_of` raises.
    """
    return _Planner(theirs, record, new, new_folders, digest_of, folds).run()


def not_keepable(path: str) -> CannotKeep:
    """What to say of a pipe, a socket or a device of the user's."""
    return CannotKeep(path, "it is neither a file, a folder nor a link")


class _Planner:
    def __init__(
        self,
        theirs: Mapping[str, Entry],
        record: InstallRecord | None,
        new: Mapping[str, InstalledFile],
        new_folders: Iterable[str],
        digest_of: Callable[[str], bytes],
        folds: bool,
    ) -> None:
        self._key: Callable[[str], str] = fold_path if folds else str
        self._theirs = theirs
        self._their_keys = {self._key(path) for path in theirs}
        record = record or InstallRecord("", {})
        self._old = {self._key(path): file for path, file in record.files.items()}
        self._old_folders = {self._key(path) for path in record.folders}
        self._digest_of = digest_of
        # The new `local/`: how each name is spelled there.
        self._files = {self._key(path): path for path in new}
        self._new = new
        self._folders = {"": "", **{self._key(path): path for path in new_folders}}
        self._replaced: set[str] = set()
        self._made: dict[str, str] = {}
        self._keeps: list[Keep] = []
        self._empty: list[str] = []
        self._placed: dict[str, str] = {"": ""}

    def run(self) -> CarryOver:
        parents = {path.rpartition("/")[0] for path in self._theirs}
        for path, entry in sorted(self._theirs.items()):
            match entry.kind:
                case Kind.FOLDER:
                    ours = self._key(path) in self._old_folders | self._folders.keys()
                    if path not in parents and not ours:
                        self._empty.append(self._folder(path))
                case Kind.FILE | Kind.LINK:
                    self._judge(path, entry)
                case Kind.OTHER:
                    raise not_keepable(path)
        return CarryOver(self._made, tuple(self._keeps), tuple(self._empty))

    def _judge(self, path: str, entry: Entry) -> None:
        key = self._key(path)
        old = self._old.get(key)
        there = self._files.get(key)
        new = None if there is None else self._new.get(there)
        if old is not None and self._is(path, entry, old):
            return
        if there is None or new is None:
            self._keep(path)
        elif self._is(path, entry, new):
            return
        elif old == new and key not in self._replaced:
            self._replaced.add(key)
            self._keeps.append(Keep(path, there, replaces=True))
        else:
            self._keep(path)

    def _is(self, path: str, entry: Entry, file: InstalledFile) -> bool:
        return (
            entry.kind is Kind.FILE
            and entry.size == file.size
            and self._digest_of(path) == file.digest
        )

    def _keep(self, path: str) -> None:
        target = self._free(self._below(path))
        self._files[self._key(target)] = target
        self._keeps.append(Keep(path, target))

    def _folder(self, path: str) -> str:
        """Where a folder of the user's is to be; it is made if the new version has none there."""
        missing = []
        while path not in self._placed:
            missing.append(path)
            path = path.rpartition("/")[0]
        target = self._placed[path]
        for below in reversed(missing):
            target = self._placed[below] = self._made_in(target, below)
        return target

    def _made_in(self, parent: str, theirs: str) -> str:
        name = theirs.rpartition("/")[2]
        target = f"{parent}/{name}" if parent else name
        there = self._folders.get(self._key(target))
        if there is not None:
            return there
        target = self._free(target)
        self._folders[self._key(target)] = target
        self._made[target] = theirs
        return target

    def _below(self, path: str) -> str:
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        return f"{parent}/{name}" if parent else name

    def _free(self, target: str) -> str:
        """The name itself if nothing of the new `local/` has it, else one like it."""
        if not self._is_taken(target):
            return target
        count = 1
        while True:
            other = f"{target}{SUFFIX}" if count == 1 else f"{target}{SUFFIX}-{count}"
            # What else the user has may come to be there.
            if not self._is_taken(other) and self._key(other) not in self._their_keys:
                return other
            count += 1

    def _is_taken(self, target: str) -> bool:
        key = self._key(target)
        return key in self._files or key in self._folders
