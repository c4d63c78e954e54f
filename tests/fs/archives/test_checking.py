"""Which members are refused, and that a sink never gets another number of bytes than declared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs.archives import (
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveUnsupported,
    Member,
    MemberKind,
    check_members,
)
from lanspread.fs.archives.checking import Exactly, Listing
from lanspread.fs.archives.members import plausible_mtime
from lanspread.fs.paths import UnsafePath, fold_path
from tests.fs.archives.support import Memory

BAD = [
    "",
    "/",
    "/etc/passwd",
    "../evil",
    "a/../../evil",
    "..",
    "a/.",
    "a//b",
    "C:/evil",
    "c:evil",
    "a\\b",
    "..\\evil",
    "\\\\host\\share",
    "nul\0",
    "escape\x1b[2J",
    "dot.",
    "space ",
    "folder./x",
    "CON",
    "a/aux.txt",
    "COM1",
    "lone\ud800surrogate",
    "x" * (limits.MAX_PATH_PART_BYTES + 1),
    "/".join(["d"] * (limits.MAX_PATH_DEPTH + 1)),
    "/".join(["x" * 200] * 6),
    ".lanspread_owned",
    ".lanspread_owned/x",
    ".LanSpread_OWNED",
    ".lanſpread_owned",
    ".lanspread_\u200cowned",
    "LANSPR~1",
    "lanspr~2.x/y",
    "LA12EF~1",
]
GOOD = [
    "version.ini",
    "local/save",
    ".local.installing/x",
    ".lanspread/x",
    ".lanspread_owned2",
    "sub/.lanspread_owned",
    "Thumbs.db",
    "._x",
    "a b/ leading",
    "имя/名前",
    "x" * limits.MAX_PATH_PART_BYTES,
]


def file(path: str, size: int = 0) -> Member:
    return Member(path, MemberKind.FILE, size)


def folder(path: str) -> Member:
    return Member(path, MemberKind.FOLDER, 0)


@pytest.mark.parametrize("path", BAD)
@pytest.mark.parametrize("make", [file, folder])
def test_refuses(path: str, make: Callable[[str], Member]) -> None:
    with pytest.raises(UnsafePath):
        check_members([file("good"), make(path)], 1)


@pytest.mark.parametrize("path", GOOD)
def test_allows(path: str) -> None:
    assert check_members([file(path)], 1) == (path,)
    assert check_members([folder(path + "/")], 1) == (path,)


def test_a_file_does_not_end_in_a_slash() -> None:
    with pytest.raises(UnsafePath):
        check_members([file("a/")], 1)


@pytest.mark.parametrize("kind", [MemberKind.LINK, MemberKind.OTHER])
def test_refuses_what_is_neither_file_nor_folder(kind: MemberKind) -> None:
    with pytest.raises(UnsafePath):
        check_members([Member("a", kind, 0)], 1)


@pytest.mark.parametrize(
    "together",
    [
        [file("a"), file("a")],
        [file("a"), file("A")],
        [file("a"), folder("a/")],
        [folder("a/"), file("A")],
        [file("a"), file("a/b")],
        [file("a/b"), file("A/c")],
        [folder("a"), folder("A")],
        [folder("a/b"), file("A/c")],
        [file("caf\u00e9"), file("cafe\u0301")],
        [folder("stra\u00dfe"), file("STRASSE/x")],
        [file("x"), file("x\u200d")],
    ],
)
def test_refuses_what_could_meet(together: list[Member]) -> None:
    for order in (together, together[::-1]):
        with pytest.raises(UnsafePath):
            check_members(order, 1)


def test_allows_folders_in_any_order_and_again() -> None:
    members = [file("a/b/c"), folder("a/"), folder("a/b"), folder("a"), folder("d"), file("d/e")]
    assert check_members(members, 1) == ("a/b/c", "a", "a/b", "a", "d", "d/e")


def test_bombs_by_size_and_by_ratio() -> None:
    limit = limits.ARCHIVE_BOMB_BYTES
    check_members([file("a", limit)], 1)
    check_members([file("a", limit), file("b", 136)], limit // 1000 + 1)
    with pytest.raises(ArchiveBomb):
        check_members([file("a", limit), file("b", 1)], limit // 1000)
    check_members([file("a", limits.MAX_GAME_BYTES)], limits.MAX_GAME_BYTES)
    with pytest.raises(ArchiveBomb):
        check_members([file("a", limits.MAX_GAME_BYTES), file("b", 1)], limits.MAX_GAME_BYTES)


def test_bounds_files_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILES_PER_GAME", 2)
    check_members([file("a"), file("b"), folder("c")], 1)
    with pytest.raises(UnsafePath):
        check_members([file("a"), file("b"), file("c")], 1)
    monkeypatch.setattr(limits, "MAX_ARCHIVE_MEMBERS", 2)
    listing = Listing("x")
    listing.add(file("a"))
    listing.add(file("b"))
    with pytest.raises(ArchiveUnsupported):
        listing.add(file("c"))
    monkeypatch.setattr(limits, "MAX_ARCHIVE_INDEX_BYTES", 10)
    with pytest.raises(ArchiveUnsupported):
        Listing("x").add(file("eleven chars"))


@given(st.integers(0, 30), st.lists(st.integers(0, 12)))
def test_a_file_gets_what_it_declares_or_an_error(size: int, chunks: list[int]) -> None:
    sink = Memory([file("a", size)])
    exactly = Exactly("x", sink.members, sink)
    exactly.begin(0)
    try:
        for chunk in chunks:
            exactly.data(bytes(chunk))
        exactly.end()
    except ArchiveDamaged:
        assert sum(chunks) != size
        assert sink.complete == []
    else:
        assert sum(chunks) == size
        assert sink.complete == ["a"]


NAMES = st.text(st.sampled_from("aAbB./\\: \0\u00e9e\u0301\u200c~1\ud800ſ"), max_size=8)


@given(st.lists(st.tuples(NAMES, st.booleans()), max_size=5))
def test_what_passes_stays_apart_and_inside_on_every_disk(some: list[tuple[str, bool]]) -> None:
    members = [folder(path) if is_folder else file(path) for path, is_folder in some]
    try:
        paths = check_members(members, 1)
    except UnsafePath:
        return
    names: dict[str, tuple[str, bool]] = {}
    for path, (_, is_folder) in zip(paths, some, strict=True):
        parts = path.split("/")
        assert all(part not in ("", ".", "..") for part in parts)
        assert not set(path) & set("\\:\0")
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            here = (name, is_folder or count < len(parts))
            assert names.setdefault(fold_path(name), here) == here


def test_times_that_no_file_can_have() -> None:
    assert plausible_mtime(-1) is None
    assert plausible_mtime(1 << 63) is None
    assert plausible_mtime(1_700_000_000_000_000_000) == 1_700_000_000_000_000_000
