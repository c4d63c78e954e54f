"""Crashes at every step find the classic faults, and pass the program that has none."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from lanspread.seams import Folder
from lanspread.testing import (
    EVERYTHING_KEPT,
    POWER_LOSSES,
    MemoryFileSystem,
    PowerLoss,
    check_crashes,
    check_faults,
    crash_points,
)

PATH = "/games/g"


def read(folder: Folder, name: str) -> bytes | None:
    if not folder.exists(name):
        return None
    with folder.open(name, "read") as file:
        return file.read_at(1_000, 0)


def write(folder: Folder, name: str, data: bytes, *, sync: bool = True) -> None:
    with folder.open(name, "create") as file:
        file.truncate(0)
        file.write_at(data, 0)
        if sync:
            file.sync()


# -- a file that is replaced -----------------------------------------------------------------------


def one_file(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/record", b"old")


def replace(folder: Folder) -> None:
    write(folder, "record.new", b"new")
    folder.rename("record.new", "record")
    folder.sync_folder()


def replace_without_syncing_the_file(folder: Folder) -> None:
    write(folder, "record.new", b"new", sync=False)
    folder.rename("record.new", "record")
    folder.sync_folder()


def replace_without_syncing_the_folder(folder: Folder) -> None:
    write(folder, "record.new", b"new")
    folder.rename("record.new", "record")


def replace_in_place(folder: Folder) -> None:
    write(folder, "record", b"new")


def replace_by_removing_first(folder: Folder) -> None:
    write(folder, "record.new", b"new")
    folder.remove_file("record")
    folder.rename("record.new", "record")
    folder.sync_folder()


def is_old_or_new(folder: Folder) -> None:
    assert read(folder, "record") in (b"old", b"new")


def is_new(folder: Folder) -> None:
    assert read(folder, "record") == b"new"


def check_replacing(act: Callable[[Folder], None], **options: object) -> int:
    return check_crashes(
        PATH, build=one_file, act=act, check=is_old_or_new, check_finished=is_new,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_file_that_is_replaced_rightly() -> None:
    assert check_replacing(replace) > 5


@pytest.mark.parametrize(
    ("act", "note"),
    [
        (replace_without_syncing_the_file, "before step 4 (sync_folder"),
        (replace_without_syncing_the_folder, "after the end"),
        (replace_in_place, "before step 1 (write_at"),
        (replace_by_removing_first, "before step 5 (rename"),
    ],
)
def test_a_file_that_is_replaced_wrongly(act: Callable[[Folder], None], note: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_replacing(act)
    assert note in caught.value.__notes__[-1]


def test_a_killed_process_alone_shows_less() -> None:
    """Why the power has to go: without it, nothing is wrong with the first two."""
    for act in (replace_without_syncing_the_file, replace_without_syncing_the_folder):
        check_replacing(act, losses=[EVERYTHING_KEPT])
    with pytest.raises(AssertionError):
        check_replacing(replace_in_place, losses=[EVERYTHING_KEPT])


# -- a sentinel that says that the data is there ---------------------------------------------------


def publish(folder: Folder, *, sync_files: bool = True, sync_folders: bool = True) -> None:
    folder.make_folder("data")
    for number in range(3):
        write(folder, f"data/{number}", b"data", sync=False)
    if sync_files:
        folder.sync_all([f"data/{number}" for number in range(3)], [])
    if sync_folders:
        folder.sync_all([], ["data", ""])
    replace_sentinel(folder)


def replace_sentinel(folder: Folder) -> None:
    write(folder, "record.new", b"new")
    folder.rename("record.new", "record")
    folder.sync_folder()


def publish_too_early(folder: Folder) -> None:
    replace_sentinel(folder)
    publish(folder)


def is_complete_if_it_says_so(folder: Folder) -> None:
    if read(folder, "record") is not None:
        assert [read(folder, f"data/{number}") for number in range(3)] == [b"data"] * 3


def is_published(folder: Folder) -> None:
    assert read(folder, "record") == b"new"


def empty_folder(files: MemoryFileSystem) -> None:
    files.make_folders(PATH)


def check_publishing(act: Callable[[Folder], object], losses: object = POWER_LOSSES) -> int:
    return check_crashes(
        PATH, build=empty_folder, act=act, check=is_complete_if_it_says_so,
        check_finished=is_published, losses=losses,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_sentinel_after_its_data() -> None:
    assert check_publishing(publish) > 20


@pytest.mark.parametrize(
    "act",
    [
        publish_too_early,
        lambda folder: publish(folder, sync_files=False),
        lambda folder: publish(folder, sync_folders=False),
    ],
    ids=["too early", "bytes not synced", "names not synced"],
)
def test_a_sentinel_before_its_data(act: Callable[[Folder], object]) -> None:
    with pytest.raises(AssertionError):
        check_publishing(act)


# -- work that a recovery ends ---------------------------------------------------------------------


def two_files(files: MemoryFileSystem) -> None:
    files.write_tree(PATH, {"one": b"old", "two": b"old"})


def change_both(folder: Folder) -> None:
    """An intent first, then the work, then the intent is cleared."""
    write(folder, "intent.new", b"both")
    folder.rename("intent.new", "intent")
    folder.sync_folder()
    finish(folder)


def finish(folder: Folder) -> None:
    for name in ("one", "two"):
        write(folder, name, b"new")
    folder.remove_file("intent")
    folder.sync_folder()


def recover(folder: Folder) -> None:
    if folder.exists("intent"):
        finish(folder)


def recover_and_forget_too_early(folder: Folder) -> None:
    if folder.exists("intent"):
        folder.remove_file("intent")
        finish_without_intent(folder)


def finish_without_intent(folder: Folder) -> None:
    for name in ("one", "two"):
        write(folder, name, b"new")


def are_the_same(folder: Folder) -> None:
    assert read(folder, "one") == read(folder, "two")
    assert read(folder, "one") in (b"old", b"new")


def are_new(folder: Folder) -> None:
    assert read(folder, "one") == b"new"


def check_both(act: Callable[[Folder], None], recovery: Callable[[Folder], None]) -> int:
    return check_crashes(
        PATH, build=two_files, act=act, recover=recovery, check=are_the_same,
        check_finished=are_new,
    )  # fmt: skip


def test_a_recovery_that_can_be_cut_off() -> None:
    assert check_both(change_both, recover) > 40


def test_a_recovery_that_cannot_be_cut_off() -> None:
    with pytest.raises(AssertionError) as caught:
        check_both(change_both, recover_and_forget_too_early)
    assert "then in the recovery" in caught.value.__notes__[-1]


def test_work_without_an_intent() -> None:
    with pytest.raises(AssertionError):
        check_both(finish_without_intent, recover)


# -- steps that fail -------------------------------------------------------------------------------


def test_every_step_fails_once_and_for_ever() -> None:
    count = check_faults(PATH, build=one_file, act=replace, check=is_old_or_new)
    assert count == 6 * 6
    count = check_faults(
        PATH, build=two_files, act=change_both, recover=recover, check=are_the_same
    )
    assert count > 50


def test_a_failing_step_that_does_harm() -> None:
    with pytest.raises(AssertionError) as caught:
        check_faults(PATH, build=one_file, act=replace_in_place, check=is_old_or_new)
    assert caught.value.__notes__[-1].startswith("on a disk after: ENOSPC at step 1")

    def careless(folder: Folder) -> None:
        try:
            replace(folder)
        except OSError:
            folder.remove_file("record")

    with pytest.raises(AssertionError):
        check_faults(PATH, build=one_file, act=careless, check=is_old_or_new, errors=[errno.EIO])


# -- the machinery ---------------------------------------------------------------------------------


def test_what_is_wrong_without_a_crash_is_told() -> None:
    def broken(folder: Folder) -> None:
        folder.make_folder("a")
        raise LookupError("a mistake")

    with pytest.raises(LookupError, match="a mistake"):
        check_crashes(PATH, build=one_file, act=broken, check=is_old_or_new)
    with pytest.raises(LookupError, match="a mistake"):
        check_faults(PATH, build=one_file, act=broken, check=is_old_or_new, errors=[errno.EIO])


def test_disks_that_look_the_same_come_once() -> None:
    def survivors(losses: list[PowerLoss]) -> list[object]:
        found = crash_points(PATH, replace, build=one_file, losses=losses)
        return [(one.finished, one.snapshot.looks()) for one in found]

    once = survivors([EVERYTHING_KEPT])
    assert survivors([EVERYTHING_KEPT] * 3) == once
    assert len(set(once)) == len(once)
    # Empty, half of it, all of it, renamed; once more with the end reached; and the start.
    assert len(once) == 6


def test_each_disk_is_one_to_work_with() -> None:
    for survivor in crash_points(PATH, replace, build=one_file):
        files = survivor.files()
        with files.open_folder(PATH) as folder:
            before = folder.entry("record")
            write(folder, "another", b"x")
            replace(folder)
            assert folder.entry("record").mtime_ns > before.mtime_ns
            inodes = [entry.inode for entry in folder.list()]
            assert len(set(inodes)) == len(inodes)
        assert survivor.files().snapshot().looks() == survivor.snapshot.looks()
