"""The install record: what an install put into `local/`, which tells the user's files from ours.

Read back like something off the network: what does not pass is as good as not there, and then an
update keeps everything that differs. Its paths are only ever looked up, never opened.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import attrs
import msgspec

from lanspread import limits
from lanspread.fs.download.records import replace_file
from lanspread.fs.errors import InTheWay
from lanspread.fs.install.names import NEW_RECORD, RECORD
from lanspread.fs.manifest import DIGEST_BYTES
from lanspread.fs.paths import OWN_FOLDER
from lanspread.seams import Folder, Kind

# Nothing has the name, or what it is in is a file or a link.
_NOT_THERE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_MAX_BYTES: Final = 512 * limits.MIB


@attrs.frozen
class InstalledFile:
    """A file as its archive had it; `digest` is BLAKE3 of all of it."""

    size: int
    digest: bytes


@attrs.frozen
class InstallRecord:
    """`files` are below `local/`, and `folders` are those that the install made there."""

    version: str
    files: Mapping[str, InstalledFile]
    folders: frozenset[str] = frozenset()


_Text = Annotated[str, msgspec.Meta(max_length=4 * limits.MAX_PATH_BYTES)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_GAME_BYTES)]
_Hex = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * DIGEST_BYTES}}}$")]


class _Stored(msgspec.Struct):
    format: Literal[1]
    version: _Text
    files: Annotated[
        list[tuple[_Text, _Size, _Hex]], msgspec.Meta(max_length=limits.MAX_FILES_PER_GAME)
    ]
    folders: Annotated[list[_Text], msgspec.Meta(max_length=limits.MAX_ARCHIVE_MEMBERS)]


_decoder: Final = msgspec.json.Decoder(_Stored)


def encode_install_record(record: InstallRecord) -> bytes:
    files = [(path, file.size, file.digest.hex()) for path, file in sorted(record.files.items())]
    return msgspec.json.encode(
        _Stored(format=1, version=record.version, files=files, folders=sorted(record.folders))
    )


def decode_install_record(data: bytes) -> InstallRecord | None:
    """What `encode_install_record` made, None for anything else."""
    try:
        stored = _decoder.decode(data)
        return InstallRecord(
            stored.version,
            {
                path: InstalledFile(size, bytes.fromhex(digest))
                for path, size, digest in stored.files
            },
            frozenset(stored.folders),
        )
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def read_install_record(folder: Folder) -> InstallRecord | None:
    """The record in a game's folder: none, if something else has its name.

    Raises `OSError` if it is there and cannot be read.
    """
    if not _is_file(folder, RECORD):
        return None
    try:
        with folder.open(RECORD, "read") as file:
            size = file.entry().size
            return decode_install_record(file.read_at(size, 0)) if size <= _MAX_BYTES else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_new_record(folder: Folder, record: InstallRecord) -> None:
    """Write the record of an install before its commit point; on the disk when this returns."""
    folder.make_folder(OWN_FOLDER)
    replace_file(folder, NEW_RECORD, encode_install_record(record))
    folder.sync_folder()


def promote_record(folder: Folder) -> None:
    """The new record, if there is one, is the record; on the disk when this returns."""
    if folder.exists(NEW_RECORD):
        folder.rename(NEW_RECORD, RECORD)
    _sync(folder)


def drop_record(folder: Folder, rel: str) -> None:
    """`RECORD` or `NEW_RECORD` is gone from the disk when this returns, but for what is no file.

    So is the folder that it was in, if nothing else is.
    """
    for name in (rel, f"{rel}.tmp"):
        if _is_file(folder, name):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folder.remove_file(name)
    _sync(folder)
    with contextlib.suppress(OSError):
        folder.remove_folder(OWN_FOLDER)


def check_record(folder: Folder) -> None:
    """A record can be written. Raises `InTheWay`, `OSError`."""
    kind = _kind_of(folder, OWN_FOLDER)
    if kind not in (None, Kind.FOLDER):
        raise InTheWay(OWN_FOLDER, "is a link or a file and not a folder")
    for rel in (RECORD, NEW_RECORD):
        if _kind_of(folder, rel) not in (None, Kind.FILE):
            raise InTheWay(rel, "is not a file")


def _is_file(folder: Folder, rel: str) -> bool:
    return _kind_of(folder, rel) is Kind.FILE


def _kind_of(folder: Folder, rel: str) -> Kind | None:
    try:
        return folder.entry(rel).kind
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return None


def _sync(folder: Folder) -> None:
    # Also if nothing was done: a program that was killed before may have done it without a sync.
    try:
        folder.sync_folder(OWN_FOLDER)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
