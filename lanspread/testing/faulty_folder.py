"""`Folder` and `File` of a `FaultyFileSystem`: each call asks first whether it may happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from lanspread.fs.closing import Closing
from lanspread.seams import Entry, File, Folder, Glance

if TYPE_CHECKING:
    from lanspread.testing.faults import FaultyFileSystem


class FaultyFolder(Closing):
    """A folder held open; `Folder`'s promises hold until something goes wrong."""

    def __init__(self, inner: Folder, files: FaultyFileSystem) -> None:
        self._inner = inner
        self._files = files

    @property
    def path(self) -> str:
        return self._inner.path

    def list(self, rel: str = "") -> list[Entry]:
        self._files.look("list", self._whole(rel))
        return self._inner.list(rel)

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        self._files.look("list", self.path)
        return self._inner.peek(details)

    def entry(self, rel: str = "") -> Entry:
        self._files.look("entry", self._whole(rel))
        return self._inner.entry(rel)

    def exists(self, rel: str) -> bool:
        self._files.look("exists", self._whole(rel))
        return self._inner.exists(rel)

    def folder(self, rel: str, *, follow: bool = False) -> FaultyFolder:
        self._files.look("folder", self._whole(rel))
        return FaultyFolder(self._inner.folder(rel, follow=follow), self._files)

    def open(self, rel: str, mode: Literal["read", "write", "create", "new"]) -> FaultyFile:
        path = self._whole(rel)
        self._files.look("open", path)
        if mode in ("create", "new") and not self._inner.exists(rel):
            self._files.step("create", path)
        return FaultyFile(self._inner.open(rel, mode), self._files, path)

    def make_folder(self, rel: str, *, like: str | None = None) -> None:
        path = self._whole(rel)
        self._files.look("exists", path)
        if not self._inner.exists(rel):
            self._files.step("make_folder", path)
        self._inner.make_folder(rel, like=like)

    def rename(self, source: str, target: str) -> None:
        self._files.step("rename", self._whole(source), self._whole(target))
        self._inner.rename(source, target)

    def link_or_copy(self, source: str, target: str) -> None:
        self._files.step("link_or_copy", self._whole(source), self._whole(target))
        self._inner.link_or_copy(source, target)

    def remove_file(self, rel: str) -> None:
        self._files.step("remove_file", self._whole(rel))
        self._inner.remove_file(rel)

    def remove_folder(self, rel: str) -> None:
        self._files.step("remove_folder", self._whole(rel))
        self._inner.remove_folder(rel)

    def sync_folder(self, rel: str = "") -> None:
        self._files.step("sync_folder", self._whole(rel))
        self._inner.sync_folder(rel)

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        def half() -> None:
            self._inner.sync_all(files[: len(files) // 2], [])

        self._files.step("sync_all", self.path, half=half)
        self._inner.sync_all(files, folders)

    def system_path(self, rel: str) -> str | None:
        self._files.look("entry", self._whole(rel))
        return self._inner.system_path(rel)

    def free_bytes(self) -> int:
        self._files.look("free_bytes", self.path)
        return self._inner.free_bytes()

    def close(self) -> None:
        self._inner.close()

    def _whole(self, rel: str) -> str:
        return f"{self.path.rstrip('/')}/{rel}" if rel else self.path


class FaultyFile(Closing):
    """An open file; `File`'s promises hold until something goes wrong."""

    def __init__(self, inner: File, files: FaultyFileSystem, path: str) -> None:
        self._inner = inner
        self._files = files
        self._path = path

    def read_at(self, size: int, offset: int) -> bytes:
        self._files.look("read_at", self._path)
        return self._inner.read_at(size, offset)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        self._files.look("read_into", self._path)
        return self._inner.read_into(buffer, offset)

    def write_at(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        view = memoryview(data).cast("B")

        def half() -> None:
            self._inner.write_at(view[: len(view) // 2], offset)

        self._files.step("write_at", self._path, half=half)
        self._inner.write_at(view, offset)

    def truncate(self, size: int) -> None:
        self._files.step("truncate", self._path)
        self._inner.truncate(size)

    def start_sync(self, offset: int, size: int) -> None:
        self._files.look("start_sync", self._path)
        self._inner.start_sync(offset, size)

    def sync(self) -> None:
        self._files.step("sync", self._path)
        self._inner.sync()

    def set_attributes(self, *, mtime_ns: int | None, executable: bool) -> None:
        self._files.step("set_attributes", self._path)
        self._inner.set_attributes(mtime_ns=mtime_ns, executable=executable)

    def entry(self) -> Entry:
        self._files.look("entry", self._path)
        return self._inner.entry()

    def close(self) -> None:
        self._inner.close()
