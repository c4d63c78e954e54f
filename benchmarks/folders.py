"""The games that are moved, and a check that they arrived."""

from __future__ import annotations

import random
from pathlib import Path

import attrs

KIB, MIB = 1024, 1024 * 1024


@attrs.frozen(kw_only=True)
class Sizes:
    """How much there is of each kind."""

    large_mib: int = 96
    medium_files: int = 200
    small_files: int = 3_000
    only_small_files: int = 5_000


def make_games(games: Path, sizes: Sizes) -> dict[str, int]:
    """Write the three games; returns the bytes of each, `version.ini` included."""
    content = random.Random(1)
    noise = content.randbytes(4 * MIB)
    large = {"big.bin": sizes.large_mib * MIB}
    mixed = {
        **large,
        **{f"medium/{number}.bin": MIB for number in range(sizes.medium_files)},
        **_small(content, sizes.small_files),
    }
    kinds = {"mixed": mixed, "large": large, "small": _small(content, sizes.only_small_files)}
    totals = {}
    for name, files in kinds.items():
        for path, size in files.items():
            _write(games / name / path, size, content, noise)
        (games / name / "version.ini").write_text("20240101\n")
        totals[name] = sum(files.values()) + len("20240101\n")
    return totals


def _small(content: random.Random, count: int) -> dict[str, int]:
    """Files of 4 to 16 KiB, about ten to a folder."""
    return {
        f"small/{number // 10}/{number}.dat": content.randint(4 * KIB, 16 * KIB)
        for number in range(count)
    }


def _write(path: Path, size: int, content: random.Random, noise: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        left = size
        while left:
            start = content.randrange(len(noise) // 2)
            file.write(noise[start : start + min(left, len(noise) // 2)])
            left -= min(left, len(noise) // 2)


def same_files(one: Path, other: Path) -> bool:
    """Whether all files of `one` are in `other` with the same bytes."""
    return all(
        (other / path.relative_to(one)).read_bytes() == path.read_bytes()
        for path in one.rglob("*")
        if path.is_file() and ".lanspread" not in path.relative_to(one).parts[0]
    )
