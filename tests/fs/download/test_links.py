"""Nothing is written through a hard link: a file outside the game stays as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import FileChanged
from lanspread.seams import Folder
from lanspread.testing import MemoryFileSystem, crash_points
from tests.fs.support import (
    BLOCK,
    download,
    missing_blocks,
    reference_of,
    transaction_for,
    write_blocks,
)

V1 = {
    "big": b"a" * (3 * BLOCK + 5),
    "data/cut": b"c" * 90,
    "emptied": b"d" * 10,
    "same": b"e" * 2000,
    "version.ini": b"1.0\n",
}
V2 = {
    "big": b"a" * BLOCK + b"b" * (2 * BLOCK + 5),
    "data/cut": b"c" * 40,
    "emptied": b"",
    "same": V1["same"],
    "version.ini": b"2.0\n",
}
CHANGED = ("big", "data/cut", "emptied")


def read(folder: Folder, files: Mapping[str, bytes]) -> dict[str, bytes]:
    found = {}
    for path in files:
        with folder.open(path, "read") as file:
            found[path] = file.read_at(file.entry().size, 0)
    return found


def snapshot(root: Folder) -> None:
    """As `cp -al game snapshot` does."""
    for rel in ("snapshot", "snapshot/data"):
        root.make_folder(rel)
    for path in V1:
        root.link_or_copy(f"game/{path}", f"snapshot/{path}")


def install_v1(root: Folder) -> None:
    root.make_folder("game")
    with root.folder("game") as game:
        download(game, V1)
    snapshot(root)


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return DiskFileSystem().open_folder(str(tmp_path))
    files = MemoryFileSystem()
    files.make_folders("/games")
    return files.open_folder("/games")


def test_an_update_leaves_a_snapshot_as_it_was(root: Folder) -> None:
    with root:
        install_v1(root)
        assert root.entry("game/big").links == 2
        with root.folder("game") as game:
            download(game, V2)
        assert read(root.folder("snapshot"), V1) == V1
        assert read(root.folder("game"), V2) == V2
        # What was right has not been made again.
        assert root.entry("game/same").inode == root.entry("snapshot/same").inode
        assert root.entry("game/same").links == 2
        for path in CHANGED:
            assert root.entry(f"snapshot/{path}").links == 1


def test_a_download_that_goes_on_leaves_a_snapshot_of_its_beginning(root: Folder) -> None:
    with root:
        root.make_folder("game")
        with root.folder("game") as game:
            first = transaction_for(game, V1)
            first.begin()
            first.write(missing_blocks(first, V1)[-2:])  # The beginning of `big`.
            first.checkpoint()
            first.close()
            root.link_or_copy("game/big", "half")
            before = read(root, {"half": b""})
            download(game, V1)
            assert read(game, V1) == V1
        assert read(root, {"half": b""}) == before


def test_nothing_of_a_shared_file_counts_if_it_must_be_changed(root: Folder) -> None:
    with root:
        install_v1(root)
        with root.folder("game") as game:
            transaction = transaction_for(game, V2)
            transaction.check()
            assert transaction.known_bytes == len(V2["same"])
            needed, _ = transaction.space()
            assert needed > len(V2["big"]) + len(V2["data/cut"])
            transaction.begin()
            assert write_blocks(transaction, V2) == len(V2["big"]) + len(V2["data/cut"])
            transaction.commit()
            transaction.close()


def test_what_is_not_wanted_keeps_its_name(root: Folder) -> None:
    with root:
        install_v1(root)
        root.remove_file("game/version.ini")
        with root.folder("game") as game:
            some = DownloadTransaction(game, reference_of(V2), selection=["data/cut"])
            some.check()
            some.begin()
            some.write(block for block in missing_blocks(some, V2) if block[0] == 1)
            some.finish_selection()
            some.close()
        assert root.entry("game/big").links == 2
        assert read(root.folder("snapshot"), {"data/cut": b""}) == {"data/cut": V1["data/cut"]}


def test_a_link_that_appears_meanwhile_is_not_written_through(tmp_path: Path) -> None:
    with DiskFileSystem().open_folder(str(tmp_path)) as root:
        root.make_folder("game")
        with root.folder("game") as game:
            download(game, V1)
            transaction = transaction_for(game, V2)
            transaction.begin()
            os.link(tmp_path / "game/big", tmp_path / "late")
            with pytest.raises(FileChanged):
                write_blocks(transaction, V2)
            transaction.close()
    assert (tmp_path / "late").read_bytes() == V1["big"]


def test_no_crash_writes_through_a_link() -> None:
    def build(files: MemoryFileSystem) -> None:
        files.make_folders("/games")
        with files.open_folder("/games") as root:
            install_v1(root)

    def update(root: Folder) -> None:
        with root.folder("game") as game:
            download(game, V2)

    count = 0
    for survivor in crash_points("/games", update, build=build):
        count += 1
        with survivor.files().open_folder("/games") as root:
            try:
                assert read(root.folder("snapshot"), V1) == V1
                update(root)
                assert read(root.folder("snapshot"), V1) == V1
                assert read(root.folder("game"), V2) == V2
            except BaseException as error:
                error.add_note(survivor.story)
                raise
    assert count > 50
