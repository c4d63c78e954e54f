"""Folders that are held open so that their names need no walk from the root."""

from pathlib import Path

import pytest

from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.near import NearFolders
from lanspread.seams import Folder
from tests.fs.support import RecordingFolder, open_descriptors, write_tree


class _Counting(RecordingFolder):
    """Counts the folders that were opened below."""

    opened = 0

    def folder(self, rel: str, *, follow: bool = False) -> Folder:
        self.opened += 1
        return self.inner.folder(rel, follow=follow)


FILES = {f"{folder}/{name}": b"x" for folder in ("a", "b", "b/c") for name in "12"} | {"top": b"x"}


@pytest.mark.parametrize(("at_most", "opened"), [(1, 4), (2, 3)])
def test_a_folder_is_opened_once_while_it_is_near(
    tmp_path: Path, at_most: int, opened: int
) -> None:
    write_tree(tmp_path, FILES)
    before = open_descriptors()
    with DiskFileSystem().open_folder(str(tmp_path)) as root:
        counting = _Counting(root, [])
        with NearFolders(counting, at_most) as near:
            for rel in ("a/1", "a/2", "b/1", "top", "b/2", "b/c/1", "b/c/2", "b/1"):
                with near.open(rel, "read") as file:
                    assert file.read_at(9, 0) == b"x"
                assert near.entry(rel) == root.entry(rel)
            assert counting.opened == opened
            # The root and as many as may be held.
            assert open_descriptors() == before + 1 + at_most
    assert open_descriptors() == before


@pytest.mark.parametrize("rel", ["", "a/", "a//1", "../a/1", "a/../top", "a/.."])
def test_no_name_that_folders_refuse_is_taken(tmp_path: Path, rel: str) -> None:
    write_tree(tmp_path, FILES)
    with (
        DiskFileSystem().open_folder(str(tmp_path)) as root,
        NearFolders(root) as near,
        pytest.raises(OSError, match="not a name"),
    ):
        near.open(rel, "read")


def test_links_are_not_followed(tmp_path: Path) -> None:
    write_tree(tmp_path, {"outside/1": b"secret", **{f"in/{rel}": b"x" for rel in FILES}})
    top = tmp_path / "in"
    with DiskFileSystem().open_folder(str(top)) as root, NearFolders(root, 8) as near:
        assert near.entry("b/c/1").size == 1
        (top / "b").rename(tmp_path / "moved")
        (top / "b").symlink_to(tmp_path / "outside")
        with pytest.raises(NotADirectoryError):
            near.open("b/1", "read")
        # What is held stays the folder that it was.
        assert near.entry("b/c/2").size == 1
