"""The download transaction: what it replaces, keeps, refuses."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from lanspread.fs.disk_paths import PathFolder
from lanspread.fs.download.records import Plan, encode_plan
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import (
    FileChanged,
    FolderNotEmpty,
    InTheWay,
    NoSpace,
    UnsafePath,
    WrongVersion,
)
from lanspread.fs.manifest import manifest_of
from lanspread.fs.paths import VERSION_INI
from lanspread.model import FileEntry, Manifest, blocks_of
from lanspread.seams import Folder
from tests.fs.support import (
    BLOCK,
    NEW,
    OLD,
    RecordingFolder,
    download,
    hash_tree,
    manifest_of_files,
    open_descriptors,
    open_folder,
    read_tree,
    reference_of,
    transaction_for,
    write_blocks,
    write_tree,
)


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "games" / "g"
    path.mkdir(parents=True)
    return path


def test_a_fresh_download(game: Path) -> None:
    with open_folder(game) as folder:
        found = download(folder, NEW)
        assert found == hash_tree(folder, manifest_of_files(NEW))
    assert read_tree(game) == NEW
    assert os.listdir(game / ".lanspread") == ["download.json"]
    assert not (game / ".version.ini.discarded").exists()


def test_systems_without_dir_fd_do_the_same(game: Path) -> None:
    with PathFolder.open_root(str(game)) as folder:
        download(folder, OLD)
        download(folder, NEW)
    assert read_tree(game) == NEW


def test_an_update_replaces_and_removes_what_was_ours(game: Path) -> None:
    with open_folder(game) as folder:
        download(folder, OLD)
        write_tree(game, {"mine.txt": b"mine", "gone/mine": b"mine", "local/save": b"mine"})
        download(folder, NEW)
    kept = {"mine.txt": b"mine", "gone/mine": b"mine", "local/save": b"mine"}
    assert read_tree(game) == {**NEW, **kept}
    assert not (game / "gone" / "deep").exists()


def test_a_file_that_was_changed_is_kept(game: Path) -> None:
    with open_folder(game) as folder:
        download(folder, OLD)
        (game / "data" / "two").write_bytes(b"my own")
        download(folder, NEW)
    assert read_tree(game) == {**NEW, "data/two": b"my own"}


def test_a_game_copied_in_by_hand_is_replaced_by_name(game: Path) -> None:
    copied = {name: OLD[name] for name in ("version.ini", "game.eti", "game2.eti", "data/one")}
    mine = {"readme": b"mine", "data/mine": b"mine", "deep/old.eti": b"mine"}
    write_tree(game, {**copied, **mine})
    with open_folder(game) as folder:
        download(folder, NEW)
    assert read_tree(game) == {**NEW, **mine}


def test_an_interrupted_replacement_of_a_copied_game_goes_on(game: Path) -> None:
    write_tree(game, {"version.ini": b"1.0", "old.eti": b"old", "game.eti": b"x"})
    with open_folder(game) as folder:
        first = transaction_for(folder, NEW)
        first.check()
        first.begin()
        first.close()
        assert not (game / "version.ini").exists()
        download(folder, {**NEW, "third": b"3"})
    assert read_tree(game) == {**NEW, "third": b"3"}


def test_an_unfinished_download_of_another_version_is_cleared(game: Path) -> None:
    with open_folder(game) as folder:
        first = transaction_for(folder, OLD)
        first.begin()
        first.close()
        download(folder, NEW)
    assert read_tree(game) == NEW


@pytest.mark.parametrize(
    "there", [{"game.eti": b"x"}, {"other.eti": b"x"}, {"data/ONE": b"x"}, {"DATA/x": b"x"}]
)
def test_files_that_nothing_explains_are_not_touched(game: Path, there: dict[str, bytes]) -> None:
    write_tree(game, there)
    log: list[tuple[str, ...]] = []
    with RecordingFolder(open_folder(game), log) as folder:
        transaction = transaction_for(folder, NEW)
        with pytest.raises(FolderNotEmpty) as caught:
            transaction.check()
        with pytest.raises(FolderNotEmpty):
            transaction.begin()
    assert caught.value.names
    assert read_tree(game) == there
    assert {call[0] for call in log} <= {"list", "entry", "exists", "open-read", "read"}


def test_what_the_manifest_does_not_name_is_no_reason(game: Path) -> None:
    write_tree(game, {"notes.txt": b"mine", "local/save": b"mine"})
    with open_folder(game) as folder:
        download(folder, NEW)
    assert read_tree(game) == {**NEW, "notes.txt": b"mine", "local/save": b"mine"}


@pytest.mark.parametrize("sentinel", [False, True])
@pytest.mark.parametrize("way", ["link", "parent link", "dangling", "fifo", "folder", "file"])
def test_what_is_in_the_way_is_not_touched(game: Path, way: str, sentinel: bool) -> None:
    outside = game.parent.parent / "outside"
    write_tree(outside, {"one": b"outside"})
    if way == "link":
        (game / "data").mkdir()
        (game / "data" / "one").symlink_to(outside / "one")
    elif way == "parent link":
        (game / "data").symlink_to(outside)
    elif way == "dangling":
        (game / "game.eti").symlink_to(outside / "new")
    elif way == "fifo":
        os.mkfifo(game / "game.eti")
    elif way == "folder":
        write_tree(game, {"game.eti/mine": b"mine"})
    else:
        write_tree(game, {"data": b"mine"})
    if sentinel:
        write_tree(game, {"version.ini": b"1"})
    before = sorted(game.rglob("*"))
    with open_folder(game) as folder, pytest.raises(InTheWay):
        download(folder, NEW)
    assert sorted(game.rglob("*")) == before
    assert read_tree(outside) == {"one": b"outside"}


def test_a_linked_sentinel_is_in_the_way(game: Path) -> None:
    write_tree(game.parent, {"v": b"1"})
    (game / "version.ini").symlink_to("../v")
    with open_folder(game) as folder, pytest.raises(InTheWay):
        download(folder, NEW)


@pytest.mark.parametrize("scratch", [".version.ini.tmp", ".lanspread/plan.json.tmp"])
def test_scratch_that_is_a_link_is_not_followed(game: Path, scratch: str) -> None:
    target = game.parent / "target"
    target.write_bytes(b"precious")
    (game / ".lanspread").mkdir()
    (game / scratch).symlink_to(target)
    with open_folder(game) as folder, pytest.raises(OSError, match=r"."):
        download(folder, NEW)
    assert target.read_bytes() == b"precious"
    assert not (game / "version.ini").exists()


def test_a_link_that_appears_meanwhile_is_not_followed(game: Path) -> None:
    outside = game.parent / "outside"
    write_tree(outside, {"one": b"outside" * 1000})
    with open_folder(game) as folder:
        transaction = transaction_for(folder, NEW)
        transaction.begin()
        for name in ("one", "empty"):
            (game / "data" / name).unlink(missing_ok=True)
        (game / "data").rmdir()
        (game / "data").symlink_to(outside)
        with pytest.raises(OSError, match=r"."):
            write_blocks(transaction, NEW)
        transaction.close()
    assert read_tree(outside) == {"one": b"outside" * 1000}


class SmallDisk(RecordingFolder):
    def free_bytes(self) -> int:
        return 2 * 1024 * 1024


def made_up(*sizes: tuple[str, int]) -> Reference:
    """A reference of files that nobody has."""
    manifest = manifest_of(FileEntry(path, size) for path, size in (*sizes, (VERSION_INI, 4)))
    count = sum(1 for _ in blocks_of(manifest, BLOCK))
    return Reference(
        version="1",
        manifest=manifest,
        manifest_hash=bytes(32),
        content_hash=bytes(32),
        block_bytes=BLOCK,
        digests=(bytes(32),) * count,
    )


def test_no_space_is_found_out_first(game: Path) -> None:
    big = made_up(("big", 1024 * 1000))
    log: list[tuple[str, ...]] = []
    with SmallDisk(open_folder(game), log) as folder:
        DownloadTransaction(folder, big).check()
        bigger = made_up(("big", 1024 * 1024 * 3))
        with pytest.raises(NoSpace) as caught:
            DownloadTransaction(folder, bigger).begin()
        assert caught.value.needed > 1024 * 1024 * 3
        assert caught.value.free == folder.free_bytes()
        assert os.listdir(game) == []
        # What is there needs no more space; what an unfinished download only made long does.
        write_tree(game, {"big": b""})
        os.truncate(game / "big", 1024 * 1024 * 3)
        plan = Plan(
            version="1",
            manifest_hash=bytes(32),
            content_hash=bytes(32),
            block_bytes=BLOCK,
            total_bytes=0,
            files={"big": 1024 * 1024 * 3},
            copied=False,
        )
        write_tree(game, {".lanspread/plan.json": encode_plan(plan)})
        with pytest.raises(NoSpace):
            DownloadTransaction(folder, bigger).check()
        (game / "big").write_bytes(b"x" * 1024 * 1024 * 3)
        DownloadTransaction(folder, bigger).check()


@pytest.mark.parametrize("path", ["../x", "local/save", ".lanspread.json", "a\\b", "C:x"])
def test_unsafe_manifests_are_refused(game: Path, path: str) -> None:
    with open_folder(game) as folder, pytest.raises(UnsafePath):
        DownloadTransaction(folder, made_up((path, 1)))


def test_a_manifest_without_sentinel_is_refused(game: Path) -> None:
    reference = attrs.evolve(made_up(), manifest=Manifest((FileEntry("a", 1),)))
    with open_folder(game) as folder, pytest.raises(UnsafePath):
        DownloadTransaction(folder, reference)


def test_writes_stay_inside_their_files(game: Path) -> None:
    manifest = manifest_of_files(NEW)
    numbers = {entry.path: number for number, entry in enumerate(manifest.files)}
    with open_folder(game) as folder:
        transaction = transaction_for(folder, NEW)
        with pytest.raises(ValueError, match="not begun"):
            transaction.write([(numbers["game.eti"], 0, b"x" * BLOCK)])
        transaction.begin()
        for number, offset, data in [
            (numbers["was-folder"], 0, b"too long"),
            (numbers["was-folder"], -1, b"x"),
            (numbers["was-folder"], 1, b"x"),
            (numbers["game.eti"], 0, b"x"),
            (numbers["game.eti"], 1, b"x" * BLOCK),
            (numbers["game.eti"], 3 * BLOCK, b"x" * BLOCK),
            (len(numbers), 0, b"x"),
            (-1, 0, b"2.0\n"),
            (numbers[VERSION_INI], 0, b"3.0\n"),
        ]:
            with pytest.raises(ValueError, match="not a"):
                transaction.write([(number, offset, data)])
        transaction.close()
        with pytest.raises(ValueError, match="closed"):
            transaction.write([(numbers["game.eti"], 0, b"x" * BLOCK)])


def begun(folder: Folder, reference: Reference) -> DownloadTransaction:
    transaction = DownloadTransaction(folder, reference)
    transaction.begin()
    return transaction


def test_a_wrong_commit_leaves_no_sentinel(game: Path) -> None:
    right = reference_of(NEW)
    with open_folder(game) as folder:
        transaction = begun(folder, right)
        with pytest.raises(ValueError, match="not every block"):
            transaction.commit()
        write_blocks(transaction, NEW)
        transaction.close()
        for wrong, error in [
            (attrs.evolve(right, version="3.0"), WrongVersion),
            (attrs.evolve(right, sentinel=b"3.0\n"), ValueError),
        ]:
            transaction = begun(folder, wrong)
            with pytest.raises(error):
                transaction.commit()
            transaction.close()
        for spoil in (lambda path: os.truncate(path, 5), os.unlink):
            transaction = begun(folder, right)
            write_blocks(transaction, NEW)
            spoil(game / "game.eti")
            with pytest.raises(FileChanged):
                transaction.commit()
            transaction.close()
    assert not (game / "version.ini").exists()


def test_a_file_that_somebody_else_wrote_to_is_not_called_verified(game: Path) -> None:
    with open_folder(game) as folder:
        transaction = transaction_for(folder, NEW)
        transaction.begin()
        write_blocks(transaction, NEW)
        with (game / "game.eti").open("r+b") as file:
            file.write(b"mine")
        # Of the same size, a moment after our own last write.
        os.utime(game / "game.eti")
        with pytest.raises(FileChanged, match=r"game\.eti"):
            transaction.commit()
        transaction.close()
    assert not (game / "version.ini").exists()


def test_few_files_are_open_at_once(game: Path) -> None:
    many = {f"f{number:03}": bytes([number % 256]) * 10 for number in range(100)}
    many[VERSION_INI] = b"1"
    with open_folder(game) as folder:
        before = open_descriptors()
        transaction = transaction_for(folder, many)
        transaction.begin()
        write_blocks(transaction, many)
        # And the journal.
        assert open_descriptors() - before <= 16 + 1
        transaction.commit()
        assert open_descriptors() == before
        transaction.close()
    assert read_tree(game) == many
