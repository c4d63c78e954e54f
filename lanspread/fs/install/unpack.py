"""From a game's archives into the staging folder: all are checked before the first byte is written.

Calls block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs
from blake3 import blake3

from lanspread.fs.archives.checking import check_members
from lanspread.fs.archives.members import Archive, ArchiveDamaged, ArchiveUnsupported, Member
from lanspread.fs.archives.opening import sort_volumes
from lanspread.fs.download.records import read_record
from lanspread.fs.errors import FileChanged, NothingToInstall
from lanspread.fs.install.layout import Layout, Listing, lay_out
from lanspread.fs.install.record import InstalledFile
from lanspread.fs.paths import is_root_archive, shown
from lanspread.fs.progress import Watch
from lanspread.seams import File, Folder, Kind

Opener = Callable[[Folder, str], Archive]

# All are open together, so that what is unpacked is what was checked. A set of volumes is one.
_MAX_ARCHIVES: Final = 128
_MAX_VOLUMES: Final = 4096
# What a file takes on the disk is rounded up to this.
_CLUSTER_BYTES: Final = 4096


@attrs.frozen
class Source:
    """Archives that are open and checked, and what they will become."""

    archives: Sequence[Archive]
    names: Sequence[str]
    layout: Layout

    @property
    def needed_bytes(self) -> int:
        """What unpacking takes on the disk."""
        layout = self.layout
        names = len(layout.sizes) + len(layout.folders)
        return sum(layout.sizes.values()) + names * _CLUSTER_BYTES

    def unpack(self, folder: Folder, root: str, watch: Watch) -> dict[str, InstalledFile]:
        """Write everything below the folder `root`; return the files by their path below it.

        Nothing is synced. Raises `ArchiveError`, `Stopped`, `OSError`.
        """
        for rel in self.layout.folders:
            watch.step()
            folder.make_folder(f"{root}/{rel}")
        written: dict[str, InstalledFile] = {}
        for name, archive, paths in zip(self.names, self.archives, self.layout.paths, strict=True):
            writer = _Writer(folder, root, name, archive.members, paths, written, watch)
            try:
                archive.unpack(writer)
            finally:
                writer.close()
            if not paths.keys() <= writer.complete:
                raise ArchiveDamaged(name, "gives fewer files than it lists")
        return written


@contextmanager
def open_source(folder: Folder, open_archive: Opener) -> Iterator[Source]:
    """Open and check the archives of a downloaded game.

    Raises `NothingToInstall`, `FileChanged` for a recorded one that is gone, `UnsafePath`,
    `ArchiveError`, `OSError`.
    """
    with ExitStack() as stack:
        archives: list[Archive] = []
        listings: list[Listing] = []
        first, later = sort_volumes(folder, _archive_names(folder))
        for name in first:
            if len(archives) == _MAX_ARCHIVES:
                raise ArchiveUnsupported(name, f"is one archive more than {_MAX_ARCHIVES}")
            archive = stack.enter_context(open_archive(folder, name))
            archives.append(archive)
            paths = check_members(archive.members, archive.packed_bytes, name)
            listings.append(Listing(name, archive.members, paths))
        used = {volume for archive in archives for volume in archive.volumes}
        for name in later:
            if name not in used:
                raise ArchiveDamaged(name, "is a later volume, and those before it are missing")
        if not archives:
            raise NothingToInstall("the game's files hold no archive (*.eti) to install from")
        yield Source(archives, [listing.name for listing in listings], lay_out(listings))


def _archive_names(folder: Folder) -> list[str]:
    """What was downloaded; of a game that was copied here, all archives at its root."""
    record = read_record(folder)
    there = {entry.name for entry in folder.list() if entry.kind is Kind.FILE}
    if record is None:
        names = [name for name in there if is_root_archive(name)]
    else:
        names = [path for path in record.files if is_root_archive(path)]
        for name in names:
            if name not in there:
                raise FileChanged(name)
    if len(names) > _MAX_VOLUMES:
        raise ArchiveUnsupported(names[0], f"is one of more than {_MAX_VOLUMES} archives")
    return sorted(names, key=lambda name: (name.casefold(), name))


@attrs.define
class _Writer:
    """A `Sink` that writes the files of one archive that have a place, and hashes them."""

    folder: Folder
    root: str
    archive_name: str
    members: Sequence[Member]
    paths: Mapping[int, str]
    written: dict[str, InstalledFile]
    watch: Watch
    complete: set[int] = attrs.field(factory=set)
    _number: int | None = None
    _file: File | None = None
    _size: int = 0
    _hash: blake3 = attrs.field(factory=blake3)

    def begin(self, number: int) -> None:
        self.watch.step()
        self.close()
        self._number = number
        self._size = 0
        self._hash = blake3()
        path = self.paths.get(number)
        if path is not None:
            self._file = self.folder.open(f"{self.root}/{path}", "create")

    def data(self, chunk: bytes | memoryview) -> None:
        self.watch.step()
        if self._number is None or self._size + len(chunk) > self.members[self._number].size:
            raise self._damaged("is longer than the archive says")
        if self._file is not None:
            self._file.write_at(chunk, self._size)
            self._hash.update(chunk)
        self._size += len(chunk)
        self.watch.advance(len(chunk))

    def end(self) -> None:
        number = self._number
        if number is None or self._size != self.members[number].size:
            raise self._damaged("is shorter than the archive says")
        member = self.members[number]
        if self._file is not None:
            self._file.set_attributes(mtime_ns=member.mtime_ns, executable=member.executable)
            self.written[self.paths[number]] = InstalledFile(self._size, self._hash.digest())
        self.complete.add(number)
        self._number = None
        self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _damaged(self, why: str) -> ArchiveDamaged:
        name = "" if self._number is None else self.members[self._number].path
        return ArchiveDamaged(self.archive_name, f"holds a file that {why}: {shown(name)}")
