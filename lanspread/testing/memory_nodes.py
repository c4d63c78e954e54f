"""What a file system in memory is made of: files, folders, links and other things, in a tree.

Pure: no clock, no names to look up, no errors but "no space". `memory_files` puts the seam on top.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final

import attrs

from lanspread.seams import Entry, Kind

BLOCK_BYTES: Final = 4_096


def failure(number: int, name: str = "") -> OSError:
    """The error that the system would raise."""
    return OSError(number, os.strerror(number), name or None)


@attrs.define
class Space:
    """How many bytes of content the whole tree may hold, and holds."""

    capacity: int
    used: int = 0

    def take(self, size: int) -> None:
        """Raises `OSError` (`ENOSPC`)."""
        if size > 0 and self.used + size > self.capacity:
            raise failure(errno.ENOSPC)
        self.used += size


@attrs.define(eq=False)
class Node:
    """A thing in the tree. `names`: how many it has; what is in a folder without one has none."""

    inode: int
    mtime_ns: int
    names: int = 1

    @property
    def linked(self) -> bool:
        return self.names > 0

    @property
    def kind(self) -> Kind:
        return Kind.OTHER

    @property
    def size(self) -> int:
        return 0

    def entry(self, name: str, device: int) -> Entry:
        """What `lstat` says of it."""
        size = self.size
        allocated = -(-size // BLOCK_BYTES) * BLOCK_BYTES
        return Entry(
            name, self.kind, size, self.mtime_ns, self.inode, device, allocated, self.names
        )


@attrs.define(eq=False)
class FileNode(Node):
    """A regular file. Its bytes stay usable while somebody has it open, name or not."""

    content: bytearray = attrs.field(factory=bytearray)
    executable: bool = False

    @property
    def kind(self) -> Kind:
        return Kind.FILE

    @property
    def size(self) -> int:
        return len(self.content)

    def copied(self, names: int, content: bytes | bytearray) -> FileNode:
        """The same file with a content of its own. Crashes make many: `attrs.evolve` is slow."""
        return FileNode(self.inode, self.mtime_ns, names, bytearray(content), self.executable)

    def write(self, data: bytes | bytearray | memoryview, offset: int, space: Space) -> None:
        end = offset + len(data)
        if end > len(self.content):
            self.resize(end, space)
        self.content[offset:end] = data

    def resize(self, size: int, space: Space) -> None:
        """Cut, or fill up with zeros."""
        grown = size - len(self.content)
        if self.linked:
            space.take(grown)
        if grown > 0:
            self.content.extend(bytes(grown))
        else:
            del self.content[size:]


@attrs.define(eq=False)
class FolderNode(Node):
    """A folder: names to nodes, in the order in which they came."""

    children: dict[str, Node] = attrs.field(factory=dict)

    @property
    def kind(self) -> Kind:
        return Kind.FOLDER

    @property
    def size(self) -> int:
        return BLOCK_BYTES

    def copied(self, names: int, children: dict[str, Node]) -> FolderNode:
        """The same folder with these things in it."""
        return FolderNode(self.inode, self.mtime_ns, names, children)


@attrs.define(eq=False, kw_only=True)
class LinkNode(Node):
    """A symbolic link."""

    target: str

    @property
    def kind(self) -> Kind:
        return Kind.LINK

    @property
    def size(self) -> int:
        return len(os.fsencode(self.target))


def release(node: Node, space: Space) -> None:
    """The node has lost a name; with the last one everything in it goes, too."""
    node.names -= 1
    if node.linked:
        return
    if isinstance(node, FileNode):
        space.used -= len(node.content)
    elif isinstance(node, FolderNode):
        for child in node.children.values():
            release(child, space)


def copy_tree(root: FolderNode) -> FolderNode:
    """The same tree in nodes of its own; inodes, times and second names are kept."""
    copies: dict[Node, Node] = {}

    def copy_folder(folder: FolderNode) -> FolderNode:
        children = {name: copy_node(child) for name, child in folder.children.items()}
        return folder.copied(folder.names, children)

    def copy_node(node: Node) -> Node:
        there = copies.get(node)
        if there is None:
            match node:
                case FolderNode():
                    there = copy_folder(node)
                case FileNode():
                    there = node.copied(node.names, node.content)
                case _:
                    there = attrs.evolve(node)
            copies[node] = there
        return there

    return copy_folder(root)


def walk(root: FolderNode) -> Iterator[tuple[str, Node]]:
    """(path below `root`, node) of everything in a tree, by path; a file comes with each name."""
    pending: list[tuple[str, Node]] = [("", root)]
    while pending:
        rel, node = pending.pop()
        if rel:
            yield rel, node
        if isinstance(node, FolderNode):
            prefix = f"{rel}/" if rel else ""
            below = sorted(node.children.items(), reverse=True)
            pending += [(prefix + name, child) for name, child in below]


def content_bytes(root: FolderNode) -> int:
    """Bytes of content in a tree; a file with two names counts once."""
    return sum(node.size for node in {node for _, node in walk(root) if isinstance(node, FileNode)})
