"""What a download leaves in a game's `.lanspread/`: the plan until it is done, then the record.

Both are read back from a folder that anyone may have copied in from anywhere, so they are checked
like something off the network; what does not pass is as good as not there. Source: ARCHITECTURE.md,
"Downloading".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import attrs
import msgspec

from lanspread import limits
from lanspread.fs.manifest import DIGEST_BYTES
from lanspread.fs.paths import OWN_FOLDER, UnsafePath, check_path
from lanspread.model import clean_version
from lanspread.seams import Entry, Folder, Kind

PLAN: Final = f"{OWN_FOLDER}/plan.json"
RECORD: Final = f"{OWN_FOLDER}/download.json"
# A row of the largest game without its path and its digests, generously.
_ROW_BYTES: Final = 64
# The paths of a manifest, the selection from them, and as much again of earlier downloads.
_MAX_PLAN_BYTES: Final = 3 * limits.MAX_MANIFEST_BYTES + 2 * _ROW_BYTES * limits.MAX_FILES_PER_GAME
# The paths and digests of a manifest, two characters a byte.
_MAX_RECORD_BYTES: Final = 2 * limits.MAX_MANIFEST_BYTES + _ROW_BYTES * limits.MAX_FILES_PER_GAME
# How far two clocks of one disk may be apart: the time of a write is that of the last tick, and FAT
# keeps 2 s.
_COARSE_NS: Final = 2_000_000_000


@attrs.frozen
class RecordedFile:
    """A file as it was when its download was committed."""

    path: str
    size: int
    mtime_ns: int
    digests: tuple[bytes, ...]


@attrs.frozen(kw_only=True)
class DownloadRecord:
    """What the last committed download put into a game's folder."""

    version: str
    manifest_hash: bytes
    block_bytes: int
    files: Mapping[str, RecordedFile]


class PlanState(enum.StrEnum):
    """What is to become of an unfinished download when the peer starts.

    One character each: so a plan's state is changed in place, without any space on the disk, and
    after a crash it is the old one or the new one.
    """

    RUNNING = "r"  # it goes on by itself
    PAUSED = "p"  # it waits for the person who paused it
    STOPPED = "s"  # cancelled or failed: it goes on when it is asked for again
    SELECTED = "d"  # the files that were asked for are here, others are not


@attrs.frozen(kw_only=True)
class Plan:
    """What an unfinished download fetches, and which files it may have written, with their sizes.

    `files` has those of earlier unfinished downloads too. `made` are those of them that downloads
    have written indeed, or that the record explained, with (size, mtime_ns): it is known when a
    download ended in order. None while one runs, and after a crash; then the file's time tells:
    `since_ns` is when the first of these downloads began, by the clock of the disk. `copied` is
    kept from the game's state before: it had a sentinel and no record. `selection` are the paths
    that were asked for, None for all; `named`: the person asked for this variant and no other;
    `update`: and for the installed game to be updated by it.
    """

    version: str
    manifest_hash: bytes
    content_hash: bytes
    block_bytes: int
    total_bytes: int
    files: Mapping[str, int]
    copied: bool
    since_ns: int = 0
    made: Mapping[str, tuple[int, int]] | None = None
    named: bool = False
    update: bool = False
    selection: tuple[str, ...] | None = None
    state: PlanState = PlanState.RUNNING

    def explains(self, path: str, entry: Entry) -> bool:
        """Whether a file is one that these downloads wrote: may be written to, not the user's."""
        if path not in self.files or entry.kind is not Kind.FILE:
            return False
        if self.made is not None:
            return self.made.get(path) == (entry.size, entry.mtime_ns)
        return entry.mtime_ns >= self.since_ns - _COARSE_NS

    def left(self, path: str, entry: Entry) -> bool:
        """Whether a file is as these downloads left it, so that it may be removed."""
        # One that was only just made has no size yet.
        return self.explains(path, entry) and (
            self.made is not None or entry.size in (0, self.files[path])
        )


_Number = Annotated[int, msgspec.Meta(ge=0)]


class _PlanFile(msgspec.Struct, kw_only=True):
    """The plan as it is on the disk. `made` names files by their place in `files`."""

    format: Literal[1]
    version: str
    manifest_hash: str
    content_hash: str
    block_bytes: Annotated[int, msgspec.Meta(ge=limits.MIN_BLOCK_BYTES, le=limits.MAX_BLOCK_BYTES)]
    total_bytes: _Number
    files: Annotated[
        list[tuple[str, _Number]], msgspec.Meta(max_length=2 * limits.MAX_FILES_PER_GAME)
    ]
    copied: bool
    since_ns: int
    made: (
        Annotated[
            list[tuple[_Number, _Number, int]],
            msgspec.Meta(max_length=2 * limits.MAX_FILES_PER_GAME),
        ]
        | None
    )
    named: bool
    # Plans of before have none.
    update: bool = False
    selection: Annotated[list[str], msgspec.Meta(max_length=limits.MAX_FILES_PER_GAME)] | None
    # The last one: see `set_plan_state`.
    state: str


class _RecordFile(msgspec.Struct):
    format: Literal[1]
    version: str
    manifest_hash: str
    block_bytes: _Number
    files: Annotated[
        list[tuple[str, _Number, _Number, str]],
        msgspec.Meta(max_length=limits.MAX_FILES_PER_GAME),
    ]


_PLAN_DECODER: Final = msgspec.json.Decoder(_PlanFile)
_RECORD_DECODER: Final = msgspec.json.Decoder(_RecordFile)


