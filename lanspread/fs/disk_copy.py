"""A second name for a file or a link, or a copy where the system gives none.

Names are relative to folders held open, or whole paths where those are None. Nothing is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

from lanspread.seams import Kind

# How systems say that this file, or this file system, gets no second name: none of its kind, too
# many already, somebody else's file (Linux: protected_hardlinks), another disk.
_NO_SECOND_NAME: Final = {
    errno.EACCES,
    errno.EINVAL,
    errno.EMLINK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EXDEV,
}
_LINK_FOLLOWS: Final = os.link not in os.supports_follow_symlinks
_PIECE_BYTES: Final = 1024 * 1024
_FLAGS: Final = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOINHERIT", 0)
)


def link_or_copy(
    kind: Kind,
    source: str,
    target: str,
    *,
    source_dir: int | None = None,
    target_dir: int | None = None,
) -> None:
    """Give `target` what `source` is, which the caller found to be of this kind.

    A copy has the content, the time and the permissions; of a link it is a link. Raises `OSError`:
    `FileExistsError` if `target` is there, `EISDIR` for a folder, `EINVAL` for what is neither file
    nor link and gets no second name. A copy that fails leaves nothing.
    """
    if kind is Kind.FOLDER:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), source)
    if kind is not Kind.LINK or not _LINK_FOLLOWS:
        try:
            os.link(
                source,
                target,
                src_dir_fd=source_dir,
                dst_dir_fd=target_dir,
                follow_symlinks=_LINK_FOLLOWS,
            )
            return
        except OSError as error:
            if error.errno not in _NO_SECOND_NAME:
                raise
    if kind is Kind.LINK:
        _copy_link(source, target, source_dir, target_dir)
    else:
        _copy_file(source, target, source_dir, target_dir)


def set_permissions(descriptor: int, mode: int) -> None:
    """As far as the system and the file system know permissions."""
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, mode)


def folder_permissions(mode: int) -> int:
    """Those of a folder that is to be like one of this mode, and that its owner can fill."""
    return stat.S_IMODE(mode) & 0o777 | 0o700


def set_time(target: int | str, mtime_ns: int, *, dir_fd: int | None = None) -> None:
    """When a file was changed, as far as the file system can say such a time."""
    with contextlib.suppress(OSError, OverflowError):
        if isinstance(target, int):
            os.utime(target, ns=(mtime_ns, mtime_ns))
        else:
            os.utime(target, ns=(mtime_ns, mtime_ns), dir_fd=dir_fd)


def _copy_link(source: str, target: str, source_dir: int | None, target_dir: int | None) -> None:
    status = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    # Windows tells links to folders from links to files.
    attributes = getattr(status, "st_file_attributes", 0)
    os.symlink(
        os.readlink(source, dir_fd=source_dir),
        target,
        target_is_directory=bool(attributes & stat.FILE_ATTRIBUTE_DIRECTORY),
        dir_fd=target_dir,
    )


def _copy_file(source: str, target: str, source_dir: int | None, target_dir: int | None) -> None:
    with contextlib.ExitStack() as stack:
        old = os.open(source, os.O_RDONLY | _FLAGS, dir_fd=source_dir)
        stack.callback(os.close, old)
        status = os.fstat(old)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "neither a file nor a link", source)
        new = os.open(
            target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=target_dir
        )
        try:
            _copy_bytes(old, new)
            set_permissions(new, stat.S_IMODE(status.st_mode) & 0o777)
            if os.utime in os.supports_fd:
                set_time(new, status.st_mtime_ns)
        except BaseException:
            os.close(new)
            os.unlink(target, dir_fd=target_dir)
            raise
        os.close(new)
    if os.utime not in os.supports_fd:
        set_time(target, status.st_mtime_ns, dir_fd=target_dir)


def _copy_bytes(source: int, target: int) -> None:
    while piece := os.read(source, _PIECE_BYTES):
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]
