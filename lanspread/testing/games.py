"""Where a virtual peer's games are: in memory, or in a real folder."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lanspread.fs.disk import DiskFileSystem
from lanspread.seams import WallClock
from lanspread.testing.faults import FaultyFileSystem
from lanspread.testing.memory_files import MemoryFileSystem
from lanspread.testing.power import EVERYTHING_KEPT, PowerLoss

VERSION_INI = "version.ini"


def game_files(
    game_id: str, files: Mapping[str, bytes | int], version: str = "1.0"
) -> dict[str, bytes]:
    """A game's files with their bytes; `version.ini` is added if it is missing.

    A number stands for that many bytes which look random and depend on ID, path and version alone:
    two peers with the same game have the same bytes.
    """
    made = {
        path: content
        if isinstance(content, bytes)
        else random.Random(f"{game_id}/{path}/{version}").randbytes(content)
        for path, content in files.items()
    }
    made.setdefault(VERSION_INI, f"{version}\n".encode())
    return made


class Games(Protocol):
    """A games folder that a test changes from outside, as a user would."""

    @property
    def path(self) -> str: ...

    @property
    def files(self) -> FaultyFileSystem:
        """What the peer works with, to let it go wrong; another one after each crash."""

    def put(self, game_id: str, files: Mapping[str, bytes]) -> None:
        """Replace a game's folder; `version.ini` comes last."""

    def remove(self, game_id: str) -> None:
        """Remove a game's folder; that there is none is no error."""

    def read(self, game_id: str) -> dict[str, bytes]:
        """Every file of a game but reserved names at its root, by path; empty if it is not here."""

    def cut_off(self, loss: PowerLoss) -> None:
        """The power is gone: what is written from now on never reached the disk."""

    def come_back(self) -> None:
        """The power is back, and whoever wrote has ended."""


class MemoryGames:
    """Games in memory. The path exists on the disk as well, empty, because a peer locks it."""

    def __init__(self, path: str, clock: WallClock) -> None:
        self.path = path
        self.memory = MemoryFileSystem(lambda: _now_ns(clock))
        self.memory.make_folders(path)
        self.files = FaultyFileSystem(self.memory)
        os.makedirs(path, exist_ok=True)

    def put(self, game_id: str, files: Mapping[str, bytes]) -> None:
        self.remove(game_id)
        self.memory.write_tree(f"{self.path}/{game_id}", _version_last(files))

    def remove(self, game_id: str) -> None:
        self.memory.discard(f"{self.path}/{game_id}")

    def read(self, game_id: str) -> dict[str, bytes]:
        try:
            return _without_reserved(self.memory.read_tree(f"{self.path}/{game_id}"))
        except FileNotFoundError:
            return {}

    def cut_off(self, loss: PowerLoss) -> None:
        self._survivor = self.memory.after_power_loss(loss)

    def come_back(self) -> None:
        self.memory.restore(self._survivor)
        self.files = FaultyFileSystem(self.memory)


class DiskGames:
    """Games in a real folder, made if it is missing. A crash cannot take back what is written."""

    def __init__(self, folder: Path, clock: WallClock) -> None:
        self.folder = folder
        self.path = str(folder)
        self.files = FaultyFileSystem(DiskFileSystem())
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, game_id: str, files: Mapping[str, bytes]) -> None:
        self.remove(game_id)
        now = _now_ns(self._clock)
        for path, data in _version_last(files).items():
            file = self.folder / game_id / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            os.utime(file, ns=(now, now))

    def remove(self, game_id: str) -> None:
        shutil.rmtree(self.folder / game_id, ignore_errors=True)

    def read(self, game_id: str) -> dict[str, bytes]:
        game = self.folder / game_id
        return _without_reserved(
            {
                file.relative_to(game).as_posix(): file.read_bytes()
                for file in sorted(game.rglob("*"))
                if file.is_file() and not file.is_symlink()
            }
        )

    def cut_off(self, loss: PowerLoss) -> None:
        """Nothing can be kept from a real disk, and nothing that is on it can be lost."""
        if loss != EVERYTHING_KEPT:
            raise ValueError("only games in memory can lose what was not synced")

    def come_back(self) -> None:
        self.files = FaultyFileSystem(DiskFileSystem())


def _now_ns(clock: WallClock) -> int:
    return round(clock.now().timestamp() * 1_000_000) * 1_000


def _version_last(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return dict(sorted(files.items(), key=lambda file: file[0] == VERSION_INI))


def _without_reserved(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if not path.startswith(".")}