def encode_plan(plan: Plan) -> bytes:
    made = None
    if plan.made is not None:
        places = {path: place for place, path in enumerate(plan.files)}
        made = [(places[path], size, mtime) for path, (size, mtime) in plan.made.items()]
    return msgspec.json.encode(
        _PlanFile(
            format=1,
            version=plan.version,
            manifest_hash=plan.manifest_hash.hex(),
            content_hash=plan.content_hash.hex(),
            block_bytes=plan.block_bytes,
            total_bytes=plan.total_bytes,
            files=list(plan.files.items()),
            copied=plan.copied,
            since_ns=plan.since_ns,
            made=made,
            named=plan.named,
            update=plan.update,
            selection=None if plan.selection is None else list(plan.selection),
            state=plan.state.value,
        )
    )


def decode_plan(data: bytes) -> Plan | None:
    """What `encode_plan` made, None for anything else."""
    try:
        value = _PLAN_DECODER.decode(data)
        paths = [_path(path) for path, _ in value.files]
        return Plan(
            version=clean_version(value.version),
            manifest_hash=_hash(value.manifest_hash),
            content_hash=_hash(value.content_hash),
            block_bytes=value.block_bytes,
            total_bytes=min(value.total_bytes, limits.MAX_GAME_BYTES),
            files={path: size for path, (_, size) in zip(paths, value.files, strict=True)},
            copied=value.copied,
            since_ns=value.since_ns,
            made=None
            if value.made is None
            else {paths[place]: (size, mtime) for place, size, mtime in value.made},
            named=value.named,
            update=value.update,
            selection=None
            if value.selection is None
            else tuple(_path(path) for path in value.selection),
            state=PlanState(value.state),
        )
    except (ValueError, IndexError, RecursionError):
        return None


def write_plan(folder: Folder, plan: Plan) -> None:
    """Replace the plan in a game's folder, whose `.lanspread/` is there. Raises `OSError`."""
    replace_file(folder, PLAN, encode_plan(plan))


def disk_time(folder: Folder) -> int:
    """What time it is by the clock of the disk, which gives files their times. Raises `OSError`.

    `.lanspread/` is there. The file that is made for it is the plan's scratch.
    """
    scratch = f"{PLAN}.tmp"
    with folder.open(scratch, "create") as file:
        file.write_at(b"\n", 0)
        return file.entry().mtime_ns


def set_plan_state(folder: Folder, state: PlanState) -> None:
    """Change the state in the plan of a game's folder, if it has one. Raises `OSError`.

    Takes no space: one byte is overwritten.
    """
    data = _read(folder, PLAN, _MAX_PLAN_BYTES)
    plan = None if data is None else decode_plan(data)
    if data is None or plan is None or plan.state is state:
        return
    if data.endswith(f'"state":"{plan.state}"}}'.encode()):
        with folder.open(PLAN, "write") as file:
            entry = file.entry()
            if entry.size == len(data) and entry.links <= 1:
                file.write_at(state.encode(), len(data) - len('r"}'))
                file.sync()
                return
    write_plan(folder, attrs.evolve(plan, state=state))


def encode_record(record: DownloadRecord) -> bytes:
    return msgspec.json.encode(
        _RecordFile(
            format=1,
            version=record.version,
            manifest_hash=record.manifest_hash.hex(),
            block_bytes=record.block_bytes,
            files=[
                (file.path, file.size, file.mtime_ns, b"".join(file.digests).hex())
                for file in record.files.values()
            ],
        )
    )


def decode_record(data: bytes) -> DownloadRecord | None:
    """What `encode_record` made, None for anything else."""
    try:
        value = _RECORD_DECODER.decode(data)
        files = (
            RecordedFile(_path(path), size, mtime_ns, _digests(digests))
            for path, size, mtime_ns, digests in value.files
        )
        return DownloadRecord(
            version=value.version,
            manifest_hash=bytes.fromhex(value.manifest_hash),
            block_bytes=value.block_bytes,
            files={file.path: file for file in files},
        )
    except (ValueError, RecursionError):
        return None


def read_plan(folder: Folder) -> Plan | None:
    """The plan in a game's folder. Raises `OSError` if it is there and cannot be read."""
    data = _read(folder, PLAN, _MAX_PLAN_BYTES)
    return None if data is None else decode_plan(data)


def read_record(folder: Folder) -> DownloadRecord | None:
    """The record in a game's folder. Raises `OSError` if it is there and cannot be read."""
    data = _read(folder, RECORD, _MAX_RECORD_BYTES)
    return None if data is None else decode_record(data)


def replace_file(folder: Folder, rel: str, data: bytes) -> None:
    """Put `data` at `rel` so that a crash leaves the old file or the new one, both whole."""
    scratch = f"{rel}.tmp"
    with folder.open(scratch, "create") as file:
        file.truncate(len(data))
        file.write_at(data, 0)
        file.sync()
    folder.rename(scratch, rel)
    folder.sync_folder(rel.rpartition("/")[0])


def _read(folder: Folder, rel: str, at_most: int) -> bytes | None:
    try:
        with folder.open(rel, "read") as file:
            size = file.entry().size
            return file.read_at(size, 0) if size <= at_most else b""
    except (FileNotFoundError, NotADirectoryError):
        return None


def _path(value: str) -> str:
    try:
        return check_path(value)
    except UnsafePath as error:
        raise ValueError("a path that no download of ours wrote") from error


def _hash(value: str) -> bytes:
    data = bytes.fromhex(value)
    if len(data) != DIGEST_BYTES:
        raise ValueError("not a hash")
    return data


def _digests(value: str) -> tuple[bytes, ...]:
    data = bytes.fromhex(value)
    if len(data) % DIGEST_BYTES:
        raise ValueError("not whole digests")
    return tuple(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))
