"""Who may look into what the user made in `local/`, before and after an update."""

from __future__ import annotations

from pathlib import Path

from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.install.install import install
from lanspread.fs.install.update import update
from tests.fs.install.support import open_fake


def test_an_update_keeps_who_may_look_into_the_users_folders(tmp_path: Path) -> None:
    (tmp_path / "version.ini").write_bytes(b"1.0\n")
    (tmp_path / "game.eti").write_bytes(b"one")
    local = tmp_path / "local"
    modes = {"private": 0o700, "private/shared": 0o775, "odd": 0o1750, "locked": 0o500}
    with DiskFileSystem().open_folder(str(tmp_path)) as folder:
        install(folder, open_fake)
        for name in modes:
            (local / name).mkdir()
            (local / name / "file").write_bytes(b"x")
        for name, mode in modes.items():
            (local / name).chmod(mode)
        (tmp_path / "version.ini").write_bytes(b"2.0\n")
        (tmp_path / "game.eti").write_bytes(b"two")
        done = update(folder, open_fake)
    assert done.kept == tuple(sorted(f"{name}/file" for name in modes))
    found = {name: (local / name).stat().st_mode & 0o7777 for name in modes}
    # What its owner may not do in it would keep the next update from its work.
    assert found == {"private": 0o700, "private/shared": 0o775, "odd": 0o750, "locked": 0o700}
