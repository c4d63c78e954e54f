"""Recovery at its edges: what costs nothing, what cannot be changed, what is not ours."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.errors import FolderNotEmpty, LeftBehind, Unrepaired
from lanspread.fs.install.install import install
from lanspread.fs.install.intent import IntentKind, write_intent
from lanspread.fs.install.record import InstallRecord, read_install_record, write_new_record
from lanspread.fs.install.recovery import Recovery, recover
from lanspread.fs.install.uninstall import uninstall
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from lanspread.testing.faults import READS
from tests.fs.install.support import (
    PATH,
    V1,
    Counter,
    contents,
    files_in,
    new_files,
    open_fake,
    own_names,
    put_game,
)
from tests.fs.support import RecordingFolder


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    put_game(files)
    return files


def broken(files: MemoryFileSystem, error: int, **options: object) -> FaultyFileSystem:
    faulty = FaultyFileSystem(files)
    faulty.fail(error, **options)  # type: ignore[arg-type]
    return faulty


def test_a_game_without_anything_of_ours_costs_one_listing(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    log: list[tuple[str, ...]] = []
    with RecordingFolder(files.open_folder(PATH), log) as folder:
        assert recover(folder) == Recovery()
    assert log == [("peek",)]


def test_a_disk_that_cannot_be_written_is_fine_if_there_is_nothing_to_repair(
    files: MemoryFileSystem,
) -> None:
    with broken(files, errno.EROFS).open_folder(PATH) as folder:
        assert recover(folder) == Recovery()


def test_a_disk_that_cannot_be_written_and_an_interrupted_update(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.local.backup/save", b"saved")
    with files.open_folder(PATH) as folder:
        write_intent(folder, IntentKind.UPDATING, "2.0")
    with broken(files, errno.EROFS).open_folder(PATH) as folder:
        found = recover(folder)
        assert found.repaired == ()
        assert found.blocked is not None
        assert "Read-only file system" in found.blocked
        with pytest.raises(Unrepaired, match="Read-only"):
            install(folder, open_fake)
    with files.open_folder(PATH) as folder:
        assert recover(folder).blocked is None
        assert files_in(folder, "local") == {"save": b"saved"}


def test_leftovers_on_a_disk_that_cannot_be_written_are_in_nobodys_way(
    files: MemoryFileSystem,
) -> None:
    files.write_file(f"{PATH}/.local.backup/.lanspread_owned", b"")
    files.write_file(f"{PATH}/.local.backup/old", b"old")
    files.write_file(f"{PATH}/.version.ini.discarded", b"0.9")
    with broken(files, errno.EROFS).open_folder(PATH) as folder:
        found = recover(folder)
    assert found == Recovery(left=(".local.backup", ".version.ini.discarded"))


def test_a_busy_file_is_removed_the_next_time(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    faulty = broken(files, errno.EBUSY, operations={"remove_file"}, path="*/level")
    with faulty.open_folder(PATH) as folder:
        done = uninstall(folder)
        assert done.left == (".local.backup",)
        # All but the busy file is gone, and the game can be seen as what it is.
        assert files_in(folder, ".local.backup") == {
            ".lanspread_owned": b"",
            "data/level": b"level 1",
        }
        assert not folder.exists("local")
        assert not folder.exists(".lanspread.json")
        assert recover(folder) == Recovery(left=(".local.backup",))
        with pytest.raises(LeftBehind, match=r"\.local\.backup/data/level is still there"):
            install(folder, open_fake)
    with files.open_folder(PATH) as folder:
        assert recover(folder).repaired == ("leftovers of an earlier operation were removed",)
        install(folder, open_fake)
        assert own_names(folder) == [".lanspread"]


def test_a_full_disk_has_no_room_for_a_marker(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.local.installing/half", b"half")
    with files.open_folder(PATH) as folder:
        write_intent(folder, IntentKind.INSTALLING, "1.0")
    with broken(files, errno.ENOSPC, operations={"create"}).open_folder(PATH) as folder:
        assert recover(folder).blocked is None
        assert own_names(folder) == []


def test_neither_marked_nor_removed(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.local.installing/half", b"half")
    with files.open_folder(PATH) as folder:
        write_intent(folder, IntentKind.INSTALLING, "1.0")
    faulty = broken(files, errno.EACCES, operations={"create", "remove_file"})
    with faulty.open_folder(PATH) as folder:
        assert "Permission denied" in (recover(folder).blocked or "")
    with files.open_folder(PATH) as folder:
        assert folder.exists(".lanspread.json")
        assert recover(folder).blocked is None
        assert own_names(folder) == []


def test_an_intent_that_the_disk_does_not_give(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        write_intent(folder, IntentKind.INSTALLING, "1.0")
        files.write_file(f"{PATH}/.version.ini.tmp", b"")
    faulty = broken(files, errno.EIO, operations={"read_at"} & READS)
    with faulty.open_folder(PATH) as folder:
        found = recover(folder)
        assert "cannot be read" in (found.blocked or "")
        assert folder.exists(".version.ini.tmp")


@pytest.mark.parametrize("stop_at", range(8))
def test_a_recovery_that_is_stopped_goes_on_the_next_time(
    files: MemoryFileSystem, stop_at: int
) -> None:
    for name in ("a", "b", "sub/c"):
        files.write_file(f"{PATH}/.local.installing/{name}", b"half")
    with files.open_folder(PATH) as folder:
        write_intent(folder, IntentKind.INSTALLING, "1.0")
        found = recover(folder, Counter(stop_at=stop_at))
        assert found.blocked is None
        assert found.repaired == ("an interrupted install was undone",)
        assert not folder.exists(".lanspread.json")
        if folder.exists(".local.installing"):
            assert found.left == (".local.installing",)
            recover(folder)
        assert own_names(folder) == []


def test_what_is_not_ours_is_left_alone_and_refused(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.local.installing/mine", b"mine")
    with files.open_folder(PATH) as folder:
        assert recover(folder) == Recovery()
        with pytest.raises(FolderNotEmpty, match=r"\.local\.installing"):
            install(folder, open_fake)
        assert files_in(folder, ".local.installing") == {"mine": b"mine"}


def test_a_file_with_the_name_of_the_staging_folder(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.local.backup", b"mine")
    with files.open_folder(PATH) as folder, pytest.raises(FolderNotEmpty):
        install(folder, open_fake)
    assert files.read_tree(PATH)[".local.backup"] == b"mine"


def test_an_empty_folder_of_that_name_is_taken_over(files: MemoryFileSystem) -> None:
    files.make_folders(f"{PATH}/.local.installing")
    files.make_folders(f"{PATH}/.local.backup")
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
        assert files_in(folder, "local") == dict(sorted(contents(V1).items()))
        assert own_names(folder) == [".lanspread"]


def test_an_intent_from_the_future_touches_nothing(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.lanspread.json", b'{"format":1,"intent":"moving","version":""}')
    files.write_file(f"{PATH}/.local.backup/.lanspread_owned", b"")
    before = files.read_tree(PATH)
    with files.open_folder(PATH) as folder:
        assert "not what this version writes" in (recover(folder).blocked or "")
        with pytest.raises(Unrepaired):
            uninstall(folder)
    assert files.read_tree(PATH) == before


def test_links_in_what_is_swept_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    game = tmp_path / "g"
    (game / ".local.backup" / "sub").mkdir(parents=True)
    (game / ".local.backup" / ".lanspread_owned").touch()
    (game / ".local.backup" / "sub" / "link").symlink_to(outside)
    (game / ".local.backup" / "file").symlink_to(outside / "precious")
    with DiskFileSystem().open_folder(str(game)) as folder:
        assert recover(folder).repaired
    assert list(game.iterdir()) == []
    assert (outside / "precious").read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_backup_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".lanspread_owned").touch()
    (outside / "precious").write_bytes(b"precious")
    game = tmp_path / "g"
    game.mkdir()
    (game / ".local.backup").symlink_to(outside)
    with DiskFileSystem().open_folder(str(game)) as folder:
        assert recover(folder) == Recovery()
        write_intent(folder, IntentKind.UNINSTALLING, "")
        (game / "local").mkdir()
        assert "is no folder" in (recover(folder).blocked or "")
        (game / "local").rmdir()
        assert recover(folder).blocked is None
        assert (game / "local").is_symlink()
    assert (outside / "precious").read_bytes() == b"precious"


def test_a_marker_that_may_not_be_on_the_disk_commits_nothing(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, open_fake)
    files.write_file(f"{PATH}/local/save", b"saved")
    faulty = broken(files, errno.EIO, operations={"sync"}, path="*/.lanspread_owned", once=True)
    with faulty.open_folder(PATH) as faulty_folder:
        with pytest.raises(OSError, match="Input/output"):
            uninstall(faulty_folder)
        assert recover(faulty_folder).blocked is None
        assert (files_in(faulty_folder, "local") or {})["save"] == b"saved"


def test_a_record_of_before_is_not_taken_for_that_of_an_install(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        write_new_record(folder, InstallRecord("0.9", {}))
    faulty = broken(files, errno.EIO, operations={"make_folder"}, path="*/.local.installing")
    with faulty.open_folder(PATH) as faulty_folder, pytest.raises(OSError, match="Input/output"):
        install(faulty_folder, open_fake)
    # Before anything repairs that, the user makes a `local` of his own.
    files.write_file(f"{PATH}/local/mine", b"mine")
    with files.open_folder(PATH) as folder:
        recover(folder)
        assert files_in(folder, "local") == {"mine": b"mine"}
        assert read_install_record(folder) is None
