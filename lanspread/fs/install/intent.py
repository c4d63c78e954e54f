"""The intent log of a game: what was being done with `local/`, so that recovery knows.

One small file, replaced atomically. An empty one says `uninstalling`: a full disk has room for a
name, and there an uninstall is wanted most. No crash makes one of another, because contents are on
the disk before they get the name; and under it nothing goes that is not marked.

It is read back from a folder that anyone may have copied in from anywhere; what is not exactly of
this format is `UNREADABLE`, and then nothing is touched.
"""

from __future__ import annotations

import contextlib
import enum
import errno
from typing import Annotated, Final, Literal

import attrs
import msgspec

from lanspread.fs.download.records import replace_file
from lanspread.fs.install.names import INTENT, INTENT_SCRATCH
from lanspread.seams import Folder, Kind

_MAX_BYTES: Final = 4096


class IntentKind(enum.Enum):
    """What an intent log says."""

    NONE = "none"
    INSTALLING = "installing"
    UPDATING = "updating"
    UNINSTALLING = "uninstalling"
    UNREADABLE = "unreadable"


@attrs.frozen
class Intent:
    """`version` is what was being installed or removed; `why` says what cannot be read."""

    kind: IntentKind
    version: str = ""
    why: str = ""


NO_INTENT: Final = Intent(IntentKind.NONE)

_Written = Literal["installing", "updating", "uninstalling"]


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal[1]
    intent: _Written
    version: Annotated[str, msgspec.Meta(max_length=1024)]


_decoder: Final = msgspec.json.Decoder(_Stored)
_WRITTEN: Final[dict[IntentKind, _Written]] = {
    IntentKind.INSTALLING: "installing",
    IntentKind.UPDATING: "updating",
    IntentKind.UNINSTALLING: "uninstalling",
}


def encode_intent(kind: IntentKind, version: str) -> bytes:
    """Raises `KeyError` for what is no intent."""
    return msgspec.json.encode(_Stored(format=1, intent=_WRITTEN[kind], version=version))


def decode_intent(data: bytes) -> Intent:
    """What `encode_intent` made, `UNREADABLE` for anything else; nothing is `uninstalling`."""
    if not data:
        return Intent(IntentKind.UNINSTALLING)
    try:
        stored = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _unreadable("is not what this version writes")
    return Intent(IntentKind(stored.intent), stored.version)


def read_intent(folder: Folder) -> Intent:
    """The intent of a game. Raises `OSError` if the disk does not give it."""
    try:
        if folder.entry(INTENT).kind is not Kind.FILE:
            return _unreadable("is not a file")
        with folder.open(INTENT, "read") as file:
            data = file.read_at(_MAX_BYTES + 1, 0)
    except FileNotFoundError:
        return NO_INTENT
    return _unreadable("is too large") if len(data) > _MAX_BYTES else decode_intent(data)


def write_intent(folder: Folder, kind: IntentKind, version: str) -> None:
    """Replace the intent; it is on the disk when this returns. Raises `OSError`."""
    replace_file(folder, INTENT, encode_intent(kind, version))


def write_uninstalling(folder: Folder, version: str) -> None:
    """As `write_intent`, on a full disk too: there the intent is an empty file."""
    try:
        write_intent(folder, IntentKind.UNINSTALLING, version)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with contextlib.suppress(FileNotFoundError):
            folder.remove_file(INTENT_SCRATCH)
        with folder.open(INTENT, "create") as file:
            file.sync()
        folder.sync_folder()


def clear_intent(folder: Folder) -> None:
    """The intent is gone from the disk when this returns. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        folder.remove_file(INTENT)
    folder.sync_folder()


def _unreadable(why: str) -> Intent:
    remedy = "use the version of the program that wrote it, or move the file away"
    return Intent(IntentKind.UNREADABLE, why=f"the intent log {INTENT} {why}: {remedy}")
