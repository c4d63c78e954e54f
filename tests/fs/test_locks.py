"""Locks: asking whether one is held takes nothing from anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanspread.fs.locks import Locked, is_locked, lock_file, lock_folder


def test_whether_somebody_holds_a_lock(tmp_path: Path) -> None:
    file = str(tmp_path / "lock")
    for path, take in ((file, lock_file), (str(tmp_path), lock_folder)):
        held = take(path)
        assert is_locked(path) is True
        with pytest.raises(Locked):
            take(path)
        held.release()
        assert is_locked(path) is False
        # Asking left nothing behind that would keep others out.
        take(path).release()


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_locked(str(tmp_path / "lock"))
    assert list(tmp_path.iterdir()) == []
