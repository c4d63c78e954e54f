"""The demo's game, and the comparison of two trees. Blocking: nothing else runs meanwhile."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

GAME_ID = "demo-game"
VERSION = "1.0"
LARGE_BYTES = 88_600_000
SMALL_FILES = 320
SMALL_BYTES = (4_096, 40_000)


def write_game(games: Path, seed: int = 7373) -> int:
    """Write the demo game below `games`; returns how many bytes it has.

    About 96 MB: one large file, some hundred small ones, names in other scripts, an empty file, a
    deep path. The same seed writes the same bytes.
    """
    source = random.Random(seed)
    root = games / GAME_ID
    files: dict[str, bytes] = {
        "demo-game.eti": source.randbytes(LARGE_BYTES),
        "empty.dat": b"",
        "maps/地図 one.bin": source.randbytes(30_000),
        "maps/карта два.bin": source.randbytes(30_000),
        "sound/Für Élise – Überspiel.ogg": source.randbytes(50_000),
        "/".join([f"level {number}" for number in range(12)] + ["deep.txt"]): b"down here\n",
    }
    for number in range(SMALL_FILES):
        name = f"data/part {number // 40:02d}/piece {number:04d}.bin"
        files[name] = source.randbytes(source.randint(*SMALL_BYTES))
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    version = f"{VERSION}\n".encode()
    (root / "version.ini").write_bytes(version)
    return sum(len(content) for content in files.values()) + len(version)


def copy_game(source: Path, target: Path) -> None:
    """Copy a whole games folder."""
    shutil.copytree(source, target, dirs_exist_ok=True)


def differences(one: Path, other: Path) -> list[str]:
    """What differs between the demo game in two games folders; empty if they are byte-identical.

    Lanspread's own reserved names are no part of a game.
    """
    left, right = _digests(one / GAME_ID), _digests(other / GAME_ID)
    found = [f"{name} is missing" for name in sorted(left.keys() - right.keys())]
    found += [f"{name} is too many" for name in sorted(right.keys() - left.keys())]
    found += [
        f"{name} differs"
        for name in sorted(left.keys() & right.keys())
        if left[name] != right[name]
    ]
    return found


def _digests(root: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(".lanspread"):
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
