"""Installing on a disk that takes names that differ only in case for the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from lanspread.fs.install.install import install
from lanspread.fs.install.recovery import recover
from lanspread.fs.install.update import update
from lanspread.fs.paths import fold_path
from lanspread.seams import Folder
from lanspread.testing import MemoryFileSystem
from tests.fs.install.support import PATH, files_in, new_files, opener, put_game

OLD: Mapping[str, bytes | None] = {"Game.exe": b"1", "Data/level": b"level 1", "Cfg/set.ini": b"d"}
NEW: Mapping[str, bytes | None] = {"game.EXE": b"2", "DATA/level": b"level 2", "Cfg/set.ini": b"d"}


class Folding:
    """A folder on such a disk: every name finds what is there under another spelling."""

    def __init__(self, inner: Folder) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if not callable(call):
            return call
        names = 1 if name == "open" else 2

        def folded(*args: Any, **options: Any) -> Any:
            return call(*map(self._spelled, args[:names]), *args[names:], **options)

        return folded

    def _spelled(self, arg: Any) -> Any:
        if isinstance(arg, list):
            return [self._spelled(rel) for rel in arg]
        if not isinstance(arg, str):
            return arg
        found: list[str] = []
        for part in arg.split("/"):
            try:
                there = [entry.name for entry in self._inner.list("/".join(found))]
            except OSError:
                there = []
            same = [name for name in there if fold_path(name) == fold_path(part)]
            found.append(same[0] if same else part)
        return "/".join(found)


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    put_game(files, 1)
    return files


def folding(folder: Folder) -> Folder:
    return cast(Folder, Folding(folder))


def test_an_update_where_names_fold(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as plain:
        folder = folding(plain)
        install(folder, opener({"game.eti": OLD}))
        # The game saves its settings under a name of its own.
        plain.rename("local/Cfg/set.ini", "local/Cfg/SET.INI")
        files.write_file(f"{PATH}/local/Cfg/SET.INI", b"mine")
        files.write_file(f"{PATH}/local/Data/LEVEL.sav", b"saved")
        files.write_file(f"{PATH}/local/Game.exe", b"patched")
        put_game(files, 2)
        done = update(folder, opener({"game.eti": NEW}))
        assert files_in(plain, "local") == {
            "Cfg/set.ini": b"mine",
            "DATA/LEVEL.sav": b"saved",
            "DATA/level": b"level 2",
            "game.EXE": b"2",
            "Game.exe.before-update": b"patched",
        }
        assert done.kept == ("Cfg/set.ini", "DATA/LEVEL.sav", "Game.exe.before-update")
        assert recover(folder).repaired == ()


def test_the_same_where_they_do_not(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        install(folder, opener({"game.eti": OLD}))
        files.write_file(f"{PATH}/local/Cfg/SET.INI", b"mine")
        put_game(files, 2)
        update(folder, opener({"game.eti": NEW}))
        assert files_in(folder, "local") == {
            "Cfg/SET.INI": b"mine",
            "Cfg/set.ini": b"d",
            "DATA/level": b"level 2",
            "game.EXE": b"2",
        }


def test_a_local_in_another_spelling_is_the_installed_game(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/LOCAL/save", b"saved")
    with files.open_folder(PATH) as plain:
        done = install(folding(plain), opener({"game.eti": OLD}))
        assert done.kept == ("save",)
        assert files_in(plain, "local") == {
            "Cfg/set.ini": b"d",
            "Data/level": b"level 1",
            "Game.exe": b"1",
            "save": b"saved",
        }
