"""A crash, a power loss, an error and a stop at every step of install, update and uninstall.

Whatever happened, the game is then exactly as before or exactly as after, with all that is the
user's; nothing is left behind; and the same operation can be repeated to its end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Literal, cast

import attrs
import pytest

from lanspread.fs.errors import Stopped
from lanspread.fs.install.install import install
from lanspread.fs.install.names import INTENT_SCRATCH
from lanspread.fs.install.record import read_install_record
from lanspread.fs.install.recovery import recover
from lanspread.fs.install.uninstall import uninstall
from lanspread.fs.install.update import update
from lanspread.fs.progress import UNWATCHED, Watch
from lanspread.seams import File, Folder
from lanspread.testing import (
    CONTENTS_LOST,
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    NAMES_LOST,
    Crashed,
    FaultyFileSystem,
    MemoryFileSystem,
    check_crashes,
    check_faults,
    crash_points,
    some_kept,
)
from lanspread.testing.memory_files import Snapshot
from tests.fs.install.support import (
    PATH,
    V1,
    V2,
    Counter,
    contents,
    files_in,
    new_files,
    open_fake,
    own_names,
    put_game,
    write,
)

INSTALLED = contents(V1)
OLD = {**INSTALLED, "saves/slot1": b"hours of play", "game.exe": b"patched"}
OLD["config.ini"] = b"my settings"
UPDATED = {
    **contents(V2),
    "config.ini": b"my settings",
    "game.exe.before-update": b"patched",
    "saves/slot1": b"hours of play",
}


@attrs.frozen
class Full:
    """A folder of a disk that has room for names and for nothing else."""

    inner: Folder

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def open(self, rel: str, mode: Literal["read", "write", "create"]) -> File:
        file = self.inner.open(rel, mode)
        if rel == INTENT_SCRATCH:
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file


@attrs.frozen
class Case:
    """An operation: what is before, what may be after, and which version is then installed."""

    build: Callable[[MemoryFileSystem], object]
    act: Callable[[Folder, Watch], object]
    before: dict[str, bytes] | None
    after: dict[str, bytes] | None
    version_before: str | None
    version_after: str | None


def build_installed(files: MemoryFileSystem) -> None:
    """Version 1, played with for a while."""
    put_game(files, 1)
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
        for path, data in OLD.items():
            if INSTALLED.get(path) != data:
                write(folder, f"local/{path}", data)
    assert files.read_tree(f"{PATH}/local") == dict(sorted(OLD.items()))


def build_update(files: MemoryFileSystem) -> None:
    build_installed(files)
    put_game(files, 2)


CASES = {
    "install": Case(
        put_game, lambda folder, watch: install(folder, open_fake, watch),
        None, INSTALLED, None, "1.0",
    ),
    "update": Case(
        build_update, lambda folder, watch: update(folder, open_fake, watch),
        OLD, UPDATED, "1.0", "2.0",
    ),
    "uninstall": Case(build_installed, uninstall, OLD, None, "1.0", None),
    "uninstall on a full disk": Case(
        build_installed, lambda folder, watch: uninstall(cast(Folder, Full(folder)), watch),
        OLD, None, "1.0", None,
    ),
}  # fmt: skip


def check_whole(case: Case, folder: Folder) -> None:
    """As before or as after, all of it, and nothing of ours lies about."""
    local = files_in(folder, "local")
    record = read_install_record(folder)
    version = None if record is None else record.version
    if local == case.before or (local is not None and local == sorted_(case.before)):
        assert version == case.version_before
    else:
        assert local == sorted_(case.after)
        assert version == case.version_after
    # An empty folder without our marker is nobody's, and taken over by the next operation.
    assert files_in(folder, ".local.backup") in (None, {})
    assert set(own_names(folder)) <= {".lanspread", ".local.backup"}
    if folder.exists(".lanspread"):
        left = {entry.name for entry in folder.list(".lanspread")} - {"install.json"}
        # Scratch that is written over the next time.
        assert left <= {"install.json.new.tmp"}
    assert folder.exists("version.ini")
    assert folder.exists("game.eti")


def check_repeated(case: Case, folder: Folder) -> None:
    """It can be done again, from whatever is there."""
    if case.after is None and not folder.exists("local"):
        return
    case.act(folder, UNWATCHED)
    assert files_in(folder, "local") == sorted_(case.after)


def check_recovered(case: Case, folder: Folder) -> None:
    check_whole(case, folder)
    assert recover(folder).repaired == ()
    check_repeated(case, folder)
    check_whole(case, folder)


def recover_all(folder: Folder) -> None:
    found = recover(folder)
    assert found.blocked is None
    assert found.left == ()


def sorted_(files: dict[str, bytes] | None) -> dict[str, bytes] | None:
    return None if files is None else dict(sorted(files.items()))


@pytest.mark.parametrize("name", CASES)
def test_a_crash_at_every_step(name: str) -> None:
    case = CASES[name]

    def check_finished(folder: Folder) -> None:
        assert files_in(folder, "local") == sorted_(case.after)

    count = check_crashes(
        PATH,
        build=case.build,
        act=lambda folder: case.act(folder, UNWATCHED),
        recover=recover_all,
        check=lambda folder: check_recovered(case, folder),
        check_finished=check_finished,
    )
    assert count > 50


@pytest.mark.parametrize("name", CASES)
def test_an_error_at_every_step(name: str) -> None:
    case = CASES[name]
    count = check_faults(
        PATH,
        build=case.build,
        act=lambda folder: case.act(folder, UNWATCHED),
        recover=recover_all,
        check=lambda folder: check_recovered(case, folder),
        errors=(errno.ENOSPC, errno.EIO, errno.EACCES, errno.EBUSY),
    )
    assert count > 100


@pytest.mark.parametrize("name", CASES)
def test_a_stop_at_every_step(name: str) -> None:
    case = CASES[name]
    at = 0
    stopped = True
    while stopped:
        files = new_files()
        case.build(files)
        with files.open_folder(PATH) as folder:
            watch = Counter(stop_at=at)
            try:
                case.act(folder, watch)
            except Stopped:
                recover_all(folder)
                assert files_in(folder, "local") == sorted_(case.before)
            else:
                # It was committed, so it was not stopped, whatever was asked.
                assert files_in(folder, "local") == sorted_(case.after)
                stopped = watch.steps > at
                recover_all(folder)
            check_recovered(case, folder)
        at += 1
    assert at > 5


@pytest.mark.parametrize("name", ["update", "uninstall"])
def test_a_marker_in_local_is_not_taken_for_a_commit(name: str) -> None:
    case = CASES[name]

    def build(files: MemoryFileSystem) -> None:
        case.build(files)
        files.write_file(f"{PATH}/local/.lanspread_owned", b"")

    first = True
    for survivor in crash_points(
        PATH, lambda folder: case.act(folder, UNWATCHED), build=build, losses=[EVERYTHING_KEPT]
    ):
        with survivor.files().open_folder(PATH) as folder:
            moved = folder.exists(".local.backup") and not folder.exists("local")
            recover_all(folder)
            if moved and first:
                # Right after the first rename, which everything can come back from.
                first = False
                assert files_in(folder, "local") == sorted_(case.before)
    assert not first


@pytest.mark.parametrize("name", CASES)
def test_a_killed_program_and_then_a_power_loss_in_its_recovery(name: str) -> None:
    """What the first left unsynced may get lost while the second already builds on it."""
    case = CASES[name]
    files = new_files()
    case.build(files)
    start = files.snapshot()
    seen: set[object] = set()
    first_step, first_died = 0, True
    while first_died:
        second_step, second_died = 0, True
        while second_died:
            files.restore(start)
            first_died = dies(files, first_step, lambda folder: case.act(folder, UNWATCHED))
            second_died = dies(files, second_step, recover_all)
            for loss in (EVERYTHING_LOST, NAMES_LOST, CONTENTS_LOST, some_kept(1)):
                snapshot = files.after_power_loss(loss)
                if snapshot.looks() not in seen:
                    seen.add(snapshot.looks())
                    check_survivor(case, snapshot)
            second_step += 1
        first_step += 1
    assert len(seen) > 20


def check_survivor(case: Case, snapshot: Snapshot) -> None:
    files = new_files()
    files.restore(snapshot)
    with files.open_folder(PATH) as folder:
        recover_all(folder)
        check_recovered(case, folder)


@pytest.mark.parametrize("name", CASES)
def test_an_error_at_every_step_of_the_recovery(name: str) -> None:
    case = CASES[name]
    count = 0
    for survivor in crash_points(
        PATH,
        lambda folder: case.act(folder, UNWATCHED),
        build=case.build,
        losses=[EVERYTHING_KEPT],
    ):
        for error in (errno.EIO,):
            step = 0
            while True:
                files = survivor.files()
                faulty = FaultyFileSystem(files)
                faulty.fail(error, since=step)
                with faulty.open_folder(PATH) as faulty_folder:
                    recover(faulty_folder)
                if faulty.steps <= step:
                    break
                with files.open_folder(PATH) as folder:
                    recover_all(folder)
                    check_recovered(case, folder)
                count += 1
                step += 1
    assert count > 50


def dies(files: MemoryFileSystem, step: int, act: Callable[[Folder], object]) -> bool:
    faulty = FaultyFileSystem(files)
    faulty.crash_at(step)
    try:
        with faulty.open_folder(PATH) as folder:
            act(folder)
    except Crashed:
        return True
    return False
