"""The games that are moved, and a check that they arrived."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Mapping
from pathlib import Path

import attrs

KIB, MIB = 1024, 1024 * 1024
FULL_LARGE_MIB = 700
FULL_SMALL_FILES = 5_000
FILES_IN_A_FOLDER = 10


@attrs.frozen(kw_only=True)
class Shape:
    """What a game's folder holds: large files, files of 1 MiB, files of 4 to 16 KiB."""

    large_mib: int = 0
    large_files: int = 1
    medium_files: int = 0
    small_files: int = 0
    in_folders: bool = True

    def files(self, content: random.Random) -> dict[str, int]:
        """Sizes by path. The small ones are ten to a folder, or all in one."""
        large = range(self.large_files if self.large_mib else 0)
        return {
            **{f"big{number}.bin": self.large_mib * MIB for number in large},
            **{f"medium/{number}.bin": MIB for number in range(self.medium_files)},
            **{
                f"small/{number // FILES_IN_A_FOLDER}/{number}.dat"
                if self.in_folders
                else f"small/{number}.dat": content.randint(4 * KIB, 16 * KIB)
                for number in range(self.small_files)
            },
        }

    def scaled(self, divisor: int) -> Shape:
        return attrs.evolve(
            self,
            large_mib=max(1, self.large_mib // divisor) if self.large_mib else 0,
            medium_files=self.medium_files // divisor,
            small_files=self.small_files // divisor,
        )

    def __str__(self) -> str:
        parts = []
        if self.large_mib:
            count = "one file" if self.large_files == 1 else f"{self.large_files} files"
            parts.append(f"{count} of {self.large_mib:,} MiB")
        if self.medium_files:
            parts.append(f"{self.medium_files:,} of 1 MiB")
        if self.small_files:
            folders = -(-self.small_files // FILES_IN_A_FOLDER) if self.in_folders else 1
            where = f"{folders} folders" if folders > 1 else "one folder"
            parts.append(f"{self.small_files:,} of 4-16 KiB in {where}")
        return ", ".join(parts)


LARGE = Shape(large_mib=FULL_LARGE_MIB)
MIXED = Shape(large_mib=FULL_LARGE_MIB, medium_files=300, small_files=2_000)
TEN_GB = Shape(large_mib=1_024, large_files=9, medium_files=300, small_files=2_000)
SMALL = Shape(small_files=FULL_SMALL_FILES)
FLAT = Shape(small_files=FULL_SMALL_FILES, in_folders=False)


def make_games(games: Path, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Write the games; returns the bytes of each, `version.ini` included."""
    content = random.Random(1)
    noise = content.randbytes(4 * MIB)
    totals = {}
    for name, shape in shapes.items():
        files = shape.files(content)
        for path, size in files.items():
            _write(games / name / path, size, content, noise)
        (games / name / "version.ini").write_text("20240101\n")
        totals[name] = sum(files.values()) + len("20240101\n")
    return totals


def _write(path: Path, size: int, content: random.Random, noise: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        left = size
        while left:
            start = content.randrange(len(noise) // 2)
            file.write(noise[start : start + min(left, len(noise) // 2)])
            left -= min(left, len(noise) // 2)


def different(one: Path, other: Path) -> str | None:
    """The first file of `one` that `other` has not with the same bytes; None if there is none."""
    for path in sorted(one.rglob("*")):
        relative = path.relative_to(one)
        if path.is_symlink() or not path.is_file() or relative.parts[0].startswith("."):
            continue
        arrived = other / relative
        if not arrived.is_file() or arrived.stat().st_size != path.stat().st_size:
            return str(relative)
        with path.open("rb") as ours, arrived.open("rb") as theirs:
            while block := ours.read(MIB):
                if theirs.read(MIB) != block:
                    return str(relative)
    return None


def make_durable(path: Path) -> None:
    """`sync -f`: everything that was written to this file system is on it."""
    subprocess.run(["sync", "-f", str(path)], check=True)


def warm(folder: Path) -> None:
    """Read everything below once, so that every tool finds its source in the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(MIB):
                    pass


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`, as the system calls it."""
    best, kind = "", "unknown"
    real = os.path.realpath(path)
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, name, *_ = line.split()
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, name
    return kind


def free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
