"""Free memory that is really there when a clock starts.

The memory of a machine that shares it with others (a virtual one, above all) may be lent out while
it is free: pages that nobody has touched for a while are brought back one by one as they are first
written, at up to ten times the cost of others. Who is measured after a pause would pay for that,
and who is measured after somebody else would not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MIB = 1024 * 1024
# Beside the file's own pages: buffers, what the file system notes of it, what others use meanwhile.
MORE_BYTES = 512 * MIB
# Taking the last free memory would push the sources out of the page cache.
LEFT_BYTES = 512 * MIB
_TOUCH = """
import mmap, os, sys
# It never takes the processor from who wakes up meanwhile: the lag of loops is measured.
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
size = int(sys.argv[1])
with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
    for at in range(0, size, mmap.PAGESIZE):
        memory[at] = 1
    print(next(line for line in open("/proc/self/status") if line.startswith("VmRSS:")))
"""


def bring_in(written_bytes: int) -> None:
    """Have as much free memory at hand as a run is going to write, and some more.

    To be called right before the clock starts. It takes some seconds for each GB.
    """
    size = amount(written_bytes, free_bytes(Path("/proc/meminfo").read_text()))
    if size:
        touch(size)


def touch(size: int) -> int:
    """Let a process of its own write into so many bytes of memory, and end.

    Returns how many bytes that process had in memory then.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _TOUCH, str(size)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout.split()[1]) * 1024


def amount(written_bytes: int, free: int) -> int:
    """Bytes to touch: a quarter more than is written and a fixed part, if there is so much."""
    return max(0, min(written_bytes * 5 // 4 + MORE_BYTES, free - LEFT_BYTES))


def free_bytes(meminfo: str) -> int:
    """MemFree of `/proc/meminfo`: what the page cache holds is not free."""
    for line in meminfo.splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no MemFree in /proc/meminfo")
