"""A file system that counts what it is asked, and may be slow: the real one behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import Entry, File, FileSystem, Folder, Glance
from tests.fs.support import RecordingFolder


class CountingFiles:
    """`FileSystem`. `asked` counts calls: folders opened and listed, looks at one name, files.

    `peek` is one listing; `details` are the names of which it was told more than the kind.
    """

    def __init__(self, inner: FileSystem | None = None) -> None:
        self.inner = inner or DiskFileSystem()
        self.asked: Counter[str] = Counter()

    def open_folder(self, path: str) -> Folder:
        self.asked["root"] += 1
        return _CountingFolder(self.inner.open_folder(path), self)

    def taken(self) -> dict[str, int]:
        """What was asked since the last time, without the looks for the games folder itself."""
        asked = {name: count for name, count in self.asked.items() if name != "root"}
        self.asked.clear()
        return asked


class _CountingFolder(RecordingFolder):
    def __init__(self, inner: Folder, files: CountingFiles) -> None:
        super().__init__(inner, [])
        self._files = files

    def list(self, rel: str = "") -> list[Entry]:
        entries = self.inner.list(rel)
        self._files.asked["list"] += 1
        self._files.asked["lstat"] += len(entries)
        return entries

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        glances = self.inner.peek(details)
        self._files.asked["peek"] += 1
        self._files.asked["lstat"] += sum(details(glance[0]) for glance in glances)
        return glances

    def entry(self, rel: str = "") -> Entry:
        if rel:
            self._files.asked["lstat"] += 1
        return self.inner.entry(rel)

    def folder(self, rel: str, *, follow: bool = False) -> Folder:
        found = self.inner.folder(rel, follow=follow)
        self._files.asked["folder"] += 1
        return _CountingFolder(found, self._files)

    def open(self, rel: str, mode: Literal["read", "write", "create", "new"]) -> File:
        self._files.asked["open"] += 1
        return self.inner.open(rel, mode)
