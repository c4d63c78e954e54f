"""Getting bytes and names onto the disk: what each system offers, chosen at run time."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import re
import sys
from collections.abc import Callable
from typing import Final

# From this many files and folders on, one sync of the whole file system is the cheaper way
# (2,500 of them: 0.35 s against 0.7 s).
MANY: Final = 64

# SYNC_FILE_RANGE_WRITE of Linux.
_RANGE_WRITE: Final = 2

# Before this kernel `syncfs` said nothing of bytes that could not be written.
_SYNCFS_TELLS_SINCE: Final = (5, 8)


def sync_descriptor(descriptor: int) -> None:
    """One file or folder is on the disk when this returns. Raises `OSError`."""
    full = _full_sync()
    if full is not None:
        try:
            full(descriptor)
            return
        except OSError as error:
            # Network and foreign file systems of macOS do not know it.
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
    os.fsync(descriptor)


def sync_whole(descriptor: int) -> bool:
    """Sync the file system that holds an open folder; False where that cannot be done reliably.

    Raises `OSError` if bytes could not be written since the folder was opened.
    """
    call = _syncfs()
    if call is None:
        return False
    if call(descriptor) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.ENOSYS:
        return False
    raise OSError(number, os.strerror(number))


def start_sync(descriptor: int, offset: int, size: int) -> None:
    """Let the system begin to write a part of a file to the disk, where it can be asked to."""
    call = _sync_file_range()
    if call is not None:
        call(descriptor, offset, size, _RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    call.restype = ctypes.c_int
    return call


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if version is None or (int(version[1]), int(version[2])) < _SYNCFS_TELLS_SINCE:
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None
    call.argtypes = [ctypes.c_int]
    call.restype = ctypes.c_int
    return lambda descriptor: int(call(descriptor))


@functools.cache
def _full_sync() -> Callable[[int], object] | None:
    """macOS: `fsync` leaves the bytes in the drive's cache, F_FULLFSYNC does not."""
    try:
        import fcntl
    except ImportError:
        return None
    command: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if command is None:
        return None
    return lambda descriptor: fcntl.fcntl(descriptor, command)
