"""Where a benchmark keeps its files while it runs: on the disk, or in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.folders import file_system, free_bytes
from benchmarks.leftovers import IN_MEMORY, leave

MEMORY = Path("/dev/shm")
NAMES = ("disk", "memory")


@contextmanager
def place(name: str, disk: Path | None, needed_bytes: int) -> Iterator[Path]:
    """A folder of its own on that kind of file system, removed when the program ends.

    Ends the program if it is not what its name says, or has too little room.
    """
    above = MEMORY if name == "memory" else disk or Path(tempfile.gettempdir())
    in_memory = file_system(above) in IN_MEMORY
    if in_memory != (name == "memory"):
        raise SystemExit(f"{above} is on {file_system(above)}: give a folder with --disk")
    if free_bytes(above) < needed_bytes:
        raise SystemExit(f"{above} has not the {needed_bytes / 1e9:.1f} GB free that this takes")
    folder = Path(tempfile.mkdtemp(prefix="lanspread-bench-", dir=above))
    try:
        yield folder
    finally:
        leave(folder)
