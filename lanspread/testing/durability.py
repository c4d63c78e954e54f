"""What of a file system in memory is on its disk, and what only in its cache.

A file's bytes are durable as of the last sync of that file, a folder's names as of the last sync of
that folder: each says nothing of the other. Between syncs every change is remembered on its own, so
that `power` can let any of them reach the disk.

What a journaling file system promises besides is modelled, and no more: a rename is one change,
in both of its folders; changes of one name reach the disk in their order; what is moved between
folders does not arrive before the folders that were made or moved earlier; and a folder that is
gone was empty. Times and permissions are not modelled: they stay as they were last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from lanspread.testing.memory_nodes import FileNode, FolderNode, Node

Slot = tuple[FolderNode, str]


@attrs.frozen(eq=False)
class NameChange:
    """One change of names that happens or does not: a name goes, a name comes, or both at once.

    `needs`: the earlier changes without which it cannot be.
    """

    gone: Slot | None
    come: Slot | None
    node: Node
    needs: frozenset[NameChange]

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in (self.gone, self.come) if slot is not None)

    @property
    def folders(self) -> frozenset[FolderNode]:
        return frozenset(folder for folder, _ in self.slots)

    def apply(self, names: Mapping[FolderNode, dict[str, Node]]) -> None:
        if self.gone is not None:
            folder, name = self.gone
            del names[folder][name]
        if self.come is not None:
            folder, name = self.come
            names[folder][name] = self.node


@attrs.frozen
class Write:
    """Bytes that were written and not synced."""

    offset: int
    data: bytes


@attrs.frozen
class Resize:
    """A size that was set and not synced."""

    size: int


@attrs.frozen
class UnsyncedFile:
    """A file's content on the disk, and what was done to it since, in order."""

    content: bytes
    changes: list[Write | Resize] = attrs.field(factory=list)


class Ledger:
    """Every change that is not yet durable, in order."""

    def __init__(self) -> None:
        self.changes: list[NameChange] = []
        self.files: dict[FileNode, UnsyncedFile] = {}
        # What is durable, of folders with changes that are not.
        self._names: dict[FolderNode, dict[str, Node]] = {}
        self._last: dict[Slot, NameChange] = {}

    # -- what happens -----------------------------------------------------------------------------

    def name_changes(self, node: Node, *, gone: Slot | None, come: Slot | None) -> NameChange:
        """A name of `node` is about to go, to come, or to become another."""
        slots = [slot for slot in (gone, come) if slot is not None]
        needs = {self._last[slot] for slot in slots if slot in self._last}
        if gone is not None and come is not None and gone[0] is not come[0]:
            needs |= {one for one in self.changes if one.come and isinstance(one.node, FolderNode)}
        removed = node if come is None else come[0].children.get(come[1])
        if isinstance(removed, FolderNode):
            needs |= {one for one in self.changes if removed in one.folders}
        change = NameChange(gone, come, node, frozenset(needs))
        for folder in change.folders:
            self._names.setdefault(folder, dict(folder.children))
        self.changes.append(change)
        self._last.update(dict.fromkeys(slots, change))
        return change

    def unsynced(self, node: FileNode) -> UnsyncedFile:
        """What is not synced of a file that is about to change: its next change belongs there."""
        if node not in self.files:
            self.files[node] = UnsyncedFile(bytes(node.content))
        return self.files[node]

    # -- what becomes durable ---------------------------------------------------------------------

    def sync_file(self, node: FileNode) -> None:
        """A file's bytes and size are on the disk; its name is another matter."""
        self.files.pop(node, None)

    def sync_folder(self, folder: FolderNode) -> None:
        """A folder's names are on the disk; what is in the files is another matter."""
        self.settle(change for change in self.changes if folder in change.folders)

    def settle(self, changes: Iterable[NameChange]) -> None:
        """These changes of names are on the disk, and what they need."""
        settled: set[NameChange] = set()
        pending = list(changes)
        while pending:
            change = pending.pop()
            if change not in settled:
                settled.add(change)
                pending += change.needs
        for change in self.changes:
            if change in settled:
                change.apply(self._names)
        self.changes = [change for change in self.changes if change not in settled]
        unsettled = {folder for change in self.changes for folder in change.folders}
        self._names = {f: names for f, names in self._names.items() if f in unsettled}
        self._last = {slot: change for change in self.changes for slot in change.slots}

    # -- for whoever looks after the power is back ------------------------------------------------

    def names_with(self, kept: Iterable[NameChange]) -> dict[FolderNode, dict[str, Node]]:
        """Names on the disk if these changes reached it, in order; of other folders as they are."""
        names = {folder: dict(held) for folder, held in self._names.items()}
        for change in kept:
            change.apply(names)
        return names
