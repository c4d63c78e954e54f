"""A disk that breaks where it is told to: counted steps, errors, death and hooks."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import Folder
from lanspread.testing import Crashed, FaultyFileSystem, MemoryFileSystem, Step
from tests.fs.support import open_descriptors


@pytest.fixture(params=["disk", "memory"])
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyFileSystem:
    if request.param == "disk":
        (tmp_path / "g").mkdir()
        (tmp_path / "g/old").write_bytes(b"old")
        return FaultyFileSystem(DiskFileSystem())
    memory = MemoryFileSystem()
    memory.write_file(f"{tmp_path}/g/old", b"old")
    return FaultyFileSystem(memory)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return f"{tmp_path}/g"


def all_steps(folder: Folder) -> None:
    """Each kind of step once, with reads between."""
    with folder.open("new", "create") as file:
        file.write_at(b"12345678", 0)
        assert file.read_at(3, 0) == b"123"
        file.truncate(6)
        file.set_attributes(mtime_ns=5, executable=False)
        file.sync()
        file.entry()
    folder.make_folder("a")
    folder.make_folder("a")
    folder.link_or_copy("new", "a/linked")
    with folder.folder("a") as below:
        below.rename("linked", "moved")
        below.open("moved", "create").close()
    assert folder.exists("a/moved")
    folder.sync_all(["new", "a/moved"], ["a"])
    folder.sync_folder()
    folder.remove_file("a/moved")
    folder.remove_folder("a")
    folder.list()
    folder.peek(lambda name: True)
    folder.entry("new")
    folder.system_path("new")
    folder.free_bytes()


OPERATIONS = [
    "create", "write_at", "truncate", "set_attributes", "sync", "make_folder", "link_or_copy",
    "rename", "sync_all", "sync_folder", "remove_file", "remove_folder",
]  # fmt: skip


def test_only_changes_are_steps(faulty: FaultyFileSystem, root: str) -> None:
    with faulty.open_folder(root) as folder:
        assert folder.path == root
        all_steps(folder)
    assert [step.operation for step in faulty.log] == OPERATIONS
    assert [step.number for step in faulty.log] == list(range(faulty.steps))
    assert faulty.log[7].paths == (f"{root}/a/linked", f"{root}/a/moved")
    assert str(faulty.log[0]) == f"step 0 (create {root}/new)"


def test_the_dead_do_nothing_more(faulty: FaultyFileSystem, root: str) -> None:
    before = open_descriptors()
    with (
        faulty.inner.open_folder(root) as inner,
        faulty.open_folder(root) as folder,
        folder.open("old", "write") as file,
        folder.folder("") as second,
    ):
        deaths: list[None] = []
        faulty.crash_at(1, on_crash=lambda: deaths.append(None))
        folder.make_folder("made")
        with pytest.raises(Crashed, match="step 1"):
            folder.remove_folder("made")
        calls: list[Callable[[], object]] = [
            lambda: faulty.open_folder(root),
            lambda: all_steps(folder),
            second.list,
            lambda: second.peek(bool),
            second.entry,
            lambda: second.exists("old"),
            lambda: second.folder("made"),
            lambda: second.open("old", "read"),
            lambda: second.open("new", "create"),
            lambda: second.make_folder("made"),
            lambda: second.rename("old", "x"),
            lambda: second.link_or_copy("old", "x"),
            lambda: second.remove_file("old"),
            second.sync_folder,
            lambda: second.sync_all([], []),
            lambda: second.system_path("old"),
            second.free_bytes,
            lambda: file.read_at(1, 0),
            lambda: file.read_into(memoryview(bytearray(1)), 0),
            lambda: file.write_at(b"x", 0),
            lambda: file.truncate(0),
            lambda: file.start_sync(0, 1),
            file.sync,
            lambda: file.set_attributes(mtime_ns=None, executable=True),
            file.entry,
        ]
        for call in calls:
            with pytest.raises(Crashed):
                call()
        assert deaths == [None]
        assert {entry.name for entry in inner.list()} == {"old", "made"}
    assert open_descriptors() == before


def test_no_handler_of_errors_survives_a_crash(faulty: FaultyFileSystem, root: str) -> None:
    def stubborn(folder: Folder) -> None:
        try:
            folder.remove_file("old")
        except Exception:
            folder.make_folder("handled")
        finally:
            folder.make_folder("cleaned")

    faulty.crash_at(0)
    with pytest.raises(Crashed), faulty.open_folder(root) as folder:
        stubborn(folder)
    with faulty.inner.open_folder(root) as left:
        assert [entry.name for entry in left.list()] == ["old"]


def test_a_crash_in_the_middle(faulty: FaultyFileSystem, root: str) -> None:
    faulty.crash_at(0, torn=True)
    with (
        pytest.raises(Crashed),
        faulty.open_folder(root) as folder,
        folder.open("old", "write") as file,
    ):
        file.write_at(b"NEWS", 1)
    with faulty.inner.open_folder(root) as left, left.open("old", "read") as file:
        assert file.read_at(10, 0) == b"oNE"


def errors_of(folder: Folder, name: str) -> list[int | None]:
    """The errors of three tries to make a folder."""
    found: list[int | None] = []
    for number in range(3):
        try:
            folder.make_folder(f"{name}{number}")
            found.append(None)
        except OSError as error:
            found.append(error.errno)
    return found


def test_steps_fail_once_or_from_then_on(faulty: FaultyFileSystem, root: str) -> None:
    with faulty.open_folder(root) as folder:
        faulty.fail(errno.EIO, since=1, once=True)
        assert errors_of(folder, "a") == [None, errno.EIO, None]
        faulty.fail(errno.ENOSPC, since=faulty.steps + 1)
        assert errors_of(folder, "b") == [None, errno.ENOSPC, errno.ENOSPC]
        assert faulty.failures == 3
        faulty.heal()
        assert errors_of(folder, "c") == [None, None, None]
        assert {entry.name for entry in folder.list()} == {
            "old", "a0", "a2", "b0", "c0", "c1", "c2",
        }  # fmt: skip


def test_one_file_is_busy(faulty: FaultyFileSystem, root: str) -> None:
    faulty.fail(errno.EBUSY, path="*/o?d", operations={"rename", "remove_file", "open"})
    with faulty.open_folder(root) as folder:
        folder.make_folder("a")
        for busy in (
            lambda: folder.remove_file("old"),
            lambda: folder.rename("old", "a/x"),
            lambda: folder.rename("a", "old"),
            lambda: folder.open("old", "read"),
        ):
            with pytest.raises(OSError, match="busy"):
                busy()
        folder.rename("a", "b")
    with pytest.raises(ValueError, match="no such"):
        faulty.fail(errno.EBUSY, operations={"unlink"})


def test_a_full_disk_takes_half_of_a_write(faulty: FaultyFileSystem, root: str) -> None:
    with faulty.open_folder(root) as folder, folder.open("old", "write") as file:
        for error, left in ((errno.EACCES, b"old"), (errno.ENOSPC, b"oNE")):
            faulty.fail(error, once=True)
            with pytest.raises(OSError, match=r"."):
                file.write_at(b"NEWS", 1)
            assert file.read_at(10, 0) == left


def test_a_hook_sees_each_step_before_it_happens(faulty: FaultyFileSystem, root: str) -> None:
    seen: list[bool] = []

    def hook(step: Step) -> None:
        if step.operation == "make_folder":
            with faulty.inner.open_folder(root) as left:
                seen.append(left.exists("a"))
        if step.operation == "remove_file":
            raise LookupError("cancelled here")

    faulty.on_step = hook
    with faulty.open_folder(root) as folder:
        folder.make_folder("a")
        with pytest.raises(LookupError):
            folder.remove_file("old")
        assert seen == [False]
        assert folder.exists("old")
        faulty.on_step = lambda step: faulty.crash()
        with pytest.raises(Crashed):
            folder.remove_file("old")
    with faulty.inner.open_folder(root) as left:
        assert left.exists("old")


def test_steps_of_several_threads_are_all_counted() -> None:
    memory = MemoryFileSystem()
    memory.make_folders("/g")
    faulty = FaultyFileSystem(memory)

    def work() -> None:
        for _ in range(500):
            faulty.step("sync", "/g")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(step.number for step in faulty.log) == list(range(2_000))
