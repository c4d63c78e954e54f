"""What a power loss leaves: bytes as of the last sync of the file, names as of the folder's."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.seams import Folder, Kind
from lanspread.testing import (
    CONTENTS_LOST,
    CONTENTS_ZEROED,
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    NAMES_LOST,
    POWER_LOSSES,
    MemoryFileSystem,
    PowerLoss,
    some_kept,
)

Tree = dict[str, bytes]


def after(act: Callable[[Folder], object], loss: PowerLoss) -> Tree:
    """What is left of `act` on a disk with two files."""
    files = MemoryFileSystem()
    files.write_tree("/g", {"old": b"old", "sub/other": b"other"})
    with files.open_folder("/g") as folder:
        act(folder)
    files.lose_power(loss)
    return files.read_tree("/g")


def write(folder: Folder, name: str, data: bytes, *, sync: bool = False) -> None:
    with folder.open(name, "create") as file:
        file.write_at(data, 0)
        if sync:
            file.sync()


BEFORE = {"old": b"old", "sub/other": b"other"}


def nothing(folder: Folder) -> None:
    pass


def test_what_a_test_puts_there_is_durable() -> None:
    for loss in POWER_LOSSES:
        assert after(nothing, loss) == BEFORE


def create(folder: Folder) -> None:
    write(folder, "new", b"12345678")


def create_and_sync(folder: Folder) -> None:
    write(folder, "new", b"12345678", sync=True)


def create_and_sync_names(folder: Folder) -> None:
    create(folder)
    folder.sync_folder()


def create_and_sync_all(folder: Folder) -> None:
    create(folder)
    folder.sync_all(["new"], [""])


def make_below(folder: Folder) -> None:
    """Everything below is synced, but not the name of the new folder."""
    folder.make_folder("made")
    write(folder, "made/new", b"12345678", sync=True)
    folder.sync_folder("made")


def replace(folder: Folder) -> None:
    create(folder)
    folder.rename("new", "old")


def overwrite(folder: Folder) -> None:
    with folder.open("old", "write") as file:
        file.truncate(1)
        file.write_at(b"NEW", 2)


def remove(folder: Folder) -> None:
    folder.remove_file("old")


def remove_and_make(folder: Folder) -> None:
    folder.remove_file("old")
    write(folder, "old", b"12345678", sync=True)


def move(folder: Folder) -> None:
    folder.rename("old", "sub/moved")
    folder.sync_folder("sub")


def link(folder: Folder) -> None:
    folder.link_or_copy("old", "sub/linked")
    folder.sync_folder("sub")
    folder.remove_file("old")
    write(folder, "sub/linked", b"OLD")


@pytest.mark.parametrize(
    ("act", "loss", "left"),
    [
        (create, EVERYTHING_KEPT, {"new": b"12345678", **BEFORE}),
        (create, EVERYTHING_LOST, BEFORE),
        (create, CONTENTS_LOST, {"new": b"", **BEFORE}),
        (create, CONTENTS_ZEROED, {"new": bytes(8), **BEFORE}),
        (create, NAMES_LOST, BEFORE),
        # The sync of a file says nothing of its name, that of a folder nothing of bytes.
        (create_and_sync, EVERYTHING_LOST, BEFORE),
        (create_and_sync, CONTENTS_LOST, {"new": b"12345678", **BEFORE}),
        (create_and_sync_names, EVERYTHING_LOST, {"new": b"", **BEFORE}),
        (create_and_sync_names, CONTENTS_ZEROED, {"new": bytes(8), **BEFORE}),
        (create_and_sync_all, EVERYTHING_LOST, {"new": b"12345678", **BEFORE}),
        (create_and_sync_all, CONTENTS_ZEROED, {"new": b"12345678", **BEFORE}),
        (make_below, EVERYTHING_LOST, BEFORE),
        (make_below, NAMES_LOST, BEFORE),
        (make_below, CONTENTS_LOST, {"made/new": b"12345678", **BEFORE}),
        (replace, EVERYTHING_LOST, BEFORE),
        (replace, CONTENTS_LOST, {**BEFORE, "old": b""}),
        (replace, CONTENTS_ZEROED, {**BEFORE, "old": bytes(8)}),
        (replace, NAMES_LOST, BEFORE),
        (overwrite, EVERYTHING_LOST, BEFORE),
        (overwrite, NAMES_LOST, {**BEFORE, "old": b"o\0NEW"}),
        (overwrite, CONTENTS_ZEROED, {**BEFORE, "old": b"o\0\0\0\0"}),
        (remove, EVERYTHING_LOST, BEFORE),
        (remove, CONTENTS_LOST, {"sub/other": b"other"}),
        (remove_and_make, EVERYTHING_LOST, BEFORE),
        (remove_and_make, CONTENTS_LOST, {**BEFORE, "old": b"12345678"}),
        # One of two folders is synced, and a rename is one change.
        (move, EVERYTHING_LOST, {"sub/moved": b"old", "sub/other": b"other"}),
        (link, EVERYTHING_LOST, {**BEFORE, "sub/linked": b"old"}),
        (link, NAMES_LOST, {"old": b"OLD", "sub/linked": b"OLD", "sub/other": b"other"}),
    ],
)
def test_what_is_left(act: Callable[[Folder], object], loss: PowerLoss, left: Tree) -> None:
    assert after(act, loss) == dict(sorted(left.items()))


def possible(act: Callable[[Folder], object]) -> set[tuple[tuple[str, bytes], ...]]:
    return {tuple(after(act, some_kept(seed)).items()) for seed in range(200)}


def test_what_chance_can_leave() -> None:
    outcomes = possible(replace)
    assert tuple(BEFORE.items()) in outcomes
    assert {dict(found)["old"] for found in outcomes} == {
        b"old", b"", bytes(8), b"12345678", b"1234\0\0\0\0",
    }  # fmt: skip
    # The new name alone, beside the old file: the rename is lost, the file is not.
    assert any("new" in dict(found) for found in outcomes)


def test_changes_of_several_names_reach_the_disk_in_any_order() -> None:
    def two(folder: Folder) -> None:
        create_and_sync(folder)
        folder.remove_file("old")

    names = {tuple(name for name, _ in found) for found in possible(two)}
    assert names == {
        ("new", "old", "sub/other"), ("new", "sub/other"), ("old", "sub/other"), ("sub/other",),
    }  # fmt: skip


def test_a_rename_is_never_there_without_the_file() -> None:
    def around(folder: Folder) -> None:
        folder.make_folder("made")
        folder.rename("old", "made/moved")
        folder.rename("made", "sub/made")
        folder.rename("sub/made/moved", "back")
        folder.remove_folder("sub/made")

    for found in possible(around):
        assert [data for _, data in found].count(b"old") == 1


def test_the_same_seed_leaves_the_same() -> None:
    for seed in range(10):
        assert after(replace, some_kept(seed)) == after(replace, some_kept(seed))


def test_what_came_through_is_a_disk_like_any_other() -> None:
    files = MemoryFileSystem(capacity_bytes=100)
    files.write_tree("/g", {"old": bytes(30)})
    with files.open_folder("/g") as folder, folder.open("old", "write") as held:
        folder.link_or_copy("old", "second")
        folder.sync_folder()
        write(folder, "big", bytes(50))
        files.lose_power(EVERYTHING_LOST)
        held.write_at(b"from before", 0)
    with files.open_folder("/g") as folder:
        assert folder.free_bytes() == 70
        assert folder.entry("old").inode == folder.entry("second").inode
        folder.remove_file("old")
        assert folder.free_bytes() == 70
        folder.remove_file("second")
        assert folder.free_bytes() == 100
    files.lose_power(EVERYTHING_LOST)
    assert files.read_tree("/g") == {"old": bytes(30), "second": bytes(30)}


def test_nothing_is_remembered_of_what_is_synced() -> None:
    files = MemoryFileSystem()
    files.write_tree("/g", {f"{number}/x": b"x" for number in range(50)})
    with files.open_folder("/g") as folder:
        for _ in range(3):
            write(folder, "journal", b"entry", sync=True)
            folder.rename("journal", "kept")
            folder.make_folder("made")
            write(folder, "made/x", b"x", sync=True)
            folder.remove_file("made/x")
            folder.remove_folder("made")
            folder.sync_folder()
    assert files.ledger.changes == []
    assert files.ledger.files == {}


# -- whatever is done ------------------------------------------------------------------------------

NAMES = [*"ab", *(f"{folder}/{name}" for folder in "ab" for name in "ab")]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["write", "make_folder", "rename", "link", "remove", "rmdir", "sync", "sync_folder"]
        ),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
    ),
    max_size=25,
)


def perform(folder: Folder, kind: str, first: str, second: str, number: int) -> None:
    match kind:
        case "write":
            write(folder, first, b"%d" % number)
        case "make_folder":
            folder.make_folder(first)
        case "rename":
            folder.rename(first, second)
        case "link":
            folder.link_or_copy(first, second)
        case "remove":
            folder.remove_file(first)
        case "rmdir":
            folder.remove_folder(first)
        case "sync":
            folder.sync_all([first], [])
        case "sync_folder":
            folder.sync_folder(first.rpartition("/")[0])


def done(files: MemoryFileSystem, acts: list[tuple[str, str, str]]) -> None:
    files.make_folders("/g")
    with files.open_folder("/g") as folder:
        for number, (kind, first, second) in enumerate(acts):
            try:
                perform(folder, kind, first, second, number)
            except OSError:
                continue


@given(ACTS, st.integers(0, 1_000))
def test_whatever_was_done_a_disk_is_left(acts: list[tuple[str, str, str]], seed: int) -> None:
    files = MemoryFileSystem()
    done(files, acts)
    now = files.snapshot().looks()
    assert files.after_power_loss(EVERYTHING_KEPT).looks() == now
    for loss in (*POWER_LOSSES, some_kept(seed)):
        left = MemoryFileSystem()
        left.restore(files.after_power_loss(loss))
        with left.open_folder("/g") as folder:
            inodes = [folder.entry(rel).inode for rel, _ in _below(left)]
            folders = [entry.inode for entry in map(folder.entry, _folders(left))]
        assert len(set(folders)) == len(folders)
        assert set(folders) <= set(inodes)
    # The files as they are, and all names: nothing more can be lost.
    with files.open_folder("/g") as folder:
        everything = [rel for rel, _ in _below(files)]
        below = _folders(files)
        folder.sync_all([rel for rel in everything if rel not in below], ["", *below])
    for loss in (*POWER_LOSSES, some_kept(seed)):
        assert files.after_power_loss(loss).looks() == now


def _below(files: MemoryFileSystem) -> list[tuple[str, Kind]]:
    return [
        (rel.removeprefix("g/"), kind)
        for rel, kind, _ in files.snapshot().looks()
        if rel.startswith("g/")
    ]


def _folders(files: MemoryFileSystem) -> list[str]:
    return [rel for rel, kind in _below(files) if kind is Kind.FOLDER]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rename", "make_folder", "sync_folder", "rmdir"]),
            st.sampled_from(NAMES),
            st.sampled_from(NAMES),
        ),
        max_size=25,
    ),
    st.integers(0, 1_000),
)
def test_a_file_that_is_only_renamed_is_never_lost(
    acts: list[tuple[str, str, str]], seed: int
) -> None:
    files = MemoryFileSystem()
    files.write_file("/g/a", b"precious")
    done(files, acts)
    for loss in (*POWER_LOSSES, some_kept(seed)):
        left = MemoryFileSystem()
        left.restore(files.after_power_loss(loss))
        assert list(left.read_tree("/g").values()) == [b"precious"]


def test_all_the_ways_are_different() -> None:
    assert all(a != b for a, b in itertools.combinations(POWER_LOSSES, 2))
    assert len({str(loss) for loss in POWER_LOSSES}) == len(POWER_LOSSES)
