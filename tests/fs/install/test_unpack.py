"""Several archives of one game, and what an archive may not do to the staging folder."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs.archives.members import (
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveUnsupported,
    Member,
    MemberKind,
)
from lanspread.fs.errors import Stopped
from lanspread.fs.install.layout import Layout, Listing, lay_out
from lanspread.fs.install.unpack import open_source
from lanspread.fs.paths import UnsafePath, fold_path
from lanspread.fs.progress import UNWATCHED
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from tests.fs.install.support import PATH, Counter, FakeArchive, new_files, opener


def listing(files: Mapping[str, int | None], name: str = "x.eti") -> Listing:
    members = [
        Member(path, MemberKind.FOLDER if size is None else MemberKind.FILE, size or 0)
        for path, size in files.items()
    ]
    return Listing(name, members, tuple(files))


def laid_out(*archives: Mapping[str, int | None]) -> Layout:
    return lay_out([listing(files) for files in archives])


def test_the_later_archive_wins() -> None:
    layout = laid_out({"a": 1, "b": 2}, {"a": 30})
    assert layout.paths == ({1: "b"}, {0: "a"})
    assert layout.sizes == {"a": 30, "b": 2}
    assert layout.unpacked_bytes == 33


def test_one_spelling_for_what_some_disks_take_for_the_same() -> None:
    layout = laid_out({"Data/One": 1, "Empty": None}, {"DATA/one": 2, "data/two": 3, "EMPTY/x": 4})
    assert layout.paths == ({}, {0: "Data/One", 1: "Data/two", 2: "Empty/x"})
    assert layout.folders == ("Data", "Empty")


@pytest.mark.parametrize(
    "archives",
    [
        ({"a": 1}, {"a/b": 1}),
        ({"a/b": 1}, {"a": 1}),
        ({"A/b": 1}, {"a": 1}),
        ({"a": 1}, {"A": None}),
    ],
)
def test_a_file_and_a_folder_of_one_name(archives: tuple[Mapping[str, int | None], ...]) -> None:
    with pytest.raises(UnsafePath, match="folder in another"):
        laid_out(*archives)


def test_archives_that_are_too_much_together() -> None:
    half = limits.MAX_GAME_BYTES // 2 + 1
    laid_out({"a": half})
    with pytest.raises(ArchiveBomb):
        laid_out({"a": half}, {"b": half})


NAMES = st.sampled_from(["a", "A", "b", "ä", "a\u0308"])
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=2).map("/".join), st.none() | st.integers(0, 9), max_size=4
)


@given(archives=st.lists(FILES, max_size=3))
def test_no_two_files_meet_and_every_last_one_is_there(
    archives: list[dict[str, int | None]],
) -> None:
    try:
        layout = laid_out(*archives)
    except UnsafePath:
        return
    names = [*layout.sizes, *layout.folders]
    assert len({fold_path(name) for name in names}) == len(names)
    last: dict[str, int] = {}
    for files in archives:
        for path, size in files.items():
            if size is not None:
                last[fold_path(path)] = size
    assert {fold_path(path): size for path, size in layout.sizes.items()} == last
    assert sorted(path for paths in layout.paths for path in paths.values()) == sorted(layout.sizes)
    for name in names:
        above = name.rpartition("/")[0]
        assert not above or above in layout.folders


# -- the staging folder ----------------------------------------------------------------------------


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    files.make_folders(f"{PATH}/stage")
    files.write_file(f"{PATH}/x.eti", b"")
    return files


class Odd(FakeArchive):
    """An archive that calls a sink in ways that it should not."""

    script: str = ""

    def unpack(self, sink: object) -> None:
        for call in self.script.split():
            name, _, value = call.partition(":")
            args: tuple[object, ...] = ()
            if name == "begin":
                args = (int(value),)
            elif name == "data":
                args = (value.encode(),)
            getattr(sink, name)(*args)


@pytest.mark.parametrize(
    "script",
    [
        "",
        "begin:0 data:ab end",
        "begin:0 data:ab end begin:1",
        "begin:0 data:abc",
        "begin:0 data:a data:bc",
        "begin:0 data:a end",
        "data:a",
        "end",
        "begin:0 data:ab end data:a",
    ],
)
def test_an_archive_that_gives_other_bytes_than_it_lists(
    files: MemoryFileSystem, script: str
) -> None:
    archive = Odd("x.eti", {"a": b"ab", "b": b""}, ("x.eti",))
    archive.script = script
    with (
        files.open_folder(PATH) as folder,
        open_source(folder, lambda folder, name: archive) as source,
        pytest.raises(ArchiveDamaged),
    ):
        source.unpack(folder, "stage", UNWATCHED)
    assert not archive.is_open


def test_what_is_overwritten_by_a_later_archive_is_not_written(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/y.eti", b"")
    faulty = FaultyFileSystem(files)
    archives = {"x.eti": {"a": b"long content"}, "y.eti": {"A": b"short"}}
    watch = Counter()
    with faulty.open_folder(PATH) as folder, open_source(folder, opener(archives)) as source:
        written = source.unpack(folder, "stage", watch)
        assert watch.done == source.layout.unpacked_bytes == 17
        assert source.needed_bytes == 5 + 4096
    assert list(written) == ["a"]
    assert files.read_tree(f"{PATH}/stage") == {"a": b"short"}
    assert sum(step.operation == "create" for step in faulty.log) == 1


def test_all_archives_are_checked_before_the_first_is_unpacked(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/y.eti", b"")
    archives = {"x.eti": {"a": b"1"}, "y.eti": {"../b": b"2"}}
    with (
        files.open_folder(PATH) as folder,
        pytest.raises(UnsafePath),
        open_source(folder, opener(archives)),
    ):
        pass
    assert files.read_tree(f"{PATH}/stage") == {}


def test_more_archives_than_are_opened_together(files: MemoryFileSystem) -> None:
    for number in range(200):
        files.write_file(f"{PATH}/{number}.eti", b"")
    made: list[FakeArchive] = []

    def open_one(folder: object, name: str) -> FakeArchive:
        made.append(FakeArchive(name, {}, (name,)))
        return made[-1]

    with (
        files.open_folder(PATH) as folder,
        pytest.raises(ArchiveUnsupported),
        open_source(folder, open_one),
    ):
        pass
    assert made
    assert not any(archive.is_open for archive in made)


def test_more_archives_than_are_looked_at(files: MemoryFileSystem) -> None:
    for number in range(5_000):
        files.write_file(f"{PATH}/{number}.eti", b"")
    faulty = FaultyFileSystem(files)
    faulty.fail(errno.EIO, operations={"open"}, path="*.eti")
    with (
        faulty.open_folder(PATH) as folder,
        pytest.raises(ArchiveUnsupported, match="more than"),
        open_source(folder, opener({})),
    ):
        pass


def test_a_stop_closes_what_is_open(files: MemoryFileSystem) -> None:
    archive = FakeArchive("x.eti", {"a": b"x" * 100}, ("x.eti",))
    with (
        files.open_folder(PATH) as folder,
        open_source(folder, lambda folder, name: archive) as source,
        pytest.raises(Stopped),
    ):
        source.unpack(folder, "stage", Counter(stop_at=4))
    assert not archive.is_open
