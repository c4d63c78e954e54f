"""What the tests of the disk share: small games, inline threads, a watcher, recording folders."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar, TypeVarTuple

import attrs
import trio
import trio.testing

from lanspread.fs.catalog import Catalog
from lanspread.fs.digests import hash_files
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.library import Library, open_library
from lanspread.fs.manifest import block_digest, content_hash, manifest_hash, manifest_of
from lanspread.fs.paths import VERSION_INI
from lanspread.model import FileEntry, Manifest, blocks_of
from lanspread.seams import Entry, File, FileStamp, FileSystem, Folder, Glance, Index, Pool
from lanspread.testing import MemoryIndex

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BLOCK = 1024


class InlineThreads:
    """Runs the call where it stands; remembers how many and in which pools."""

    def __init__(self) -> None:
        self.pools: list[str] = []

    async def run(
        self,
        call: Callable[[*Ts], T],
        *args: *Ts,
        pool: Pool = "disk",
        on_cancel: Callable[[], object] | None = None,
    ) -> T:
        await trio.lowlevel.checkpoint()
        self.pools.append(pool)
        return call(*args)


class FakeWatcher:
    """Hints what the test tells it to."""

    def __init__(self) -> None:
        self.send: trio.MemorySendChannel[frozenset[str]] | None = None

    @asynccontextmanager
    async def watch(
        self,
        games: str,
        on_warning: Callable[[str, str, str], None],
        is_held: Callable[[str], bool],
    ) -> AsyncIterator[trio.MemoryReceiveChannel[frozenset[str]]]:
        await trio.lowlevel.checkpoint()
        self.send, receive = trio.open_memory_channel[frozenset[str]](100)
        async with self.send, receive:
            yield receive

    def changed(self, *names: str) -> None:
        assert self.send is not None
        self.send.send_nowait(frozenset(names))


def write_tree(folder: Path, files: Mapping[str, bytes]) -> None:
    for rel, data in files.items():
        path = folder / rel
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read_tree(folder: Path) -> dict[str, bytes]:
    """All files of a game but our own."""
    return {
        rel: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (rel := path.relative_to(folder).as_posix()).startswith(".")
    }


def open_folder(path: Path) -> Folder:
    return DiskFileSystem().open_folder(str(path))


def manifest_of_files(files: Mapping[str, bytes]) -> Manifest:
    return manifest_of(FileEntry(path, len(data)) for path, data in files.items())


def digests_of_files(files: Mapping[str, bytes], block_bytes: int = BLOCK) -> tuple[bytes, ...]:
    manifest = manifest_of_files(files)
    return tuple(
        block_digest(files[manifest.files[number].path][offset : offset + length])
        for number, offset, length in blocks_of(manifest, block_bytes)
    )


def stamps_of(folder: Folder, manifest: Manifest) -> list[FileStamp]:
    stamps = []
    for file in manifest.files:
        entry = folder.entry(file.path)
        stamps.append(FileStamp(file.path, entry.size, entry.mtime_ns, entry.inode))
    return stamps


def hash_tree(folder: Folder, manifest: Manifest) -> dict[FileStamp, tuple[bytes, ...]]:
    return hash_files(folder, stamps_of(folder, manifest), BLOCK)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class RecordingFolder:
    """A folder that logs every call, and fails at the n-th that it is told to."""

    def __init__(self, inner: Folder, log: list[tuple[str, ...]], fail_at: int | None = None):
        self.inner = inner
        self.log = log
        self.fail_at = fail_at
        self.open_files = 0

    def count_open(self, change: int) -> None:
        self.open_files += change

    def step(self, *call: str) -> None:
        self.log.append(call)
        if self.fail_at is not None and len(self.log) > self.fail_at:
            raise OSError(5, "the disk is broken", *call[1:2])

    @property
    def path(self) -> str:
        return self.inner.path

    def list(self, rel: str = "") -> list[Entry]:
        self.step("list", rel)
        return self.inner.list(rel)

    def peek(self, details: Callable[[str], bool]) -> Sequence[Glance]:
        self.step("peek")
        return self.inner.peek(details)

    def entry(self, rel: str = "") -> Entry:
        self.step("entry", rel)
        return self.inner.entry(rel)

    def exists(self, rel: str) -> bool:
        self.step("exists", rel)
        return self.inner.exists(rel)

    def folder(self, rel: str, *, follow: bool = False) -> Folder:
        self.step("folder", rel)
        return _RecordingBelow(self, rel, self.inner.folder(rel, follow=follow))

    def open(self, rel: str, mode: Literal["read", "write", "create", "new"]) -> File:
        self.step(f"open-{mode}", rel)
        file = RecordingFile(self.inner.open(rel, mode), self, rel)
        self.count_open(1)
        return file

    def make_folder(self, rel: str, *, like: str | None = None) -> None:
        self.step("make_folder", rel)
        self.inner.make_folder(rel, like=like)

    def rename(self, source: str, target: str) -> None:
        self.step("rename", source, target)
        self.inner.rename(source, target)

    def link_or_copy(self, source: str, target: str) -> None:
        self.step("link_or_copy", source, target)
        self.inner.link_or_copy(source, target)

    def remove_file(self, rel: str) -> None:
        self.step("remove_file", rel)
        self.inner.remove_file(rel)

    def remove_folder(self, rel: str) -> None:
        self.step("remove_folder", rel)
        self.inner.remove_folder(rel)

    def sync_folder(self, rel: str = "") -> None:
        self.step("sync_folder", rel)
        self.inner.sync_folder(rel)

    def sync_all(self, files: Sequence[str], folders: Sequence[str]) -> None:
        self.step("sync_all", *files, "|", *folders)
        self.inner.sync_all(files, folders)

    def system_path(self, rel: str) -> str | None:
        self.step("system_path", rel)
        return self.inner.system_path(rel)

    def free_bytes(self) -> int:
        self.step("free_bytes")
        return self.inner.free_bytes()

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _RecordingBelow(RecordingFolder):
    """A folder below one that records: there, by the names that things have from the top."""

    def __init__(self, top: RecordingFolder, rel: str, inner: Folder) -> None:
        super().__init__(inner, top.log)
        self._top = top
        self._rel = rel

    def count_open(self, change: int) -> None:
        self._top.count_open(change)

    def step(self, *call: str) -> None:
        self._top.step(call[0], *(f"{self._rel}/{rel}" if rel else self._rel for rel in call[1:]))


class RecordingFile:
    def __init__(self, inner: File, folder: RecordingFolder, rel: str) -> None:
        self.inner = inner
        self.folder = folder
        self.rel = rel

    def read_at(self, size: int, offset: int) -> bytes:
        self.folder.step("read", self.rel)
        return self.inner.read_at(size, offset)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        self.folder.step("read", self.rel)
        return self.inner.read_into(buffer, offset)

    def write_at(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        self.folder.step("write", self.rel)
        self.inner.write_at(data, offset)

    def truncate(self, size: int) -> None:
        self.folder.step("truncate", self.rel)
        self.inner.truncate(size)

    def start_sync(self, offset: int, size: int) -> None:
        self.inner.start_sync(offset, size)

    def sync(self) -> None:
        self.folder.step("sync", self.rel)
        self.inner.sync()

    def set_attributes(self, *, mtime_ns: int | None, executable: bool) -> None:
        self.folder.step("set_attributes", self.rel)
        self.inner.set_attributes(mtime_ns=mtime_ns, executable=executable)

    def entry(self) -> Entry:
        return self.inner.entry()

    def close(self) -> None:
        self.folder.count_open(-1)
        self.inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


OLD = {
    "version.ini": b"1.0\n",
    "game.eti": b"a" * 3000,
    "game2.eti": b"b" * 2000,
    "data/one": b"c" * 10,
    "data/two": b"d" * 1500,
    "gone/deep/file": b"e",
    "was-file": b"f",
    "was-folder/x": b"g",
}
NEW = {
    "version.ini": b"2.0\n",
    "game.eti": b"A" * 2500,
    "data/one": b"C" * 4000,
    "data/empty": b"",
    "more/deep/file": b"E" * 1024,
    "was-file/x": b"F",
    "was-folder": b"G",
}


def reference_of(
    files: Mapping[str, bytes], *, version: str | None = None, block_bytes: int = BLOCK
) -> Reference:
    """What a source would say of these files."""
    manifest = manifest_of_files(files)
    digests = digests_of_files(files, block_bytes)
    hashed = manifest_hash(manifest)
    return Reference(
        version=files[VERSION_INI].decode().strip() if version is None else version,
        manifest=manifest,
        manifest_hash=hashed,
        content_hash=content_hash(hashed, block_bytes, digests),
        block_bytes=block_bytes,
        digests=digests,
        sentinel=files[VERSION_INI],
    )


def transaction_for(folder: Folder, files: Mapping[str, bytes]) -> DownloadTransaction:
    return DownloadTransaction(folder, reference_of(files))


def download(folder: Folder, files: Mapping[str, bytes]) -> dict[FileStamp, tuple[bytes, ...]]:
    """The whole transaction, as a downloader would do it."""
    transaction = transaction_for(folder, files)
    try:
        transaction.check()
        transaction.begin()
        write_blocks(transaction, files)
        return transaction.commit()
    finally:
        transaction.close()


def missing_blocks(
    transaction: DownloadTransaction, files: Mapping[str, bytes]
) -> list[tuple[int, int, bytes]]:
    """(file number, offset, bytes) of what is to be fetched; last first: they come in any order."""
    manifest = manifest_of_files(files)
    blocks = zip(blocks_of(manifest, BLOCK), transaction.known, strict=True)
    return [
        (number, offset, files[manifest.files[number].path][offset : offset + length])
        for (number, offset, length), known in reversed(list(blocks))
        if not known and manifest.files[number].path != VERSION_INI
    ]


def write_blocks(transaction: DownloadTransaction, files: Mapping[str, bytes]) -> int:
    """Write what is missing; returns how many bytes that were."""
    missing = missing_blocks(transaction, files)
    for block in missing:
        transaction.write([block])
    return sum(len(data) for _, _, data in missing)


GAME = {"version.ini": b"1.0\n", "game.eti": b"x" * 5000, "sub/empty": b""}


@attrs.define
class World:
    """A games folder and what its library said."""

    games: Path
    threads: InlineThreads = attrs.field(factory=InlineThreads)
    index: Index = attrs.field(factory=MemoryIndex)
    watcher: FakeWatcher = attrs.field(factory=FakeWatcher)
    changes: list[set[str]] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    files: FileSystem = attrs.field(factory=DiskFileSystem)
    is_busy: bool = False

    @asynccontextmanager
    async def library(self, catalog: Catalog | None = None) -> AsyncIterator[Library]:
        before = open_descriptors()
        async with open_library(
            self.files,
            str(self.games),
            threads=self.threads,
            index=self.index,
            watcher=self.watcher,
            catalog=catalog or Catalog(),
            block_bytes=BLOCK,
            on_change=lambda ids: self.changes.append(set(ids)),
            on_warning=lambda code, message, remedy: self.warnings.append(code),
            busy=lambda: self.is_busy,
        ) as library:
            yield library
        assert open_descriptors() == before

    def hashes(self) -> int:
        return self.threads.pools.count("hash")


async def settled() -> None:
    """Everything that is due at once has happened."""
    await trio.testing.wait_all_tasks_blocked()
