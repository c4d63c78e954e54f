"""The machine's file system behind the seams: `FileSystem`, `Folder` and `File`.

On POSIX a folder is a descriptor and every name is walked from it, one part at a time, without
following links: whatever happens on the disk meanwhile, no name reaches outside the folder. Systems
without `dir_fd` have `disk_paths.PathFolder`, which asks before each step instead.
Source: ARCHITECTURE.md, "Seams".
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from lanspread import limits
from lanspread.fs import disk_copy, sync_disk
from lanspread.fs.closing import Closing
from lanspread.seams import Entry, Folder, Glance, Kind

Mode = Literal["read", "write", "create", "new"]

HAS_DIR_FD: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")

# Neither Windows nor old versions of macOS have it.
_HAS_PREADV: Final = hasattr(os, "preadv")
_HAS_ATTRIBUTES: Final = hasattr(os.stat_result, "st_file_attributes")
_HAS_BLOCKS: Final = hasattr(os.stat_result, "st_blocks")
_INODE_MASK: Final = (1 << 64) - 1
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
# O_NONBLOCK: opening a FIFO must not wait for its other end.
_FILE_FLAGS: Final = (
    _CLOEXEC | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)
# A larger write is given huge pages by file systems that know them. They come fresh from the end of
# the memory, which in a virtual machine the host has to find first: that cost ten times as much.
_WRITE_BYTES: Final = 512 * limits.KIB
_FOLDER_FLAGS: Final = os.O_RDONLY | _CLOEXEC | _DIRECTORY
# Passing through a folder needs no permission to list it.
_PASS_FLAGS: Final = getattr(os, "O_PATH", os.O_RDONLY) | _CLOEXEC | _DIRECTORY | _NOFOLLOW
_MODE_FLAGS: Final[dict[Mode, int]] = {
    "read": os.O_RDONLY,
    "write": os.O_RDWR,
    "create": os.O_RDWR | os.O_CREAT,
    "new": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}


class DiskFileSystem:
    """Where folders come from on this machine."""

    def open_folder(self, path: str) -> Folder:
        """Open a folder by its path, following links. Raises `OSError`."""
        if not HAS_DIR_FD:
            from lanspread.fs.disk_paths import PathFolder

            return PathFolder.open_root(path)
        return DiskFolder(os.open(path, _FOLDER_FLAGS), os.path.abspath(path))


def split_name(rel: str) -> list[str]:
    """The parts of a name below a folder. Raises `OSError` for one that is no such name."""
    if not rel:
        return []
    parts = rel.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part:
            raise OSError(errno.EINVAL, "not a name below the folder", rel)
    if not rel.isascii():
        try:
            os.fsencode(rel)
        except UnicodeEncodeError:
            raise OSError(errno.EINVAL, "not a name that this system can write", rel) from None
    return parts


def name_of(rel: str) -> str:
    """The last part of a name."""
    return rel.rpartition("/")[2]


def entry_of(name: str, status: os.stat_result) -> Entry:
    """An entry from what `lstat` or `fstat` said."""
    if stat.S_ISREG(status.st_mode):
        kind = Kind.FILE
    elif stat.S_ISDIR(status.st_mode):
        kind = Kind.FOLDER
    elif stat.S_ISLNK(status.st_mode):
        kind = Kind.LINK
    else:
        kind = Kind.OTHER
    # Windows: a junction is a directory by its mode and leads elsewhere like a link.
    attributes = getattr(status, "st_file_attributes", 0) if _HAS_ATTRIBUTES else 0
    if attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT:
        kind = Kind.LINK
    blocks = status.st_blocks if _HAS_BLOCKS else None
    return Entry(
        name,
        kind,
        status.st_size,
        status.st_mtime_ns,
        # Some systems have wider ones than any format of ours; what they differ in is enough.
        status.st_ino & _INODE_MASK,
        status.st_dev,
        None if blocks is None else blocks * 512,
        status.st_nlink,
    )


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    """An entry's kind as the listing itself tells it, which on most systems costs nothing."""
    if entry.is_file(follow_symlinks=False):
        return Kind.FILE
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    return Kind.LINK if entry.is_symlink() else Kind.OTHER


