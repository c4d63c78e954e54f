"""Opening what a game is installed from: the format is told by content, a set is opened once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from lanspread.fs.archives import rar_common, rar_headers, zip_files
from lanspread.fs.archives.decompressing import ForwardReader, compression_of
from lanspread.fs.archives.members import (
    Archive,
    ArchiveDamaged,
    ArchiveUnsupported,
)
from lanspread.fs.archives.rar_headers import Place
from lanspread.fs.archives.reading import FileStream
from lanspread.fs.archives.tar_files import TarArchive, is_tar
from lanspread.fs.archives.zip_files import ZipArchive
from lanspread.fs.progress import UNWATCHED, Watch
from lanspread.seams import File, Folder

_TAR_BLOCK: Final = 512


def open_archive(folder: Folder, name: str, watch: Watch = UNWATCHED) -> Archive:
    """Open `name` in `folder`, which must stay open as long as the archive, and read its list.

    Of a set of volumes `name` is the first. Nothing is checked of the members but their number;
    `check_members` does that. Raises `ArchiveError` and `OSError`. Blocks; of a compressed tar
    for as long as it takes to decompress it, or until `watch` stops it: `Stopped`.
    """
    with folder.open(name, "read") as file:
        stream = FileStream(file)
        head = stream.read(max(rar_headers.HEAD_BYTES, _TAR_BLOCK))
        if head.startswith((rar_headers.RAR5_SIGNATURE, rar_headers.RAR4_SIGNATURE)):
            if rar_headers.place_of(head) is Place.LATER:
                raise rar_common.not_first(name)
            return _open_rar(folder, name)
        if head.startswith(zip_files.SIGNATURES):
            return _owning(folder, name, ZipArchive)
        if not head.strip(b"\0"):
            raise ArchiveDamaged(name, "is empty")
        if compression_of(head) is not None:
            stream.seek(0)
            head = ForwardReader(stream, name, watch).read(_TAR_BLOCK)
        if is_tar(head):
            return _owning(folder, name, partial(TarArchive, watch=watch))
    raise ArchiveUnsupported(name, "is no archive that is known here", "RAR, zip and tar are")


def sort_volumes(folder: Folder, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of these names of archives: those to be opened, and those that only continue another.

    The archives' own headers decide, names only where those are silent. Raises `OSError`.
    """
    first: list[str] = []
    later: list[str] = []
    for name in names:
        with folder.open(name, "read") as file:
            place = rar_headers.place_of(file.read_at(rar_headers.HEAD_BYTES, 0))
        if place is Place.UNKNOWN:
            place = rar_headers.place_by_name(name, names)
        (later if place is Place.LATER else first).append(name)
    return tuple(first), tuple(later)


def _owning(folder: Folder, name: str, opener: Callable[[File, str], Archive]) -> Archive:
    file = folder.open(name, "read")
    try:
        return opener(file, name)
    except BaseException:
        file.close()
        raise


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _open_rar(folder: Folder, name: str) -> Archive:
    if _installed("unrar"):
        from lanspread.fs.archives.rar_files import RarArchive

        return RarArchive(folder, name)
    if _installed("rarfile"):
        from lanspread.fs.archives.rar_program import RarProgramArchive

        return RarProgramArchive(folder, name)
    raise rar_common.nothing_reads_rar(name)
