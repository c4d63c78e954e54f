"""What the tests of installing share: a game in memory, archives that are lists, a watch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import attrs
from blake3 import blake3

from lanspread.fs.archives.members import Archive, ArchiveDamaged, Member, MemberKind, Sink
from lanspread.fs.errors import Stopped
from lanspread.fs.install.record import InstalledFile
from lanspread.seams import Folder, Kind
from lanspread.testing import MemoryFileSystem

PATH = "/games/g"
CHUNK = 16


@attrs.define
class FakeArchive:
    """An archive with these files; `None` is a folder."""

    name: str
    files: Mapping[str, bytes | None]
    volumes: Sequence[str]
    members: Sequence[Member] = ()
    packed_bytes: int = 1000
    cut_off: bool = False
    lies_by: int = 0
    is_open: bool = True

    def __attrs_post_init__(self) -> None:
        self.members = [
            Member(
                path,
                MemberKind.FOLDER if data is None else MemberKind.FILE,
                0 if data is None else len(data) + self.lies_by,
                mtime_ns=1_000_000_000 + number,
                executable=path.endswith(".exe"),
            )
            for number, (path, data) in enumerate(self.files.items())
        ]

    def unpack(self, sink: Sink) -> None:
        assert self.is_open
        for number, data in enumerate(self.files.values()):
            if data is None:
                continue
            if self.cut_off and number == len(self.files) - 1:
                raise ArchiveDamaged(self.name, "is cut off")
            sink.begin(number)
            for at in range(0, len(data), CHUNK):
                sink.data(memoryview(data)[at : at + CHUNK])
            sink.end()

    def close(self) -> None:
        self.is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


V1: dict[str, bytes | None] = {
    "game.exe": b"program 1",
    "config.ini": b"default",
    "data/level": b"level 1",
    "data/old": b"gone in 2",
    "empty": None,
}
V2: dict[str, bytes | None] = {
    "game.exe": b"program 2",
    "config.ini": b"default",
    "data/level": b"level 2",
    "more/new": b"new in 2",
}
# What is in an archive, by what its file holds.
ARCHIVES: dict[bytes, dict[str, bytes | None]] = {b"one": V1, b"two": V2}


def open_fake(folder: Folder, name: str) -> Archive:
    """An `Opener` for files that name one of `ARCHIVES`."""
    with folder.open(name, "read") as file:
        data = file.read_at(100, 0)
    return FakeArchive(name, ARCHIVES[data], (name,))


def opener(
    archives: Mapping[str, Mapping[str, bytes | None]], **options: object
) -> Callable[[Folder, str], Archive]:
    """An `Opener` of archives by their names."""
    return lambda folder, name: FakeArchive(name, archives[name], (name,), **options)  # type: ignore[arg-type]


def new_files() -> MemoryFileSystem:
    """A file system in which no two changes have the same time."""
    clock = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    return MemoryFileSystem(lambda: next(clock))


def put_game(files: MemoryFileSystem, version: int = 1) -> None:
    """A game that was copied here, of the first version or the second."""
    files.write_file(f"{PATH}/version.ini", b"%d.0\n" % version)
    files.write_file(f"{PATH}/game.eti", {1: b"one", 2: b"two"}[version])


def contents(archive: Mapping[str, bytes | None]) -> dict[str, bytes]:
    return {path: data for path, data in archive.items() if data is not None}


def tree(folder: Folder, root: str) -> dict[str, bytes | Kind] | None:
    """Everything below: the content of files, what the others are; None if it is no folder."""
    if not folder.exists(root) or folder.entry(root).kind is not Kind.FOLDER:
        return None
    found: dict[str, bytes | Kind] = {}
    waiting = [root]
    while waiting:
        rel = waiting.pop()
        for entry in folder.list(rel):
            path = f"{rel}/{entry.name}" if rel else entry.name
            below = path.removeprefix(f"{root}/") if root else path
            if entry.kind is Kind.FILE:
                with folder.open(path, "read") as file:
                    found[below] = file.read_at(entry.size, 0)
            else:
                found[below] = entry.kind
            if entry.kind is Kind.FOLDER:
                waiting.append(path)
    return found


def files_in(folder: Folder, root: str) -> dict[str, bytes] | None:
    """The content of all files below; None if it is no folder."""
    found = tree(folder, root)
    if found is None:
        return None
    return {path: data for path, data in sorted(found.items()) if isinstance(data, bytes)}


def own_names(folder: Folder) -> list[str]:
    """What of ours is at a game's root."""
    return sorted(entry.name for entry in folder.list() if entry.name.startswith("."))


def write(folder: Folder, rel: str, data: bytes) -> None:
    parts = rel.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        folder.make_folder("/".join(parts[:count]))
    with folder.open(rel, "create") as file:
        file.truncate(len(data))
        file.write_at(data, 0)


def installed_file(data: bytes) -> InstalledFile:
    return InstalledFile(len(data), blake3(data).digest())


@attrs.define
class Counter:
    """A watch that counts, and stops at a step."""

    stop_at: int | None = None
    steps: int = 0
    done: int = 0
    expected: int | None = None

    def expect(self, total_bytes: int) -> None:
        assert self.expected is None
        self.expected = total_bytes

    def step(self) -> None:
        self.steps += 1
        if self.stop_at is not None and self.steps > self.stop_at:
            raise Stopped("asked to stop")

    def advance(self, size_bytes: int) -> None:
        self.done += size_bytes
