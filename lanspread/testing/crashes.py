"""A crash at every step of what changes a disk, and every kind of power loss after it.

    def build(files: MemoryFileSystem) -> None:    # what is there before
        files.write_tree("/games/g", {"version.ini": b"1.0"})

    check_crashes("/games/g", build=build, act=install, recover=recover, check=is_whole)

`act` and `recover` are blocking functions over a `Folder` that do the same each time. Trees that
are the same are looked at once, so that thousands of crashes cost little.
Source: docs/testing.md, "Disks that break".
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from lanspread.seams import Folder
from lanspread.testing.faults import Crashed, FaultyFileSystem
from lanspread.testing.memory_files import MemoryFileSystem, Snapshot
from lanspread.testing.power import (
    CONTENTS_LOST,
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    POWER_LOSSES,
    PowerLoss,
)

Act = Callable[[Folder], object]

# After a crash of the recovery itself: fewer, because each of the first crashes leads to some.
_SECOND_LOSSES: Final = (EVERYTHING_KEPT, EVERYTHING_LOST, CONTENTS_LOST)
_START_NS: Final = 1_700_000_000_000_000_000
_TICK_NS: Final = 1_000_000
_FAULTS: Final = (errno.ENOSPC, errno.EIO, errno.EACCES)


@attrs.frozen
class Survivor:
    """A disk after a crash: what is on it, how it came about, whether the work had returned."""

    snapshot: Snapshot
    story: str
    finished: bool

    def files(self) -> MemoryFileSystem:
        """A file system of its own with this on it."""
        return _disk(self.snapshot)


def crash_points(
    path: str,
    act: Act,
    *,
    build: Callable[[MemoryFileSystem], object],
    losses: Sequence[PowerLoss] = POWER_LOSSES,
) -> Iterator[Survivor]:
    """Every different disk that a crash of `act` in the folder `path` can leave.

    `act` runs from the start again for each step and dies before it, or in the middle, or after its
    end; then the power goes in each way of `losses`. What `build` left is durable. What `act`
    raises of itself comes out of here.
    """
    yield from _survivors(path, act, _built(build), losses, "")


def check_crashes(
    path: str,
    *,
    build: Callable[[MemoryFileSystem], object],
    act: Act,
    check: Act,
    recover: Act | None = None,
    check_finished: Act | None = None,
    losses: Sequence[PowerLoss] = POWER_LOSSES,
) -> int:
    """Whatever crash of `act`, and then of `recover`, `check` finds nothing wrong. How many disks.

    `check_finished` is asked as well where `act` had returned: what it promised must hold then.
    What a check or `recover` raises comes out with a note of how to come there.
    """
    count = 0
    checked: set[tuple[bool, object]] = set()
    for survivor in crash_points(path, act, build=build, losses=losses):
        count += 1
        _look_after(survivor, path, recover, check, check_finished)
        if recover is None:
            continue
        start = survivor.snapshot
        for second in _survivors(path, recover, start, _SECOND_LOSSES, "; then in the recovery, "):
            looks = (survivor.finished, second.snapshot.looks())
            if looks in checked:
                continue
            checked.add(looks)
            story = survivor.story + second.story
            again = Survivor(second.snapshot, story, survivor.finished)
            _look_after(again, path, recover, check, check_finished)
            count += 1
    return count


def check_faults(
    path: str,
    *,
    build: Callable[[MemoryFileSystem], object],
    act: Act,
    check: Act,
    recover: Act | None = None,
    errors: Sequence[int] = _FAULTS,
) -> int:
    """Whatever step of `act` fails, once or from then on, `check` finds nothing wrong. How many.

    `act` may raise any `Exception` or come to its end all the same; nothing fails any more when
    `recover` runs.
    """
    start = _built(build)
    count = 0
    for error in errors:
        for once in (True, False):
            step = 0
            while True:
                files = _disk(start)
                faulty = FaultyFileSystem(files)
                faulty.fail(error, since=step, once=once)
                story = f"{errno.errorcode[error]} {'at' if once else 'from'} step {step} on"
                with _told(story):
                    _act_and_fail(faulty, path, act)
                if faulty.steps <= step:
                    break
                finished = Survivor(files.snapshot(), f"{story}: {faulty.log[step]}", False)
                _look_after(finished, path, recover, check, None)
                count += 1
                step += 1
    return count


def _survivors(
    path: str, act: Act, start: Snapshot, losses: Sequence[PowerLoss], before: str
) -> Iterator[Survivor]:
    seen: set[tuple[bool, object]] = set()
    step, torn, finished = 0, False, False
    while not finished:
        files = _disk(start)
        faulty = FaultyFileSystem(files)
        faulty.crash_at(step, torn=torn)
        with _told(f"{before}crash at step {step}"):
            finished = _act_and_die(faulty, path, act)
        where = "after the end" if finished else f"{'in' if torn else 'before'} {faulty.log[step]}"
        for loss in losses:
            snapshot = files.after_power_loss(loss)
            looks = (finished, snapshot.looks())
            if looks not in seen:
                seen.add(looks)
                yield Survivor(snapshot, f"{before}{where}, {loss}", finished)
        if torn or not _has_half(faulty, step):
            step, torn = step + 1, False
        else:
            torn = True


def _has_half(faulty: FaultyFileSystem, step: int) -> bool:
    return faulty.is_dead and faulty.log[step].operation in ("write_at", "sync_all")


def _act_and_die(faulty: FaultyFileSystem, path: str, act: Act) -> bool:
    """Whether `act` came to its end alive."""
    try:
        with faulty.open_folder(path) as folder:
            act(folder)
    except Crashed:
        pass
    return not faulty.is_dead


def _act_and_fail(faulty: FaultyFileSystem, path: str, act: Act) -> None:
    with faulty.open_folder(path) as folder:
        try:
            act(folder)
        except Exception:
            # Without a fault it is the test that is wrong, or what it tests.
            if not faulty.failures:
                raise


def _look_after(
    survivor: Survivor, path: str, recover: Act | None, check: Act, check_finished: Act | None
) -> None:
    with _told(survivor.story), survivor.files().open_folder(path) as folder:
        if recover is not None:
            recover(folder)
        check(folder)
        if survivor.finished and check_finished is not None:
            check_finished(folder)


@contextmanager
def _told(story: str) -> Iterator[None]:
    """Whatever is raised says how the disk came to be as it is."""
    try:
        yield
    except Exception as error:
        error.add_note(f"on a disk after: {story}")
        raise


def _built(build: Callable[[MemoryFileSystem], object]) -> Snapshot:
    files = MemoryFileSystem(_clock(_START_NS))
    build(files)
    return files.snapshot()


def _disk(snapshot: Snapshot) -> MemoryFileSystem:
    """A file system of its own with this on it, whose clock goes on from there."""
    files = MemoryFileSystem(_clock(snapshot.newest_ns))
    files.restore(snapshot)
    return files


def _clock(start_ns: int) -> Callable[[], int]:
    """No two changes at one time: what looks at times finds a change."""
    ticks = itertools.count(start_ns + _TICK_NS, _TICK_NS)
    return lambda: next(ticks)