class DiskFolder(Closing):
    """A folder held by its descriptor; `Folder`'s promises hold. Not to be closed while in use."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    @property
    def path(self) -> str:
        return self._path

    def list(self, rel: str = "") -> list[Entry]:
        entries = []
        with self._opened(rel) as descriptor, os.scandir(descriptor) as found:
            for one in found:
                # A name that is gone by now is no error.
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(one.name, dir_fd=descriptor, follow_symlinks=False)
                    entries.append(entry_of(one.name, status))
        return entries

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        found = []
        with self._opened("") as descriptor, os.scandir(descriptor) as entries:
            for one in entries:
                if details(one.name):
                    with contextlib.suppress(FileNotFoundError):
                        status = os.stat(one.name, dir_fd=descriptor, follow_symlinks=False)
                        # No `Entry`: a start sees every archive of every game.
                        inode = status.st_ino & _INODE_MASK
                        kind = _kind_of(one)
                        found.append((one.name, kind, status.st_size, status.st_mtime_ns, inode))
                else:
                    found.append((one.name, _kind_of(one), 0, 0, 0))
        return found

    def entry(self, rel: str = "") -> Entry:
        if not rel:
            return entry_of("", os.fstat(self._descriptor))
        if "/" not in rel:
            (name,) = split_name(rel)
            return entry_of(name, os.stat(name, dir_fd=self._descriptor, follow_symlinks=False))
        with self._parent(rel) as (parent, name):
            return entry_of(name, os.stat(name, dir_fd=parent, follow_symlinks=False))

    def exists(self, rel: str) -> bool:
        try:
            self.entry(rel)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def folder(self, rel: str, *, follow: bool = False) -> Folder:
        flags = _FOLDER_FLAGS if follow else _FOLDER_FLAGS | _NOFOLLOW
        return DiskFolder(self._open(rel, flags), os.path.join(self._path, *split_name(rel)))

    def open(self, rel: str, mode: Mode) -> DiskFile:
        descriptor = self._open(rel, _MODE_FLAGS[mode] | _FILE_FLAGS)
        # What was only just made needs no look.
        return DiskFile(descriptor, name_of(rel)) if mode == "new" else adopt_file(descriptor, rel)

    def make_folder(self, rel: str, *, like: str | None = None) -> None:
        mode = None if like is None else self._folder_mode(like)
        with self._parent(rel) as (parent, name):
            try:
                # At no time may more people look into it than into the other.
                os.mkdir(name, 0o777 if mode is None else mode, dir_fd=parent)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise
                return
        if mode is not None:
            with self._opened(rel) as descriptor:
                disk_copy.set_permissions(descriptor, mode)

    def _folder_mode(self, rel: str) -> int:
        with self._parent(rel) as (parent, name):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        return disk_copy.folder_permissions(status.st_mode)

    def rename(self, source: str, target: str) -> None:
        with self._parent(source) as (old, old_name), self._parent(target) as (new, new_name):
            os.replace(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)

    def link_or_copy(self, source: str, target: str) -> None:
        with self._parent(source) as (old, old_name), self._parent(target) as (new, new_name):
            status = os.stat(old_name, dir_fd=old, follow_symlinks=False)
            kind = entry_of(old_name, status).kind
            disk_copy.link_or_copy(kind, old_name, new_name, source_dir=old, target_dir=new)

    def remove_file(self, rel: str) -> None:
        with self._parent(rel) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def remove_folder(self, rel: str) -> None:
        with self._parent(rel) as (parent, name):
            os.rmdir(name, dir_fd=parent)

    def sync_folder(self, rel: str = "") -> None:
        with self._opened(rel) as descriptor:
            sync_disk.sync_descriptor(descriptor)

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        if (
            len(files) + len(folders) >= sync_disk.MANY
            and self._on_one_device(files, folders)
            and sync_disk.sync_whole(self._descriptor)
        ):
            return
        for rel in files:
            with self.open(rel, "read") as file:
                file.sync()
        for rel in folders:
            self.sync_folder(rel)

    def system_path(self, rel: str) -> str:
        if self.entry(rel).kind is not Kind.FILE:
            raise OSError(errno.EINVAL, "not a regular file", rel)
        # Through the descriptor it stays the same folder, whatever becomes of its path.
        held = f"/proc/self/fd/{self._descriptor}"
        return f"{held if os.path.isdir(held) else self._path}/{rel}"

    def free_bytes(self) -> int:
        status = os.fstatvfs(self._descriptor)
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self, rel: str, flags: int) -> int:
        if not rel:
            return os.open(".", flags, dir_fd=self._descriptor)
        if "/" not in rel:
            (name,) = split_name(rel)
            return os.open(name, flags, 0o666, dir_fd=self._descriptor)
        with self._parent(rel) as (parent, name):
            return os.open(name, flags, 0o666, dir_fd=parent)

    @contextlib.contextmanager
    def _opened(self, rel: str) -> Iterator[int]:
        descriptor = self._open(rel, _FOLDER_FLAGS | _NOFOLLOW)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _parent(self, rel: str) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder that a name is in, and the name's last part."""
        parts = split_name(rel)
        if not parts:
            raise OSError(errno.EINVAL, "the folder itself is not a name in it", self._path)
        current = self._descriptor
        try:
            for part in parts[:-1]:
                following = os.open(part, _PASS_FLAGS, dir_fd=current)
                if current != self._descriptor:
                    os.close(current)
                current = following
            yield current, parts[-1]
        finally:
            if current != self._descriptor:
                os.close(current)

    def _on_one_device(self, files: Sequence[str], folders: Sequence[str]) -> bool:
        """Whether one file system holds them all: another may be mounted below a game."""
        device = self.entry().device
        places = {rel.rpartition("/")[0] for rel in files} | set(folders)
        return all(self.entry(rel).device == device for rel in places)


