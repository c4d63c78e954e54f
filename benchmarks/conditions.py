"""What is made alike before each transfer, whoever makes it.

Two things of the machine, none of a program's, made the same transfer take two to three times as
long in one minute as in the next; see docs/benchmarks.md, "How it is measured".
"""

from __future__ import annotations

import mmap
import os
import shutil
from pathlib import Path

from benchmarks.folders import MIB, file_system, make_durable

IN_MEMORY = ("tmpfs", "ramfs")
# A process that fetches has memory of its own beside the files it makes.
OWN_BYTES = 256 * MIB
# Of more than this only the beginning would be faster.
MOST_BYTES = 3 * 1024 * MIB


def put_away(folder: Path) -> None:
    """Make room for the next transfer to `folder`, and wait until the disk is at rest.

    On a disk the files of the last one are emptied and kept, beside it: ext4 gives no inode away
    again for minutes after its file was deleted, and looks at every such one for each file that it
    makes. Whatever came after a deletion of thousands would pay for that.
    """
    if folder.exists():
        if file_system(folder) in IN_MEMORY:
            shutil.rmtree(folder)
        else:
            used = folder.parent / "used"
            used.mkdir(exist_ok=True)
            aside = folder.rename(used / str(sum(1 for _ in used.iterdir())))
            for path in aside.rglob("*"):
                if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1:
                    os.truncate(path, 0)
    make_durable(folder.parent)


def bring_memory_in(total_bytes: int) -> None:
    """Have the machine at hand what memory a transfer of `total_bytes` is going to fill.

    The last thing before the clock starts. Where machines share memory, what nobody used for a
    minute is somebody else's by then, and comes back a page at a time, slower than any network.
    """
    wanted = min(total_bytes + OWN_BYTES, MOST_BYTES, _available_bytes() // 2)
    with mmap.mmap(-1, wanted) as memory:
        ones = b"\1" * MIB
        for at in range(0, wanted - MIB, MIB):
            memory[at : at + MIB] = ones


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemAvailable in /proc/meminfo")
