"""Power loss: what a disk may hold of what was written and not synced."""

from __future__ import annotations

import random
from typing import Final, Literal

import attrs

from lanspread.testing.durability import Ledger, NameChange, Resize, UnsyncedFile, Write
from lanspread.testing.memory_nodes import FileNode, FolderNode, Node


@attrs.frozen
class PowerLoss:
    """Which of the changes that nobody synced reach the disk.

    `names`: none of them, all, or a subset that a file system could leave. `contents`: a file has
    its last synced bytes; its last size, with zeros where something was added; all that was
    written; or some of the writes, whole, torn or as zeros. `seed` decides about each "some".
    """

    names: Literal["lost", "kept", "some"]
    contents: Literal["lost", "zeros", "kept", "some"]
    seed: int = 0

    def __str__(self) -> str:
        seed = f", seed {self.seed}" if "some" in (self.names, self.contents) else ""
        return f"names {self.names}, contents {self.contents}{seed}"


EVERYTHING_LOST: Final = PowerLoss("lost", "lost")
# Only the process died, the machine did not.
EVERYTHING_KEPT: Final = PowerLoss("kept", "kept")
# A rename that survives and the bytes do not: the usual way to lose a file.
CONTENTS_LOST: Final = PowerLoss("kept", "lost")
CONTENTS_ZEROED: Final = PowerLoss("kept", "zeros")
NAMES_LOST: Final = PowerLoss("lost", "kept")


def some_kept(seed: int) -> PowerLoss:
    """Each change by chance."""
    return PowerLoss("some", "some", seed)


POWER_LOSSES: Final = (
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    CONTENTS_LOST,
    CONTENTS_ZEROED,
    NAMES_LOST,
    PowerLoss("some", "kept", 1),
    PowerLoss("some", "lost", 2),
    *map(some_kept, range(3, 8)),
)


def surviving_tree(root: FolderNode, ledger: Ledger, loss: PowerLoss) -> FolderNode:
    """The tree that is on the disk when the power is back, in nodes of its own."""
    chance = random.Random(loss.seed)
    names = ledger.names_with(_kept_changes(ledger.changes, loss, chance))
    contents = {
        node: _content_left(node, unsynced, loss, chance) for node, unsynced in ledger.files.items()
    }
    copies: dict[Node, Node] = {}

    def copy(node: Node) -> Node:
        there = copies.get(node)
        if there is not None:
            there.names += 1
            return there
        match node:
            case FolderNode():
                held = names.get(node, node.children)
                children = {name: copy(child) for name, child in held.items()}
                made: Node = node.copied(1, children)
            case FileNode():
                made = node.copied(1, contents.get(node, node.content))
            case _:
                made = attrs.evolve(node, names=1)
        copies[node] = made
        return made

    survivor = copy(root)
    assert isinstance(survivor, FolderNode)
    return survivor


def _kept_changes(
    changes: list[NameChange], loss: PowerLoss, chance: random.Random
) -> list[NameChange]:
    match loss.names:
        case "lost":
            return []
        case "kept":
            return changes
        case "some":
            unsettled = set(changes)
            lost: set[NameChange] = set()
            for change in changes:
                if lost & change.needs & unsettled or chance.random() < 0.5:
                    lost.add(change)
            return [change for change in changes if change not in lost]


def _content_left(
    node: FileNode, unsynced: UnsyncedFile, loss: PowerLoss, chance: random.Random
) -> bytes | bytearray:
    match loss.contents:
        case "lost":
            return unsynced.content
        case "kept":
            return node.content
        case "zeros":
            content = bytearray(unsynced.content)
            for change in unsynced.changes:
                _apply(content, change, "zeros")
            return content
        case "some":
            content = bytearray(unsynced.content)
            for change in unsynced.changes:
                _apply(content, change, chance.choice(("whole", "torn", "zeros", "lost")))
            return content


def _apply(content: bytearray, change: Write | Resize, how: str) -> None:
    """One change as far as it reached the disk; a size is set or not."""
    if isinstance(change, Resize):
        if how != "lost":
            _set_size(content, change.size)
        return
    if how == "lost":
        return
    end = change.offset + len(change.data)
    if end > len(content):
        # Also if torn: the size may be there before the bytes.
        _set_size(content, end)
    if how != "zeros":
        data = change.data[: len(change.data) // 2] if how == "torn" else change.data
        content[change.offset : change.offset + len(data)] = data


def _set_size(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
