"""Two real peers in processes of their own: one has games, the page of the other is looked at."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.cli.processes import Peer

PROGRAM = ("-m", "lanspread")
ROOT = Path(__file__).parents[2]
# Slow enough that a person sees the bar move.
SLOW = ("--max-up", "8")
SMALL_BLOCKS = {**os.environ, "LANSPREAD_BLOCK_BYTES": "262144"}
GAMES = {"quake": 24_000_000, "tetris": 60_000_000, "worms": 1_000_000, "doom": 1_000_000}


def put_game(games: Path, game_id: str, version: str, size: int) -> None:
    """A game that can be installed. Its version comes last, as lanspread itself does it."""
    folder = games / game_id
    folder.mkdir(parents=True, exist_ok=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("play.txt", f"{game_id} {version}")
        writer.writestr("data.bin", bytes([len(version)]) * size)
    (folder / f"{game_id}.eti").write_bytes(archive.getvalue())
    (folder / "version.ini").write_text(version)


class Pair:
    """Ours, whose page is open, and another peer that has games."""

    def __init__(self, folder: Path, *options: str, program: Sequence[str] = PROGRAM) -> None:
        self.folder = folder
        self._options = options
        self._program = program
        self.other = Peer(folder / "other", "--name", "other", *SLOW, env=SMALL_BLOCKS, cwd=ROOT)
        self.other_ready = self.other.ready()
        self.ours = self._start_ours()
        self.ready = self.ours.ready()

    def _start_ours(self, *options: str) -> Peer:
        address = self.other_ready["listen"][0]
        return Peer(
            self.folder / "ours",
            "--name",
            "ours",
            "--peer",
            address,
            *self._options,
            *options,
            env=SMALL_BLOCKS,
            cwd=ROOT,
            program=self._program,
        )

    @property
    def url(self) -> str:
        return f"{self.ready['api_url']}/#token={self.ready['token']}"

    def start_ours_again(self) -> None:
        """After it ended: at the same address, with the same state."""
        api = self.ready["api_url"].removeprefix("http://")
        self.ours = self._start_ours("--api", api)
        self.ready = self.ours.ready()

    def start_other_again(self) -> None:
        """After it ended: as the same peer, which looks for ours by itself."""
        self.other.kill()
        ours = self.ready["listen"][0]
        self.other = Peer(
            self.folder / "other",
            "--name",
            "other",
            *SLOW,
            "--peer",
            ours,
            env=SMALL_BLOCKS,
            cwd=ROOT,
        )
        self.other_ready = self.other.ready()

    def end(self) -> None:
        self.ours.kill()
        self.other.kill()