def permissions(descriptor: int, executable: bool) -> int:
    """What a file's permissions are to be: whoever may read a program may run it."""
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o666
    return mode | (mode & 0o444) >> 2 if executable else mode


def adopt_file(descriptor: int, rel: str) -> DiskFile:
    """A file from its descriptor; what is not a regular file is closed and an `OSError`."""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    if not regular:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", rel)
    return DiskFile(descriptor, name_of(rel))


class DiskFile(Closing):
    """An open regular file."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name

    def read_at(self, size: int, offset: int) -> bytes:
        data = self._pread(size, offset)
        if len(data) == size or not data:
            return data
        pieces = [data]
        have = len(data)
        while have < size:
            data = self._pread(size - have, offset + have)
            if not data:
                break
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        have = 0
        while have < len(buffer):
            count = self._pread_into(buffer[have:] if have else buffer, offset + have)
            if not count:
                break
            have += count
        return have

    def write_at(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        view = memoryview(data).cast("B")
        while view:
            written = self._pwrite(view[:_WRITE_BYTES], offset)
            view = view[written:]
            offset += written

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def start_sync(self, offset: int, size: int) -> None:
        sync_disk.start_sync(self._descriptor, offset, size)

    def sync(self) -> None:
        sync_disk.sync_descriptor(self._descriptor)

    def set_attributes(self, *, mtime_ns: int | None, executable: bool) -> None:
        disk_copy.set_permissions(self._descriptor, permissions(self._descriptor, executable))
        if mtime_ns is not None:
            self._set_time(mtime_ns)

    def entry(self) -> Entry:
        return entry_of(self._name, os.fstat(self._descriptor))

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _set_time(self, mtime_ns: int) -> None:
        disk_copy.set_time(self._descriptor, mtime_ns)

    def _pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def _pread_into(self, buffer: memoryview, offset: int) -> int:
        if _HAS_PREADV:
            return os.preadv(self._descriptor, [buffer], offset)
        data = self._pread(len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    def _pwrite(self, data: memoryview, offset: int) -> int:
        return os.pwrite(self._descriptor, data, offset)
