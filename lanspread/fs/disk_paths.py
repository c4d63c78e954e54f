"""`Folder` for systems without `dir_fd` (Windows): paths, and a look at each part before a step.

Weaker than a descriptor: a part that becomes a link between the look and the step is followed. On
those systems only the user himself can do that to his own folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from typing import Final

from lanspread.fs import disk_copy, sync_disk
from lanspread.fs.closing import Closing
from lanspread.fs.disk import DiskFile, Mode, entry_of, split_name
from lanspread.seams import Entry, Folder, Glance, Kind

_HAS_PREAD: Final = hasattr(os, "pread")
_FLAGS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_MODE_FLAGS: Final[dict[Mode, int]] = {
    "read": os.O_RDONLY,
    "write": os.O_RDWR,
    "create": os.O_RDWR | os.O_CREAT,
    "new": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}


class PathFolder(Closing):
    """A folder held by its resolved path; `device` and `inode` are checked at every call."""

    def __init__(self, path: str) -> None:
        self._path = path
        status = os.lstat(path)
        self._identity = (status.st_dev, status.st_ino)

    @classmethod
    def open_root(cls, path: str) -> PathFolder:
        """Open a folder by its path in the system, following links. Raises `OSError`."""
        real = os.path.realpath(path, strict=True)
        if not os.path.isdir(real):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return cls(real)

    @property
    def path(self) -> str:
        return self._path

    def list(self, rel: str = "") -> list[Entry]:
        path = self._folder_path(rel)
        entries = []
        for name in os.listdir(path):
            with contextlib.suppress(FileNotFoundError):
                entries.append(entry_of(name, os.lstat(os.path.join(path, name))))
        return entries

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        # Without `d_type` a name's kind costs as much as its details.
        return [
            (one.name, one.kind, one.size, one.mtime_ns, one.inode)
            if details(one.name)
            else (one.name, one.kind, 0, 0, 0)
            for one in self.list()
        ]

    def entry(self, rel: str = "") -> Entry:
        path = self._checked(rel) if rel else self._folder_path("")
        return entry_of(rel.rpartition("/")[2], os.lstat(path))

    def exists(self, rel: str) -> bool:
        try:
            self.entry(rel)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def folder(self, rel: str, *, follow: bool = False) -> Folder:
        if follow and rel:
            return PathFolder.open_root(self._checked(rel))
        return PathFolder(self._folder_path(rel))

    def open(self, rel: str, mode: Mode) -> DiskFile:
        path = self._checked(rel)
        try:
            kind = entry_of("", os.lstat(path)).kind
        except FileNotFoundError:
            kind = Kind.FILE
        else:
            if mode == "new":
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), rel)
        if kind is not Kind.FILE:
            raise OSError(errno.EINVAL, "not a regular file", rel)
        descriptor = os.open(path, _MODE_FLAGS[mode] | _FLAGS, 0o666)
        return PathFile(descriptor, path)

    def make_folder(self, rel: str, *, like: str | None = None) -> None:
        path = self._checked(rel)
        mode = 0o777
        if like is not None and os.name != "nt":
            mode = disk_copy.folder_permissions(os.lstat(self._checked(like)).st_mode)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if entry_of("", os.lstat(path)).kind is not Kind.FOLDER:
                raise
            return
        if like is not None and os.name != "nt":
            with contextlib.suppress(OSError):
                os.chmod(path, mode)

    def rename(self, source: str, target: str) -> None:
        os.replace(self._checked(source), self._checked(target))

    def link_or_copy(self, source: str, target: str) -> None:
        old, new = self._checked(source), self._checked(target)
        disk_copy.link_or_copy(entry_of("", os.lstat(old)).kind, old, new)

    def remove_file(self, rel: str) -> None:
        os.unlink(self._checked(rel))

    def remove_folder(self, rel: str) -> None:
        os.rmdir(self._checked(rel))

    def sync_folder(self, rel: str = "") -> None:
        # NTFS journals names itself, and Windows has no call for it.
        path = self._folder_path(rel)
        if os.name != "nt":
            descriptor = os.open(path, os.O_RDONLY)
            try:
                sync_disk.sync_descriptor(descriptor)
            finally:
                os.close(descriptor)

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        for rel in files:
            # Windows flushes only what is open for writing.
            with self.open(rel, "write") as file:
                file.sync()
        for rel in folders:
            self.sync_folder(rel)

    def system_path(self, rel: str) -> str:
        path = self._checked(rel)
        if entry_of("", os.lstat(path)).kind is not Kind.FILE:
            raise OSError(errno.EINVAL, "not a regular file", rel)
        return path

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._folder_path("")).free

    def close(self) -> None:
        """Nothing is held."""

    def _checked(self, rel: str) -> str:
        """The path of a name whose parents are all plain folders."""
        parts = split_name(rel)
        if not parts:
            raise OSError(errno.EINVAL, "the folder itself is not a name in it", self._path)
        if os.name == "nt" and any("\\" in part or ":" in part for part in parts):
            raise OSError(errno.EINVAL, "not a name below the folder", rel)
        path = self._root()
        for part in parts[:-1]:
            path = os.path.join(path, part)
            if entry_of("", os.lstat(path)).kind is not Kind.FOLDER:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), rel)
        return os.path.join(path, parts[-1])

    def _folder_path(self, rel: str) -> str:
        if not rel:
            return self._root()
        path = self._checked(rel)
        if entry_of("", os.lstat(path)).kind is not Kind.FOLDER:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), rel)
        return path

    def _root(self) -> str:
        status = os.lstat(self._path)
        if (status.st_dev, status.st_ino) != self._identity:
            raise FileNotFoundError(errno.ENOENT, "another folder took its place", self._path)
        return self._path


class PathFile(DiskFile):
    """An open file where the system may have no positioned reads: seek and read under a lock."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, os.path.basename(path))
        self._path = path
        self._lock = threading.Lock()

    def _set_time(self, mtime_ns: int) -> None:
        if os.utime in os.supports_fd:
            super()._set_time(mtime_ns)
        else:
            disk_copy.set_time(self._path, mtime_ns)

    def _pread(self, size: int, offset: int) -> bytes:
        if _HAS_PREAD:
            return super()._pread(size, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, size)

    def _pwrite(self, data: memoryview, offset: int) -> int:
        if _HAS_PREAD:
            return super()._pwrite(data, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, data)
