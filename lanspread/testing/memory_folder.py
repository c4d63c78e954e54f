"""`Folder` and `File` over the tree of a `MemoryFileSystem`: the errors are Linux's."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from lanspread.fs.closing import Closing
from lanspread.fs.disk import split_name
from lanspread.seams import Entry, Glance, Kind
from lanspread.testing.durability import Resize, Write
from lanspread.testing.memory_nodes import FileNode, FolderNode, LinkNode, Node, failure

if TYPE_CHECKING:
    from lanspread.testing.memory_files import MemoryFileSystem

Mode = Literal["read", "write", "create", "new"]


class MemoryFolder(Closing):
    """A folder held open; `Folder`'s promises hold."""

    def __init__(self, files: MemoryFileSystem, node: FolderNode, path: str) -> None:
        self._files = files
        self._node = node
        self._path = path
        self._closed = False

    @property
    def path(self) -> str:
        return self._path

    def list(self, rel: str = "") -> list[Entry]:
        children = self._folder_at(rel).children
        return [child.entry(name, self._files.device) for name, child in children.items()]

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        return [
            (one.name, one.kind, one.size, one.mtime_ns, one.inode)
            if details(one.name)
            else (one.name, one.kind, 0, 0, 0)
            for one in self.list()
        ]

    def entry(self, rel: str = "") -> Entry:
        if not rel:
            return self._held().entry("", self._files.device)
        parent, name = self._parent(rel)
        return _child(parent, name).entry(name, self._files.device)

    def exists(self, rel: str) -> bool:
        try:
            self.entry(rel)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def folder(self, rel: str, *, follow: bool = False) -> MemoryFolder:
        path = "/".join([self._path.rstrip("/"), *split_name(rel)])
        if follow and rel:
            parent, name = self._parent(rel)
            child = _child(parent, name)
            node = self._followed(rel, child) if isinstance(child, LinkNode) else child
            if not isinstance(node, FolderNode):
                raise failure(errno.ENOTDIR, rel)
            return MemoryFolder(self._files, node, path)
        return MemoryFolder(self._files, self._folder_at(rel), path)

    def open(self, rel: str, mode: Mode) -> MemoryFile:
        if not rel:
            raise failure(errno.EINVAL if mode == "read" else errno.EISDIR)
        parent, name = self._parent(rel)
        node = parent.children.get(name)
        if node is not None and mode == "new":
            raise failure(errno.EEXIST, rel)
        if node is None and mode in ("create", "new"):
            self._writable(parent, rel)
            node = self._make_file(parent, name)
        match node:
            case None:
                raise failure(errno.ENOENT, rel)
            case LinkNode():
                raise failure(errno.ELOOP, rel)
            case FolderNode() if mode != "read":
                raise failure(errno.EISDIR, rel)
            case FileNode():
                return MemoryFile(self._files, node, name, writable=mode != "read")
        raise failure(errno.EINVAL, rel)

    def make_folder(self, rel: str, *, like: str | None = None) -> None:
        parent, name = self._parent(rel)
        there = parent.children.get(name)
        if there is None:
            self._writable(parent, rel)
            made = FolderNode(self._files.next_inode(), self._files.now_ns())
            self._files.add(parent, name, made)
        elif there.kind is not Kind.FOLDER:
            raise failure(errno.EEXIST, rel)

    def rename(self, source: str, target: str) -> None:
        old, old_name = self._parent(source)
        new, new_name = self._parent(target)
        node = _child(old, old_name)
        there = new.children.get(new_name)
        if node is there:
            return
        if isinstance(node, FolderNode) and _holds(node, new):
            raise failure(errno.EINVAL, target)
        if isinstance(there, FolderNode) and _holds(there, old):
            raise failure(errno.ENOTEMPTY, target)
        if there is not None:
            _check_replaceable(node, there, target)
        self._writable(new, target)
        self._files.move(old, old_name, new, new_name)

    def link_or_copy(self, source: str, target: str) -> None:
        old, old_name = self._parent(source)
        new, new_name = self._parent(target)
        node = _child(old, old_name)
        if isinstance(node, FolderNode):
            raise failure(errno.EISDIR, source)
        if new_name in new.children:
            raise failure(errno.EEXIST, target)
        self._writable(new, target)
        if self._files.hard_links or not isinstance(node, FileNode):
            self._files.add(new, new_name, node)
            node.names += 1
            return
        with MemoryFile(self._files, self._make_file(new, new_name), new_name, writable=True) as f:
            f.write_at(node.content, 0)
            f.set_attributes(mtime_ns=node.mtime_ns, executable=node.executable)

    def remove_file(self, rel: str) -> None:
        parent, name = self._parent(rel)
        if isinstance(_child(parent, name), FolderNode):
            raise failure(errno.EISDIR, rel)
        self._files.drop(parent, name)

    def remove_folder(self, rel: str) -> None:
        parent, name = self._parent(rel)
        node = _child(parent, name)
        if not isinstance(node, FolderNode):
            raise failure(errno.ENOTDIR, rel)
        if node.children:
            raise failure(errno.ENOTEMPTY, rel)
        self._files.drop(parent, name)

    def sync_folder(self, rel: str = "") -> None:
        self._files.ledger.sync_folder(self._folder_at(rel))

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        for rel in files:
            with self.open(rel, "read") as file:
                file.sync()
        for rel in folders:
            self.sync_folder(rel)

    def system_path(self, rel: str) -> None:
        if self.entry(rel).kind is not Kind.FILE:
            raise failure(errno.EINVAL, rel)

    def free_bytes(self) -> int:
        self._held()
        return max(0, self._files.space.capacity - self._files.space.used)

    def close(self) -> None:
        self._closed = True

    def _held(self) -> FolderNode:
        if self._closed:
            raise failure(errno.EBADF, self._path)
        return self._node

    def _make_file(self, parent: FolderNode, name: str) -> FileNode:
        node = FileNode(self._files.next_inode(), self._files.now_ns())
        self._files.add(parent, name, node)
        return node

    def _folder_at(self, rel: str) -> FolderNode:
        node: Node = self._held()
        if rel:
            node = _child(*self._parent(rel))
        if not isinstance(node, FolderNode):
            raise failure(errno.ENOTDIR, rel)
        return node

    def _parent(self, rel: str) -> tuple[FolderNode, str]:
        """The folder that a name is in, reached without following a link, and its last part."""
        node = self._held()
        parts = split_name(rel)
        if not parts:
            raise OSError(errno.EINVAL, "the folder itself is not a name in it", self._path)
        for part in parts[:-1]:
            child = _child(node, part)
            if not isinstance(child, FolderNode):
                raise failure(errno.ENOTDIR, rel)
            node = child
        return node, parts[-1]

    def _followed(self, rel: str, link: LinkNode) -> Node:
        if link.target.startswith("/"):
            return self._files.find(link.target)
        return self._files.find(f"{self._path}/{rel.rpartition('/')[0]}/{link.target}")

    def _writable(self, parent: FolderNode, rel: str) -> None:
        # Nothing can be made in a folder that was removed while it was held open.
        if not parent.linked:
            raise failure(errno.ENOENT, rel)


