"""What the tests of archives share: where a made archive is put, and a sink that remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lanspread.fs.archives import Archive, ArchiveError, Member, MemberKind, open_archive
from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import Folder

SAMPLES = Path(__file__).parent / "samples"
SOME = bytes(range(256)) * 20


class Memory:
    """A sink that keeps what it is given, and fails a test that is given too much."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.files: dict[str, bytes] = {}
        self.complete: list[str] = []
        self._name = ""
        self._last = -1

    def begin(self, number: int) -> None:
        assert number > self._last
        assert self.members[number].kind is MemberKind.FILE
        self._last = number
        self._name = self.members[number].path
        self.files[self._name] = b""

    def data(self, chunk: bytes | memoryview) -> None:
        self.files[self._name] += bytes(chunk)
        assert len(self.files[self._name]) <= self.members[self._last].size

    def end(self) -> None:
        assert len(self.files[self._name]) == self.members[self._last].size
        self.complete.append(self._name)


def unpacked(archive: Archive) -> dict[str, bytes]:
    """All files of an archive; all of them were complete."""
    sink = Memory(archive.members)
    archive.unpack(sink)
    assert sink.complete == list(sink.files)
    return sink.files


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


@contextmanager
def opened(folder: Path, name: str = "x.eti") -> Iterator[Archive]:
    with DiskFileSystem().open_folder(str(folder)) as seam, open_archive(seam, name) as archive:
        yield archive


def through(folder: Folder, name: str = "x.eti") -> dict[str, bytes] | ArchiveError:
    """What comes of opening and unpacking: everything, or the error that says why not."""
    try:
        with open_archive(folder, name) as archive:
            return unpacked(archive)
    except ArchiveError as error:
        return error
