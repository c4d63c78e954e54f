"""What earlier transfers leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.leftovers import leave, put_away


def transfer(folder: Path, source: Path) -> None:
    folder.mkdir()
    (folder / "arrived").write_bytes(b"bytes")
    os.link(source, folder / "a second name")


def test_on_a_disk_nothing_is_deleted_and_no_source_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.leftovers.file_system", lambda path: "ext4")
    (source := tmp_path / "source").write_bytes(b"bytes")
    for _ in range(2):
        transfer(tmp_path / "target", source)
        inode = (tmp_path / "target" / "arrived").stat().st_ino
        put_away(tmp_path / "target")
        assert not (tmp_path / "target").exists()
        assert inode in [path.stat().st_ino for path in tmp_path.rglob("arrived")]
    assert [path.stat().st_size for path in tmp_path.rglob("arrived")] == [0, 0]
    assert source.read_bytes() == b"bytes"


def test_a_place_on_a_disk_is_emptied_and_goes_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.leftovers.file_system", lambda path: "ext4")
    at_the_end: list[Path] = []
    monkeypatch.setattr(
        "benchmarks.leftovers.atexit.register", lambda call, path, **_: at_the_end.append(path)
    )
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "arrived").write_bytes(b"bytes")
    leave(tmp_path / "place")
    assert (tmp_path / "place" / "arrived").read_bytes() == b""
    assert at_the_end == [tmp_path / "place"]


def test_in_memory_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.leftovers.file_system", lambda path: "tmpfs")
    (source := tmp_path / "source").write_bytes(b"bytes")
    transfer(tmp_path / "target", source)
    put_away(tmp_path / "target")
    assert list(tmp_path.iterdir()) == [source]
