"""Installing a downloaded game into `local/`. The order of writes is in docs/recovery.md.

Calls block; every error before the commit point leaves its traces to `recover`.
"""

from __future__ import annotations

from lanspread.fs.install.intent import IntentKind, write_intent
from lanspread.fs.install.names import INSTALLING, LOCAL
from lanspread.fs.install.record import InstallRecord, check_record
from lanspread.fs.install.recovery import finish
from lanspread.fs.install.staging import (
    Installed,
    check_space,
    downloaded_version,
    find_local,
    make_ready,
    make_staging,
    seal_staging,
)
from lanspread.fs.install.unpack import Opener, open_source
from lanspread.fs.install.update import update
from lanspread.fs.progress import UNWATCHED, StopOnly, Watch
from lanspread.seams import Folder


def install(folder: Folder, open_archive: Opener, watch: Watch = UNWATCHED) -> Installed:
    """Unpack a game's archives into `local/`; if that is there already, see `update`.

    Raises `NotDownloaded`, `NothingToInstall`, `FolderNotEmpty`, `LeftBehind`, `InTheWay`,
    `Unrepaired`, `NoSpace`, `UnsafePath`, `ArchiveError`, `FileChanged`, `Stopped`, `OSError`.
    """
    make_ready(folder, watch)
    version = downloaded_version(folder)
    if find_local(folder) is not None:
        return update(folder, open_archive, watch)
    check_record(folder)
    with open_source(folder, open_archive) as source:
        watch.expect(source.layout.unpacked_bytes)
        check_space(folder, source.needed_bytes)
        write_intent(folder, IntentKind.INSTALLING, version)
        make_staging(folder)
        files = source.unpack(folder, INSTALLING, watch)
    seal_staging(folder, InstallRecord(version, files, frozenset(source.layout.folders)))
    watch.step()
    # The commit point. What follows syncs it first.
    folder.rename(INSTALLING, LOCAL)
    left = finish(folder, StopOnly(watch))
    return Installed(version=version, left=tuple(left))
