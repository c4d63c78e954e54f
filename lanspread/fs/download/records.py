"""What a download leaves in a game's `.lanspread/`: the plan until it is done, then the record.

Both are read back from a folder that anyone may have copied in from anywhere, so they are checked
like something off the network; what does not pass is as good as not there. Source: ARCHITECTURE.md,
"Downloading".
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from lanspread import limits
from lanspread.fs.manifest import DIGEST_BYTES
from lanspread.fs.paths import OWN_FOLDER, UnsafePath, check_path
from lanspread.model import clean_version
from lanspread.seams import Folder

PLAN: Final = f"{OWN_FOLDER}/plan.json"
RECORD: Final = f"{OWN_FOLDER}/download.json"
_FORMAT: Final = 1
_MAX_BYTES: Final = 512 * limits.MIB


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
    """What is to become of an unfinished download when the peer starts."""

    RUNNING = "running"  # it goes on by itself
    PAUSED = "paused"  # it waits for the person who paused it
    STOPPED = "stopped"  # cancelled or failed: it goes on when it is asked for again
    SELECTED = "selected"  # the files that were asked for are here, others are not


@attrs.frozen(kw_only=True)
class Plan:
    """What an unfinished download fetches, and which files it may have written, with their sizes.

    `files` has those of earlier unfinished downloads too. `copied` is kept from the game's state
    before: it had a sentinel and no record. `selection` are the paths that were asked for, None for
    all; `named`: the person asked for this variant and no other.
    """

    version: str
    manifest_hash: bytes
    content_hash: bytes
    block_bytes: int
    total_bytes: int
    files: Mapping[str, int]
    copied: bool
    named: bool = False
    selection: tuple[str, ...] | None = None
    state: PlanState = PlanState.RUNNING


def encode_plan(plan: Plan) -> bytes:
    return _json(
        {
            "version": plan.version,
            "manifest_hash": plan.manifest_hash.hex(),
            "content_hash": plan.content_hash.hex(),
            "block_bytes": plan.block_bytes,
            "total_bytes": plan.total_bytes,
            "files": list(plan.files.items()),
            "copied": plan.copied,
            "named": plan.named,
            "selection": plan.selection,
            "state": plan.state.value,
        }
    )


def decode_plan(data: bytes) -> Plan | None:
    """What `encode_plan` made, None for anything else."""
    try:
        value = _parsed(data)
        block_bytes = _number(value["block_bytes"])
        if not limits.MIN_BLOCK_BYTES <= block_bytes <= limits.MAX_BLOCK_BYTES:
            raise ValueError("not the size of a block")
        return Plan(
            version=clean_version(_text(value["version"])),
            manifest_hash=_hash(value["manifest_hash"]),
            content_hash=_hash(value["content_hash"]),
            block_bytes=block_bytes,
            total_bytes=min(_number(value["total_bytes"]), limits.MAX_GAME_BYTES),
            files={_path(path): _number(size) for path, size in _rows(value["files"], 2)},
            copied=value["copied"] is True,
            named=value["named"] is True,
            selection=_selection(value["selection"]),
            state=PlanState(_text(value["state"])),
        )
    except (ValueError, KeyError, TypeError):
        return None


def write_plan(folder: Folder, plan: Plan) -> None:
    """Replace the plan in a game's folder, whose `.lanspread/` is there. Raises `OSError`."""
    replace_file(folder, PLAN, encode_plan(plan))


def set_plan_state(folder: Folder, state: PlanState) -> None:
    """Change the state in the plan of a game's folder, if it has one. Raises `OSError`."""
    plan = read_plan(folder)
    if plan is not None and plan.state is not state:
        write_plan(folder, attrs.evolve(plan, state=state))


def encode_record(record: DownloadRecord) -> bytes:
    files = [
        [file.path, file.size, file.mtime_ns, b"".join(file.digests).hex()]
        for file in record.files.values()
    ]
    return _json(
        {
            "version": record.version,
            "manifest_hash": record.manifest_hash.hex(),
            "block_bytes": record.block_bytes,
            "files": files,
        }
    )


def decode_record(data: bytes) -> DownloadRecord | None:
    """What `encode_record` made, None for anything else."""
    try:
        value = _parsed(data)
        files = (
            RecordedFile(_path(path), _number(size), _number(mtime_ns), _digests(digests))
            for path, size, mtime_ns, digests in _rows(value["files"], 4)
        )
        return DownloadRecord(
            version=_text(value["version"]),
            manifest_hash=bytes.fromhex(_text(value["manifest_hash"])),
            block_bytes=_number(value["block_bytes"]),
            files={file.path: file for file in files},
        )
    except (ValueError, KeyError, TypeError):
        return None


def read_plan(folder: Folder) -> Plan | None:
    """The plan in a game's folder. Raises `OSError` if it is there and cannot be read."""
    data = _read(folder, PLAN)
    return None if data is None else decode_plan(data)


def read_record(folder: Folder) -> DownloadRecord | None:
    """The record in a game's folder. Raises `OSError` if it is there and cannot be read."""
    data = _read(folder, RECORD)
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


def _read(folder: Folder, rel: str) -> bytes | None:
    try:
        with folder.open(rel, "read") as file:
            size = file.entry().size
            return file.read_at(size, 0) if size <= _MAX_BYTES else b""
    except (FileNotFoundError, NotADirectoryError):
        return None


def _json(value: dict[str, object]) -> bytes:
    return json.dumps({"format": _FORMAT, **value}, separators=(",", ":")).encode()


def _parsed(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        raise ValueError("not of this format")
    return value


def _rows(value: object, width: int) -> Iterable[list[object]]:
    if not isinstance(value, list) or len(value) > 4 * limits.MAX_FILES_PER_GAME:
        raise ValueError("not a list of files")
    for row in value:
        if not isinstance(row, list) or len(row) != width:
            raise ValueError("not a file")
        yield row


def _path(value: object) -> str:
    try:
        return check_path(_text(value))
    except UnsafePath as error:
        raise ValueError("a path that no download of ours wrote") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a number")
    return value


def _hash(value: object) -> bytes:
    data = bytes.fromhex(_text(value))
    if len(data) != DIGEST_BYTES:
        raise ValueError("not a hash")
    return data


def _selection(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > limits.MAX_FILES_PER_GAME:
        raise ValueError("not a selection")
    return tuple(_path(path) for path in value)


def _digests(value: object) -> tuple[bytes, ...]:
    data = bytes.fromhex(_text(value))
    if len(data) % DIGEST_BYTES:
        raise ValueError("not whole digests")
    return tuple(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))
