"""`FileSystem` in memory: what the disk promises, with its errors, without a disk.

Paths are absolute and POSIX. Times come from the clock that it is given. `Folder` and `File` behave
as `lanspread.fs.disk` does on Linux, and the same tests hold both to it; in particular no call
follows a link below a folder. A layer that counts calls, or fails at one, wraps these three seams;
`snapshot` and `restore` are what a crash needs.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import attrs

from lanspread.testing.memory_folder import MemoryFolder
from lanspread.testing.memory_nodes import (
    FileNode,
    FolderNode,
    LinkNode,
    Node,
    Space,
    content_bytes,
    copy_tree,
    failure,
    release,
)

N = TypeVar("N", bound=Node)

_MAX_LINKS: Final = 40
_TIB: Final = 1024**4
_devices = itertools.count(1)


@attrs.frozen
class Snapshot:
    """All that a file system held at one moment."""

    _root: FolderNode


class MemoryFileSystem:
    """A tree of its own. `now_ns` is the time that files get, in nanoseconds since 1970."""

    def __init__(
        self, now_ns: Callable[[], int] = lambda: 0, *, capacity_bytes: int = _TIB
    ) -> None:
        self.device = next(_devices)
        self.space = Space(capacity_bytes)
        self._now_ns = now_ns
        self._inodes = itertools.count(2)
        self._root = FolderNode(1, now_ns())

    def open_folder(self, path: str) -> MemoryFolder:
        """Open a folder by its path, following links. Raises `OSError`."""
        node = self.find(path)
        if not isinstance(node, FolderNode):
            raise failure(errno.ENOTDIR, path)
        return MemoryFolder(self, node, path)

    # -- what a test does without opening anything ------------------------------------------------

    def write_file(self, path: str, data: bytes, *, mtime_ns: int | None = None) -> None:
        """Make or replace a file and the folders above it. Raises `OSError`."""
        above, _, name = path.rpartition("/")
        parent = self.make_folders(above)
        self.discard(path)
        node = FileNode(next(self._inodes), self._now_ns())
        node.write(data, 0, self.space)
        self.add(parent, name, node)
        if mtime_ns is not None:
            node.mtime_ns = mtime_ns

    def make_folders(self, path: str) -> FolderNode:
        """Make a folder and those above it. Raises `OSError` where something else is in the way."""
        node = self._root
        for part in _parts(path):
            child = node.children.get(part)
            if child is None:
                child = self.add(node, part, FolderNode(next(self._inodes), self._now_ns()))
            if not isinstance(child, FolderNode):
                raise failure(errno.ENOTDIR, path)
            node = child
        return node

    def make_link(self, path: str, target: str) -> None:
        """A symbolic link. Raises `OSError`."""
        above, _, name = path.rpartition("/")
        node = LinkNode(next(self._inodes), self._now_ns(), target=target)
        self.add(self.make_folders(above), name, node)

    def make_other(self, path: str) -> None:
        """Something that is neither file, folder nor link, such as a named pipe."""
        above, _, name = path.rpartition("/")
        self.add(self.make_folders(above), name, Node(next(self._inodes), self._now_ns()))

    def discard(self, path: str) -> None:
        """Remove a file, or a folder with everything in it; that there is none is no error."""
        above, _, name = path.rpartition("/")
        try:
            parent = self.find(above)
        except OSError:
            return
        if isinstance(parent, FolderNode) and name in parent.children:
            self.drop(parent, name)

    def read_tree(self, path: str) -> dict[str, bytes]:
        """Path below `path` to content, of every file; links are left out. Raises `OSError`."""
        found: dict[str, bytes] = {}
        pending = [("", self.find(path))]
        while pending:
            rel, node = pending.pop()
            if isinstance(node, FileNode):
                found[rel] = bytes(node.content)
            elif isinstance(node, FolderNode):
                prefix = f"{rel}/" if rel else ""
                pending += [(prefix + name, child) for name, child in node.children.items()]
        return dict(sorted(found.items()))

    def is_executable(self, path: str) -> bool:
        """Whether a file was made a program. Raises `OSError`."""
        node = self.find(path)
        return isinstance(node, FileNode) and node.executable

    def write_tree(
        self, path: str, files: Mapping[str, bytes], *, mtime_ns: int | None = None
    ) -> None:
        """`write_file` for each."""
        self.make_folders(path)
        for rel, data in files.items():
            self.write_file(f"{path}/{rel}", data, mtime_ns=mtime_ns)

    def snapshot(self) -> Snapshot:
        """What is there now, to be given to `restore`."""
        return Snapshot(copy_tree(self._root))

    def restore(self, snapshot: Snapshot) -> None:
        """As it was then. What is open belongs to the tree of before and changes nothing here."""
        root = copy_tree(snapshot._root)
        release(self._root, self.space)
        self._root = root
        self.space.used = content_bytes(root)

    # -- used by folders and files ----------------------------------------------------------------

    def now_ns(self) -> int:
        return self._now_ns()

    def next_inode(self) -> int:
        return next(self._inodes)

    def add(self, parent: FolderNode, name: str, node: N) -> N:
        """Give a node a name; it must be free."""
        if name in parent.children:
            raise failure(errno.EEXIST, name)
        parent.children[name] = node
        parent.mtime_ns = self._now_ns()
        return node

    def drop(self, parent: FolderNode, name: str) -> None:
        """Take a node's name away."""
        release(parent.children.pop(name), self.space)
        parent.mtime_ns = self._now_ns()

    def find(self, path: str) -> Node:
        """The node behind a path, links followed. Raises `OSError`."""
        if path and not path.startswith("/"):
            raise failure(errno.EINVAL, path)
        trail: list[FolderNode] = []
        node: Node = self._root
        pending = _parts(path)[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if not isinstance(node, FolderNode):
                raise failure(errno.ENOTDIR, path)
            if part == "..":
                node = trail.pop() if trail else node
                continue
            child = node.children.get(part)
            if child is None:
                raise failure(errno.ENOENT, path)
            if isinstance(child, LinkNode):
                links += 1
                if links > _MAX_LINKS:
                    raise failure(errno.ELOOP, path)
                if child.target.startswith("/"):
                    node, trail = self._root, []
                pending += _parts(child.target)[::-1]
                continue
            trail.append(node)
            node = child
        return node


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
