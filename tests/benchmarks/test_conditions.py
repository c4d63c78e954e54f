"""What is made alike before each transfer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from benchmarks.conditions import IN_MEMORY, bring_memory_in, put_away
from benchmarks.downloads import Way, check_way, loopback_bytes
from benchmarks.folders import file_system


def transfer(folder: Path, source: Path) -> None:
    folder.mkdir()
    (folder / "arrived").write_bytes(b"bytes")
    os.link(source, folder / "a second name")


def test_on_a_disk_nothing_is_deleted_and_no_source_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.conditions.file_system", lambda path: "ext4")
    (source := tmp_path / "source").write_bytes(b"bytes")
    for _ in range(2):
        transfer(tmp_path / "target", source)
        inode = (tmp_path / "target" / "arrived").stat().st_ino
        put_away(tmp_path / "target")
        assert not (tmp_path / "target").exists()
        assert inode in [path.stat().st_ino for path in tmp_path.rglob("arrived")]
    assert [path.stat().st_size for path in tmp_path.rglob("arrived")] == [0, 0]
    assert source.read_bytes() == b"bytes"


@pytest.mark.skipif(
    file_system(Path("/dev/shm")) not in IN_MEMORY, reason="/dev/shm is no memory here"
)
def test_in_memory_it_is_deleted() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (source := Path(folder) / "source").write_bytes(b"bytes")
        transfer(Path(folder) / "target", source)
        put_away(Path(folder) / "target")
        assert list(Path(folder).iterdir()) == [source]


def test_memory_is_brought_in_and_let_go() -> None:
    bring_memory_in(1)


def test_a_path_of_which_nothing_was_seen_is_not_proved() -> None:
    check_way(Way.BULK, linked=3, samples=4)
    for linked, samples in ((0, 0), (2, 3)):
        with pytest.raises(SystemExit):
            check_way(Way.BULK, linked=linked, samples=samples)


def test_what_went_over_loopback_only_grows() -> None:
    assert 0 <= loopback_bytes() <= loopback_bytes()
