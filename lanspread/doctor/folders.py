"""The games folder and the state folder: there, allowed, free space, held by another peer."""

from __future__ import annotations

import os
import shutil
import stat
from typing import Literal

import attrs

from lanspread import limits
from lanspread.doctor.findings import Finding, fault, note, ok, warning
from lanspread.doctor.running import Running, RunningPeer
from lanspread.doctor.wanted import Wanted
from lanspread.fs.locks import is_locked
from lanspread.fs.paths import shown
from lanspread.fs.state import KEY_FILE, LOCK_FILE

CHECK = "folders"
_MAX_COUNTED = 4 * limits.MAX_GAMES_PER_PEER
# Below this a start of a peer cannot be sure to save what it must; games come in gigabytes.
_STATE_NEEDS_BYTES = 16 * limits.MIB
_GAMES_WANT_BYTES = 10 * 1024 * limits.MIB


@attrs.frozen(kw_only=True)
class Folder:
    """A folder as it was found; `kind` says what for.

    Where it is missing, `writable` and `free_bytes` are those of the nearest folder above it that
    is there. `locked` is None where the system does not tell. `games` counts the folders in it.
    `exposed` says that others may read the private key in it.
    """

    kind: Literal["games", "state"]
    path: str
    there: bool
    is_folder: bool = True
    readable: bool = True
    writable: bool = True
    free_bytes: int | None = None
    locked: bool | None = None
    exposed: bool = False
    games: int = 0


def look_at_folder(kind: Literal["games", "state"], path: str) -> Folder:
    """Look, without making or changing anything. Blocks for as long as the disk does."""
    there = os.path.exists(path)
    nearest = path
    while not os.path.exists(nearest) and os.path.dirname(nearest) != nearest:
        nearest = os.path.dirname(nearest)
    is_folder = os.path.isdir(nearest)
    readable = is_folder and os.access(nearest, os.R_OK | os.X_OK)
    return Folder(
        kind=kind,
        path=path,
        there=there,
        is_folder=is_folder,
        readable=readable,
        writable=is_folder and os.access(nearest, os.W_OK | os.X_OK),
        free_bytes=_free(nearest),
        locked=_locked(kind, path) if there and readable else None,
        exposed=kind == "state" and _is_exposed(os.path.join(path, KEY_FILE)),
        games=_count(path) if kind == "games" and there and readable else 0,
    )


def _free(path: str) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _locked(kind: str, path: str) -> bool | None:
    try:
        return is_locked(path if kind == "games" else os.path.join(path, LOCK_FILE))
    except OSError:
        return None


def _is_exposed(key: str) -> bool:
    try:
        return os.name != "nt" and bool(stat.S_IMODE(os.stat(key).st_mode) & 0o077)
    except OSError:
        return False


def _count(path: str) -> int:
    count = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                count += not entry.name.startswith(".") and entry.is_dir()
                if count >= _MAX_COUNTED:
                    break
    except OSError:
        pass
    return count


def games_folder(wanted: Wanted, peer: RunningPeer) -> str | None:
    """The running peer's, else that of the settings."""
    return (peer.games if isinstance(peer, Running) else "") or wanted.games


def judge_no_games() -> list[Finding]:
    return [
        note(
            CHECK,
            "games_not_given",
            "no games folder is set",
            "`run` needs one: --games DIR, LANSPREAD_GAMES, or games in lanspread.toml",
        )
    ]


def judge_folder(folder: Folder, peer: RunningPeer) -> list[Finding]:
    what = f"the {folder.kind} folder {shown(folder.path)}"
    if not folder.there and folder.kind == "games":
        return [fault(CHECK, "games_missing", f"{what} does not exist", "make it, or give another")]
    if not folder.is_folder:
        return [fault(CHECK, f"{folder.kind}_no_folder", f"{what} is no folder", "give another")]
    if not folder.readable or (folder.kind == "state" and not folder.writable):
        verb = "read" if not folder.readable else "written to"
        return [
            fault(
                CHECK,
                f"{folder.kind}_unusable",
                f"{what} cannot be {verb}",
                "see to its owner and permissions, or give another",
            )
        ]
    findings = _judge_use(folder, what, peer)
    if folder.exposed:
        findings.append(
            warning(
                CHECK,
                "key_exposed",
                f"others on this machine may read the private key in {shown(folder.path)}",
                f"`chmod 700 {shown(folder.path)}` and `chmod 600` on the files in it",
            )
        )
    return findings


def _judge_use(folder: Folder, what: str, peer: RunningPeer) -> list[Finding]:
    findings = []
    if folder.locked and isinstance(peer, Running):
        state = "in use by our running peer"
    elif folder.locked:
        state = ""
        findings.append(
            fault(
                CHECK,
                f"{folder.kind}_locked",
                f"{what} is in use by another lanspread",
                "end that one, or give this one folders of its own",
            )
        )
    else:
        state = "ready" if folder.there else "not there yet; it will be made"
    if folder.kind == "games" and not folder.writable:
        findings.append(
            warning(
                CHECK,
                "games_read_only",
                f"{what} cannot be written to: its games are shared, and none can be fetched",
                "see to its owner and permissions, or to how its disk is mounted",
            )
        )
    findings += _judge_space(folder, what)
    if not findings:
        free = "" if folder.free_bytes is None else f", {_gigabytes(folder.free_bytes)} free"
        games = f", {folder.games} folders in it" if folder.kind == "games" else ""
        findings.append(ok(CHECK, folder.kind, f"{what}: {state}{games}{free}"))
    return findings


def _judge_space(folder: Folder, what: str) -> list[Finding]:
    free = folder.free_bytes
    if free is None:
        return []
    if folder.kind == "state" and free < _STATE_NEEDS_BYTES:
        message = f"the disk of {what} is full ({_gigabytes(free)} free)"
        return [
            fault(CHECK, "state_full", message, "make room on it, or give another with --state")
        ]
    if folder.kind == "games" and free < _GAMES_WANT_BYTES:
        message = f"the disk of {what} has {_gigabytes(free)} free: large games do not fit"
        return [warning(CHECK, "games_full", message, "make room on it, or give another disk")]
    return []


def _gigabytes(amount: int) -> str:
    return f"{amount / 1e9:.1f} GB"