def _child(parent: FolderNode, name: str) -> Node:
    node = parent.children.get(name)
    if node is None:
        raise failure(errno.ENOENT, name)
    return node


def _holds(folder: FolderNode, other: Node) -> bool:
    return folder is other or any(
        _holds(child, other) for child in folder.children.values() if isinstance(child, FolderNode)
    )


def _check_replaceable(node: Node, there: Node, target: str) -> None:
    """Whether a rename may put `node` in the place of `there`. Raises `OSError`."""
    if isinstance(there, FolderNode):
        if not isinstance(node, FolderNode):
            raise failure(errno.EISDIR, target)
        if there.children:
            raise failure(errno.ENOTEMPTY, target)
    elif isinstance(node, FolderNode):
        raise failure(errno.ENOTDIR, target)


class MemoryFile(Closing):
    """An open regular file; `File`'s promises hold."""

    def __init__(
        self, files: MemoryFileSystem, node: FileNode, name: str, *, writable: bool
    ) -> None:
        self._files = files
        self._node = node
        self._name = name
        self._writable = writable
        self._closed = False

    def read_at(self, size: int, offset: int) -> bytes:
        return bytes(memoryview(self._open().content)[offset : offset + size])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        data = self.read_at(len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    def write_at(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        node = self._open()
        if not self._writable:
            raise failure(errno.EBADF, self._name)
        if data:
            view = memoryview(data).cast("B")
            unsynced = self._files.ledger.unsynced(node)
            node.write(view, offset, self._files.space)
            unsynced.changes.append(Write(offset, bytes(view)))
            node.mtime_ns = self._files.now_ns()

    def truncate(self, size: int) -> None:
        node = self._open()
        if not self._writable:
            raise failure(errno.EINVAL, self._name)
        unsynced = self._files.ledger.unsynced(node)
        node.resize(size, self._files.space)
        unsynced.changes.append(Resize(size))
        node.mtime_ns = self._files.now_ns()

    def start_sync(self, offset: int, size: int) -> None:
        """What the power leaves of unsynced bytes is `power`'s to choose, with this or without."""
        self._open()

    def sync(self) -> None:
        self._files.ledger.sync_file(self._open())

    def set_attributes(self, *, mtime_ns: int | None, executable: bool) -> None:
        node = self._open()
        node.executable = executable
        if mtime_ns is not None:
            node.mtime_ns = mtime_ns

    def entry(self) -> Entry:
        return self._open().entry(self._name, self._files.device)

    def close(self) -> None:
        self._closed = True

    def _open(self) -> FileNode:
        if self._closed:
            raise failure(errno.EBADF, self._name)
        return self._node
