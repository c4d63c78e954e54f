"""Locks on a file and on a folder that end with the process, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

_BUSY: Final = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_MAX_PID_BYTES: Final = 20


class Locked(Exception):
    """Another process has the lock; `pid` is its number where it is known."""

    def __init__(self, pid: int | None) -> None:
        super().__init__("locked")
        self.pid = pid


class Lock:
    """A lock that is held. `release` may be called twice."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def lock_file(path: str) -> Lock:
    """Lock a file, made if it is not there, and write this process's number into it.

    Raises `Locked`, `OSError`.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        if not _try_lock(descriptor):
            raise Locked(_pid_in(descriptor))
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, str(os.getpid()).encode())
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(descriptor)


def lock_folder(path: str) -> Lock:
    """Lock a folder without writing into it, where the system can. Raises `Locked`, `OSError`."""
    if os.name == "nt":
        os.scandir(path).close()
        return Lock(-1)
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
    descriptor = os.open(path, flags)
    try:
        locked = _try_lock(descriptor)
    except OSError:
        # Network file systems may lock no folders; sharing from one must still work.
        locked = True
    if not locked:
        os.close(descriptor)
        raise Locked(None)
    return Lock(descriptor)


def is_locked(path: str) -> bool | None:
    """Whether another process holds the lock of this file or folder; None where that is not told.

    For a moment the lock is shared, so that a second one who asks is not kept out either. Raises
    `OSError` if it cannot be opened.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in _BUSY else None
    finally:
        os.close(descriptor)
    return False


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # Beyond the number that the file holds, so that others can read it.
            os.lseek(descriptor, 1024, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def _pid_in(descriptor: int) -> int | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, _MAX_PID_BYTES)
    return int(text) if text.isdigit() else None
