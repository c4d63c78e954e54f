"""`FileSystem` in memory: what the disk promises, with its errors, without a disk.

Paths are absolute and POSIX. Times come from the clock that it is given. `Folder` and `File` behave
as `lanspread.fs.disk` does on Linux, and the same tests hold both to it; in particular no call
follows a link below a folder. It remembers what was synced, for `lose_power`; a layer that fails at
a call or dies there is `faults.FaultyFileSystem`.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from lanspread.seams import Kind
from lanspread.testing.durability import Ledger, NameChange
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
    walk,
)
from lanspread.testing.power import PowerLoss, surviving_tree

_MAX_LINKS: Final = 40
_TIB: Final = 1024**4
_devices = itertools.count(1)


@attrs.frozen
class Snapshot:
    """All that a file system held at one moment."""

    _root: FolderNode
    _next_inode: int

    @property
    def newest_ns(self) -> int:
        """The time of the last change, in nanoseconds since 1970."""
        return max([self._root.mtime_ns, *(node.mtime_ns for _, node in walk(self._root))])

    def looks(self) -> tuple[tuple[str, Kind, object], ...]:
        """All that can be seen of it but times and inodes, by path: (path, kind, what is in it)."""
        return tuple((rel, node.kind, _substance(node)) for rel, node in walk(self._root))


class MemoryFileSystem:
    """A tree of its own. `now_ns` is the time that files get, in nanoseconds since 1970.

    `hard_links`: whether a file can have a second name; without, `link_or_copy` copies.
    """

    def __init__(
        self,
        now_ns: Callable[[], int] = lambda: 0,
        *,
        capacity_bytes: int = _TIB,
        hard_links: bool = True,
    ) -> None:
        self.device = next(_devices)
        self.space = Space(capacity_bytes)
        self.hard_links = hard_links
        self.ledger = Ledger()
        self._now_ns = now_ns
        self._next_inode = 2
        self._root = FolderNode(1, now_ns())

    def open_folder(self, path: str) -> MemoryFolder:
        """Open a folder by its path, following links. Raises `OSError`."""
        node = self.find(path)
        if not isinstance(node, FolderNode):
            raise failure(errno.ENOTDIR, path)
        return MemoryFolder(self, node, path)

    # -- what a test does without opening anything: durable at once, nothing is lost of it --------

    def write_file(self, path: str, data: bytes, *, mtime_ns: int | None = None) -> None:
        """Make or replace a file and the folders above it. Raises `OSError`."""
        above, _, name = path.rpartition("/")
        parent = self.make_folders(above)
        self.discard(path)
        node = FileNode(self.next_inode(), self._now_ns())
        node.write(data, 0, self.space)
        self._add_durably(parent, name, node)
        if mtime_ns is not None:
            node.mtime_ns = mtime_ns

    def make_folders(self, path: str) -> FolderNode:
        """Make a folder and those above it. Raises `OSError` where something else is in the way."""
        node = self._root
        for part in _parts(path):
            child = node.children.get(part)
            if child is None:
                child = FolderNode(self.next_inode(), self._now_ns())
                self._add_durably(node, part, child)
            if not isinstance(child, FolderNode):
                raise failure(errno.ENOTDIR, path)
            node = child
        return node

    def make_link(self, path: str, target: str) -> None:
        """A symbolic link. Raises `OSError`."""
        above, _, name = path.rpartition("/")
        node = LinkNode(self.next_inode(), self._now_ns(), target=target)
        self._add_durably(self.make_folders(above), name, node)

    def make_other(self, path: str) -> None:
        """Something that is neither file, folder nor link, such as a named pipe."""
        above, _, name = path.rpartition("/")
        node = Node(self.next_inode(), self._now_ns())
        self._add_durably(self.make_folders(above), name, node)

    def discard(self, path: str) -> None:
        """Remove a file, or a folder with everything in it; that there is none is no error."""
        above, _, name = path.rpartition("/")
        try:
            parent = self.find(above)
        except OSError:
            return
        if isinstance(parent, FolderNode) and name in parent.children:
            self.ledger.settle([self.drop(parent, name)])

    def read_tree(self, path: str) -> dict[str, bytes]:
        """Path below `path` to content, of every file; links are left out. Raises `OSError`."""
        top = self.find(path)
        if isinstance(top, FileNode):
            return {"": bytes(top.content)}
        if not isinstance(top, FolderNode):
            return {}
        return {rel: bytes(node.content) for rel, node in walk(top) if isinstance(node, FileNode)}

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
        return Snapshot(copy_tree(self._root), self._next_inode)

    def sync(self) -> None:
        """Everything is durable now."""
        self.ledger = Ledger()

    def after_power_loss(self, loss: PowerLoss) -> Snapshot:
        """What would be there if the power went now, and came back."""
        return Snapshot(surviving_tree(self._root, self.ledger, loss), self._next_inode)

    def lose_power(self, loss: PowerLoss) -> None:
        """What was not synced is lost or kept as `loss` says; the same seed, the same tree.

        What is open belongs to the tree of before and changes nothing here.
        """
        self.restore(self.after_power_loss(loss))

    def restore(self, snapshot: Snapshot) -> None:
        """As it was then, and durable. What is open belongs to the tree of before and changes
        nothing here."""
        root = copy_tree(snapshot._root)
        release(self._root, self.space)
        self._root = root
        self._next_inode = max(self._next_inode, snapshot._next_inode)
        self.space.used = content_bytes(root)
        self.ledger = Ledger()

    # -- used by folders and files ----------------------------------------------------------------

    def now_ns(self) -> int:
        return self._now_ns()

    def next_inode(self) -> int:
        self._next_inode += 1
        return self._next_inode - 1

    def add(self, parent: FolderNode, name: str, node: Node) -> NameChange:
        """Give a node a name; it must be free."""
        if name in parent.children:
            raise failure(errno.EEXIST, name)
        change = self.ledger.name_changes(node, gone=None, come=(parent, name))
        parent.children[name] = node
        parent.mtime_ns = self._now_ns()
        return change

    def drop(self, parent: FolderNode, name: str) -> NameChange:
        """Take a node's name away."""
        node = parent.children[name]
        change = self.ledger.name_changes(node, gone=(parent, name), come=None)
        del parent.children[name]
        release(node, self.space)
        parent.mtime_ns = self._now_ns()
        return change

    def move(self, old: FolderNode, old_name: str, new: FolderNode, new_name: str) -> None:
        """Give a node another name, in the place of what has that name."""
        node = old.children[old_name]
        self.ledger.name_changes(node, gone=(old, old_name), come=(new, new_name))
        del old.children[old_name]
        replaced = new.children.pop(new_name, None)
        if replaced is not None:
            release(replaced, self.space)
        new.children[new_name] = node
        old.mtime_ns = new.mtime_ns = self._now_ns()

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

    def _add_durably(self, parent: FolderNode, name: str, node: Node) -> None:
        self.ledger.settle([self.add(parent, name, node)])


def _substance(node: Node) -> object:
    match node:
        case FileNode():
            return bytes(node.content), node.executable
        case LinkNode():
            return node.target
        case _:
            return None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
