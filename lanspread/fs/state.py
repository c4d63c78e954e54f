"""The state folder: lock, identity, revision, token, and where a running peer is found.

Everything here blocks and happens at start, or behind `Threads`. Files are replaced atomically and
synced; what is secret is readable by its owner alone. Source: ARCHITECTURE.md, "The state folder".
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from typing import Final

from lanspread import limits
from lanspread.errors import StartError
from lanspread.fs.locks import Lock, Locked, lock_file, lock_folder
from lanspread.fs.paths import shown
from lanspread.fs.scan import ScanWarning
from lanspread.identity import (
    Identity,
    IdentityError,
    dump_identity,
    load_identity,
    new_identity,
)
from lanspread.seams import Entropy

KEY_FILE: Final = "key.pem"
CERTIFICATE_FILE: Final = "cert.pem"
LIBRARY_FILE: Final = "library.json"
TOKEN_FILE: Final = "token"
API_FILE: Final = "api.json"
LOCK_FILE: Final = "lock"
EPOCH_BYTES: Final = 16

_MAX_BYTES: Final = limits.MIB
# What a message can carry, with room for the changes of a long life.
_MAX_REV: Final = 2**52
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{32,128}")
_NEW_IDENTITY: Final = "start with `lanspread run --new-identity` to make a new one"


class State:
    """An open state folder, and the games folder's lock: no other peer has either.

    Made by `open_state`. `digest` is that of the library at `rev`, None if it is not known;
    `warnings` is what was repaired while it was opened.
    """

    def __init__(
        self,
        path: str,
        *,
        identity: Identity,
        epoch: bytes,
        rev: int,
        digest: bytes | None,
        token: str,
        warnings: tuple[ScanWarning, ...],
        lock: Lock,
        games_lock: Lock,
    ) -> None:
        self.path = path
        self.identity = identity
        self.epoch = epoch
        self.rev = rev
        self.digest = digest
        self.token = token
        self.warnings = warnings
        self._lock = lock
        self._games_locks = [games_lock]

    @property
    def certificate_and_key(self) -> tuple[str, str]:
        """The files of the identity, for a library that reads only files."""
        return os.path.join(self.path, CERTIFICATE_FILE), os.path.join(self.path, KEY_FILE)

    def save_revision(self, epoch: bytes, rev: int, digest: bytes) -> None:
        """Keep where the library stands; on the disk when this returns. Raises `OSError`."""
        value = {"epoch": epoch.hex(), "rev": rev, "digest": digest.hex()}
        replace_file(os.path.join(self.path, LIBRARY_FILE), json.dumps(value).encode())
        self.epoch, self.rev, self.digest = epoch, rev, digest

    def write_api_json(self, api_url: str, instance: str) -> None:
        """Say where this peer's API is, until `close`. Raises `OSError`."""
        value = {
            "api_url": api_url,
            "token": self.token,
            "pid": os.getpid(),
            "instance": instance,
        }
        replace_file(os.path.join(self.path, API_FILE), json.dumps(value).encode())

    def remove_api_json(self) -> None:
        """The API is gone. Never raises: it happens while everything ends."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.path, API_FILE))

    def take_games(self, games_dir: str) -> None:
        """Keep other peers out of another games folder as well. Raises `StartError`."""
        self._games_locks.append(_lock_games(games_dir))

    def leave_games(self, *, newest: bool) -> None:
        """Let others have a games folder again: the one taken last, or all but that one."""
        kept = self._games_locks[:-1] if newest else self._games_locks[-1:]
        for lock in self._games_locks:
            if lock not in kept:
                lock.release()
        self._games_locks = kept

    def close(self) -> None:
        """Take back `api.json` and let others have the folders. A second call does nothing."""
        if self._games_locks:
            self.remove_api_json()
        for lock in (*self._games_locks, self._lock):
            lock.release()
        self._games_locks = []


def open_state(
    path: str,
    games_dir: str,
    entropy: Entropy,
    *,
    new_identity: bool = False,
    new_token: bool = False,
) -> State:
    """Open a state folder, made if it is not there, and keep other peers out of both folders.

    Nothing is written into the games folder. Raises `StartError` with one line: in use, unreadable,
    unwritable, or an identity that is damaged (never replaced by itself: other peers know this one
    by it).
    """
    path = os.path.abspath(path)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        state_lock = lock_file(os.path.join(path, LOCK_FILE))
    except Locked as locked:
        owner = f" (pid {locked.pid})" if locked.pid else ""
        raise StartError(
            f"the state folder {shown(path)} is in use by another lanspread{owner}"
        ) from None
    except OSError as error:
        raise _cannot("use the state folder", path, error) from error
    locks = [state_lock]
    try:
        locks.append(_lock_games(games_dir))
        return _open_locked(path, entropy, *locks, make_identity=new_identity, make_token=new_token)
    except BaseException as error:
        for lock in locks:
            lock.release()
        if isinstance(error, OSError):
            raise _cannot("use the state folder", path, error) from error
        raise


def is_whole_path(path: str) -> bool:
    """Whether a path can be one, and means the same from wherever one looks."""
    return os.path.isabs(path) and "\0" not in path


def _lock_games(games_dir: str) -> Lock:
    try:
        return lock_folder(games_dir)
    except Locked:
        raise StartError(
            f"the games folder {shown(games_dir)} is in use by another lanspread"
        ) from None
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise _cannot("read the games folder", games_dir, error, usage=missing) from error


def _open_locked(
    path: str,
    entropy: Entropy,
    lock: Lock,
    games_lock: Lock,
    *,
    make_identity: bool,
    make_token: bool,
) -> State:
    warnings: list[ScanWarning] = []
    identity = _identity(path, make_identity, entropy)
    epoch, rev, digest = _revision(path, warnings, entropy)
    state = State(
        path,
        identity=identity,
        epoch=epoch,
        rev=rev,
        digest=digest,
        token=_token(path, make_token, warnings, entropy),
        warnings=tuple(warnings),
        lock=lock,
        games_lock=games_lock,
    )
    # Left by a peer that was killed; whoever reads it would knock at a door that is not ours.
    state.remove_api_json()
    return state


def replace_file(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file so that a crash leaves the old one or the new one, whole. Raises `OSError`."""
    folder = os.path.dirname(path)
    scratch = f"{path}.tmp"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(scratch)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(scratch, flags | getattr(os, "O_BINARY", 0), mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
    _sync_folder(folder)


def _sync_folder(path: str) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None


def _identity(path: str, make: bool, entropy: Entropy) -> Identity:
    key_path = os.path.join(path, KEY_FILE)
    certificate_path = os.path.join(path, CERTIFICATE_FILE)
    key = None if make else _read_identity(key_path)
    certificate = None if make else _read_identity(certificate_path)
    if key is None and certificate is None:
        made = new_identity(entropy)
        key, certificate = dump_identity(made)
        replace_file(key_path, key)
        replace_file(certificate_path, certificate)
        return made
    for there, name in ((key, key_path), (certificate, certificate_path)):
        if there is None:
            raise StartError(
                f"this peer's identity is incomplete: {shown(name)} is missing;"
                f" restore it, or {_NEW_IDENTITY}"
            )
    assert key is not None
    assert certificate is not None
    _keep_private(key_path)
    try:
        return load_identity(key, certificate)
    except IdentityError as error:
        raise StartError(
            f"this peer's identity ({shown(key_path)}, {CERTIFICATE_FILE}) {error};"
            f" restore it, or {_NEW_IDENTITY}"
        ) from error


def _read_identity(path: str) -> bytes | None:
    try:
        return _read(path)
    except OSError as error:
        raise StartError(
            f"this peer's identity cannot be read: {shown(path)}: {error.strerror or error};"
            f" repair it, or {_NEW_IDENTITY}"
        ) from error


def _keep_private(path: str) -> None:
    """Take a copied key's permissions back from others."""
    if os.name != "nt" and os.stat(path).st_mode & 0o077:
        os.chmod(path, 0o600)


def _revision(
    path: str, warnings: list[ScanWarning], entropy: Entropy
) -> tuple[bytes, int, bytes | None]:
    """(epoch, revision, digest). Without a digest the next revision is another one."""
    data = _read(os.path.join(path, LIBRARY_FILE))
    if data is not None:
        try:
            value = json.loads(data)
            epoch, rev = bytes.fromhex(value["epoch"]), value["rev"]
            if len(epoch) == EPOCH_BYTES and type(rev) is int and 0 <= rev <= _MAX_REV:
                return epoch, rev, _digest(value)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        warnings.append(
            ScanWarning(
                "state_damaged",
                f"{LIBRARY_FILE} in the state folder was damaged; the library starts a new epoch",
                "nothing is to be done",
            )
        )
    epoch = entropy.token_bytes(EPOCH_BYTES)
    value = json.dumps({"epoch": epoch.hex(), "rev": 0}).encode()
    replace_file(os.path.join(path, LIBRARY_FILE), value)
    return epoch, 0, None


def _digest(value: dict[str, object]) -> bytes | None:
    text = value.get("digest")
    return bytes.fromhex(text) if isinstance(text, str) and _DIGEST.fullmatch(text) else None


def _token(path: str, make: bool, warnings: list[ScanWarning], entropy: Entropy) -> str:
    token_path = os.path.join(path, TOKEN_FILE)
    data = None if make else _read(token_path)
    if data is not None:
        if _TOKEN.fullmatch(data.strip()):
            _keep_private(token_path)
            return data.strip().decode("ascii")
        warnings.append(
            ScanWarning(
                "state_damaged",
                "the token in the state folder was damaged; there is a new one",
                "open the page by the link that `lanspread status` prints",
            )
        )
    token = base64.urlsafe_b64encode(entropy.token_bytes(32)).rstrip(b"=").decode("ascii")
    replace_file(token_path, token.encode())
    return token


def _cannot(what: str, path: str, error: OSError, *, usage: bool = False) -> StartError:
    return StartError(f"cannot {what} {shown(path)}: {error.strerror or error}", usage=usage)
