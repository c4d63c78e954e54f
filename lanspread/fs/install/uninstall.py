"""Removing `local/`, saves included. The order of writes is in docs/recovery.md. Calls block."""

from __future__ import annotations

import contextlib

import attrs

from lanspread.fs.errors import NotInstalled
from lanspread.fs.install.intent import write_uninstalling
from lanspread.fs.install.names import BACKUP, LOCAL, OWNED
from lanspread.fs.install.record import read_install_record
from lanspread.fs.install.recovery import finish
from lanspread.fs.install.staging import find_local, make_ready, set_aside, unmark_local
from lanspread.fs.install.trees import content_bytes, mark
from lanspread.fs.progress import UNWATCHED, Watch
from lanspread.seams import Folder


@attrs.frozen(kw_only=True)
class Uninstalled:
    """`version` is what was installed, "" if that is not known; `left` are names of ours that could
    not be removed yet."""

    version: str
    left: tuple[str, ...] = ()


def uninstall(folder: Folder, watch: Watch = UNWATCHED) -> Uninstalled:
    """Remove `local/` with everything in it.

    Once committed it is uninstalled, even if it is stopped or a file cannot be removed yet. Raises
    `NotInstalled`, `FolderNotEmpty`, `LeftBehind`, `InTheWay`, `Unrepaired`, `FileChanged` if
    somebody puts something else at `local` meanwhile, `Stopped`, `OSError`; before the commit point
    `recover` puts everything back.
    """
    make_ready(folder, watch)
    local = find_local(folder)
    if local is None:
        raise NotInstalled("the game is not installed")
    record = read_install_record(folder)
    version = "" if record is None else record.version
    watch.expect(content_bytes(folder, LOCAL, watch))
    unmark_local(folder)
    write_uninstalling(folder, version)
    watch.step()
    set_aside(folder, local)
    watch.step()
    try:
        mark(folder, BACKUP)  # The commit point.
    except OSError:
        # A marker that may not be on the disk must not make recovery go on.
        with contextlib.suppress(OSError):
            folder.remove_file(f"{BACKUP}/{OWNED}")
        raise
    return Uninstalled(version=version, left=tuple(finish(folder, watch)))
