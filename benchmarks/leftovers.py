"""What earlier transfers leave, put where later ones do not pay for it.

ext4 gives no inode away again for minutes after its file was deleted, and looks at every such one
for each file that it makes: whatever came after a deletion of thousands would pay for that. So on a
disk nothing is deleted before the program ends.
"""

from __future__ import annotations

import atexit
import os
import shutil
from pathlib import Path

from benchmarks.folders import file_system, make_durable

IN_MEMORY = ("tmpfs", "ramfs")


def put_away(folder: Path) -> None:
    """Make room for the next transfer to `folder`, and wait until the disk is at rest.

    On a disk the files of the last one are emptied and kept, beside it.
    """
    if folder.exists():
        if file_system(folder) in IN_MEMORY:
            shutil.rmtree(folder)
        else:
            used = folder.parent / "used"
            used.mkdir(exist_ok=True)
            aside = folder.rename(used / str(sum(1 for _ in used.iterdir())))
            _empty(aside)
    make_durable(folder.parent)


def leave(folder: Path) -> None:
    """Give back the room of a folder in which nothing is measured any more."""
    if file_system(folder) in IN_MEMORY:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _empty(folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _empty(folder: Path) -> None:
    """No file has bytes any more, but for those that have a second name somewhere."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1:
            os.truncate(path, 0)
