"""A file system that breaks at a chosen step: full, damaged, busy, or dead in the middle of work.

It stands in front of any other, in memory or on the disk. A *step* is a call that changes the disk
or makes a change durable (`STEPS`); reads are none, nor is opening or making what is there already.
Source: docs/testing.md, "Disks that break".
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Final

import attrs

from lanspread.seams import FileSystem
from lanspread.testing.faulty_folder import FaultyFolder

STEPS: Final = frozenset(
    {
        "create",
        "link_or_copy",
        "make_folder",
        "remove_file",
        "remove_folder",
        "rename",
        "set_attributes",
        "sync",
        "sync_all",
        "sync_folder",
        "truncate",
        "write_at",
    }
)
# What is not a step can be made to fail by name.
READS: Final = frozenset(
    {"entry", "exists", "folder", "free_bytes", "list", "open", "read_at", "read_into"}
)

# With these a write has begun before it fails.
_MID_WRITE: Final = {errno.ENOSPC, errno.EIO}


class Crashed(BaseException):
    """The process is dead. No `Exception`, so that nothing which handles errors survives it."""


@attrs.frozen
class Step:
    """One step. The first has number 0; `paths` are whole: what is changed, or source and target.

    `sync_all` has the folder through which it was asked.
    """

    number: int
    operation: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"step {self.number} ({self.operation} {' -> '.join(self.paths)})"


@attrs.define
class _Fault:
    error: int
    since: int
    operations: frozenset[str]
    path: str
    once: bool

    def fits(self, operation: str, paths: Collection[str], steps: int) -> bool:
        return (
            operation in self.operations
            and steps >= self.since
            and any(fnmatchcase(path, self.path) for path in paths)
        )


class FaultyFileSystem:
    """`FileSystem`: the one behind it, until a step that was chosen to go wrong.

    `on_step` is called before each step, in the thread that takes it; what it raises comes out of
    the step, which then did nothing. `failures` counts the calls that were made to fail. Steps are
    counted right from several threads.
    """

    def __init__(self, inner: FileSystem, *, on_step: Callable[[Step], None] | None = None) -> None:
        self.inner = inner
        self.on_step = on_step
        self.log: list[Step] = []
        self.failures = 0
        self._faults: list[_Fault] = []
        self._crash_at: int | None = None
        self._torn = False
        self._on_crash: Callable[[], None] | None = None
        self._is_dead = False
        self._lock = threading.Lock()

    @property
    def steps(self) -> int:
        """How many steps were taken, or tried, so far: the number of the next one."""
        return len(self.log)

    @property
    def is_dead(self) -> bool:
        return self._is_dead

    def open_folder(self, path: str) -> FaultyFolder:
        """As `FileSystem`; raises `Crashed` too."""
        self.look("folder", path)
        return FaultyFolder(self.inner.open_folder(path), self)

    # -- what goes wrong --------------------------------------------------------------------------

    def fail(
        self,
        error: int,
        *,
        since: int = 0,
        operations: Collection[str] = STEPS,
        path: str = "*",
        once: bool = False,
    ) -> None:
        """Let calls fail with this `errno`: every one that fits, or only the next (`once`).

        `since`: from the step of this number on. `path` is a pattern for whole paths, as a shell's,
        whose `*` means slashes as well. `operations` may name `READS`. A write that fails for want
        of space, or by an error of the disk, has half happened.
        """
        if unknown := set(operations) - STEPS - READS:
            raise ValueError(f"no such operations: {sorted(unknown)}")
        self._faults.append(_Fault(error, since, frozenset(operations), path, once))

    def crash_at(
        self, step: int, *, torn: bool = False, on_crash: Callable[[], None] | None = None
    ) -> None:
        """Die right before the step of this number; `torn`: in the middle of it, if it has one.

        A write has, and a `sync_all`. From then on every call on anything that was opened from
        here raises `Crashed` and does nothing, but `close`, which is harmless. `on_crash` is called
        once, at the moment of death.
        """
        self._crash_at, self._torn, self._on_crash = step, torn, on_crash

    def crash(self) -> None:
        """Die now."""
        with self._lock:
            was_dead, self._is_dead = self._is_dead, True
        if not was_dead and self._on_crash is not None:
            self._on_crash()

    def heal(self) -> None:
        """Forget what was to go wrong. The dead stay dead."""
        self._faults.clear()
        self._crash_at = None

    # -- asked by folders and files ---------------------------------------------------------------

    def step(self, operation: str, *paths: str, half: Callable[[], None] | None = None) -> None:
        """Before a step. `half` does half of it. Raises `OSError`, `Crashed`."""
        with self._lock:
            self._check_alive()
            step = Step(len(self.log), operation, paths)
            self.log.append(step)
        if self.on_step is not None:
            self.on_step(step)
            self._check_alive()
        if self._crash_at is not None and step.number >= self._crash_at:
            if self._torn and half is not None:
                half()
            self.crash()
            raise Crashed(str(step))
        self._check_faults(operation, paths, step.number, half)

    def look(self, operation: str, path: str) -> None:
        """Before a call that is no step. Raises `OSError`, `Crashed`."""
        self._check_alive()
        self._check_faults(operation, (path,), len(self.log), None)

    def _check_alive(self) -> None:
        if self._is_dead:
            raise Crashed("the process that opened this is dead")

    def _check_faults(
        self,
        operation: str,
        paths: tuple[str, ...],
        number: int,
        half: Callable[[], None] | None,
    ) -> None:
        if not self._faults:
            return
        with self._lock:
            fits = (fault for fault in self._faults if fault.fits(operation, paths, number))
            fault = next(fits, None)
            if fault is None:
                return
            self.failures += 1
            if fault.once:
                self._faults.remove(fault)
        if half is not None and operation == "write_at" and fault.error in _MID_WRITE:
            half()
        raise OSError(fault.error, os.strerror(fault.error), paths[0])
