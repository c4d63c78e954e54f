"""What a download leaves in a game's `.lanspread/`: the plan while it runs, the record afterwards.

Both are read back from a folder that anyone may have copied in from anywhere, so they are checked
like something off the network; what does not pass is as good as not there. Source: ARCHITECTURE.md,
"Downloading".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from lanspread import limits
from lanspread.fs.manifest import DIGEST_BYTES
from lanspread.fs.paths import OWN_FOLDER, UnsafePath, check_path
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


@attrs.frozen(kw_only=True)
class Plan:
    """What an unfinished download may have written: paths and their final sizes.

    `copied` is kept from the game's state before: it had a sentinel and no record.
    """

    files: Mapping[str, int]
    copied: bool


def encode_plan(plan: Plan) -> bytes:
    return _json({"files": list(plan.files.items()), "copied": plan.copied})


def decode_plan(data: bytes) -> Plan | None:
    """What `encode_plan` made, None for anything else."""
    try:
        value = _parsed(data)
        files = {_path(path): _number(size) for path, size in _rows(value["files"], 2)}
        return Plan(files=files, copied=value["copied"] is True)
    except (ValueError, KeyError, TypeError):
        return None


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


def _digests(value: object) -> tuple[bytes, ...]:
    data = bytes.fromhex(_text(value))
    if len(data) % DIGEST_BYTES:
        raise ValueError("not whole digests")
    return tuple(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))
