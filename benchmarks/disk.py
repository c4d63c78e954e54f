"""`python -m benchmarks.disk`: what the disk takes of a download, without a network.

A `DownloadTransaction` is fed from memory, chunk by chunk as a download feeds it, from `look` to
the commit, with one to four writing threads. Beside it, in turns: a bare loop that makes and writes
the same files, and `cp -r`, both with a sync of the file system at their end; and the reading of
the same chunks as they are served. Times are wall and CPU seconds, medians.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from lanspread import limits
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.manifest import block_digest, content_hash, manifest_hash, manifest_of
from lanspread.fs.reading import ExtentReader
from lanspread.fs.scan import scan_game
from lanspread.fs.sync_disk import sync_whole
from lanspread.model import FileEntry, block_count
from lanspread.seams import FileStamp
from lanspread.transfer.plan import Chunk, Plan, blocks_to_fetch, chunk_bytes_for, make_pieces

_KIB, _MIB = limits.KIB, limits.MIB
_SENTINEL = b"20240101\n"
# What all files are made of: a file's bytes begin somewhere in it.
_NOISE = random.Random(1).randbytes(_MIB) * 5


class Spent(NamedTuple):
    """What something took, in seconds; CPU is that of this process and its children."""

    wall_s: float
    cpu_s: float


def make_files(kind: str) -> dict[str, int]:
    """Path to size of `large`, `small` or `mixed`."""
    content = random.Random(2)
    large = {"big.bin": 700 * _MIB}
    medium = {f"medium/{number}.bin": _MIB for number in range(300)}
    count = {"large": 0, "small": 5_000, "mixed": 2_000}[kind]
    small = {
        f"small/{number % 200}/{number}.dat": content.randint(4 * _KIB, 16 * _KIB)
        for number in range(count)
    }
    return {"large": large, "small": small, "mixed": {**large, **medium, **small}}[kind]


class Game:
    """A game that is all in memory, and its chunks."""

    def __init__(self, files: dict[str, int]) -> None:
        entries = [FileEntry(path, size) for path, size in files.items()]
        manifest = manifest_of([*entries, FileEntry("version.ini", len(_SENTINEL))])
        self.files = manifest.files
        self._known: dict[tuple[int, int], bytes] = {}
        block_bytes = limits.BLOCK_BYTES
        digests = []
        for number, entry in enumerate(manifest.files):
            for block in range(block_count(entry.size, block_bytes)):
                at = block * block_bytes
                data = self.bytes_at(number, at, min(block_bytes, entry.size - at))
                digests.append(block_digest(data))
        whole = manifest_hash(manifest)
        self.reference = Reference(
            version="20240101",
            manifest=manifest,
            manifest_hash=whole,
            content_hash=content_hash(whole, block_bytes, digests),
            block_bytes=block_bytes,
            digests=tuple(digests),
            sentinel=_SENTINEL,
        )
        self.total_bytes = manifest.total_bytes
        numbers = self.reference.wanted(None)
        none_known = bytearray(self.reference.starts[-1])
        blocks = blocks_to_fetch(self.reference, numbers, none_known)
        plan = Plan(make_pieces(blocks, limits.MIN_CHUNK_BYTES))
        self.chunks: list[Chunk] = []
        while (taken := plan.take("memory", chunk_bytes_for(self.total_bytes))) is not None:
            self.chunks.append(taken.chunk)

    def bytes_at(self, number: int, offset: int, length: int) -> memoryview | bytes:
        """Bytes of a file; they cost nothing."""
        if self.files[number].path == "version.ini":
            return _SENTINEL
        start = int.from_bytes(hashlib.md5(b"%d %d" % (number, offset)).digest()[:2])
        return memoryview(_NOISE)[start : start + length]

    def data_of(self, chunk: Chunk) -> bytearray:
        """A chunk as it comes off the network."""
        data = bytearray()
        for block in chunk.blocks():
            data += self.bytes_at(block.file, block.offset, block.length)
        return data


def download(game: Game, place: Path, threads: int) -> None:
    """All of a download but the network; each writer verifies what it writes."""
    place.mkdir()
    with DiskFileSystem().open_folder(str(place)) as folder:
        transaction = DownloadTransaction(folder, game.reference)
        transaction.check()
        transaction.begin()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda chunk: _write(game, transaction, chunk), game.chunks))
        transaction.commit()
        transaction.close()


def _write(game: Game, transaction: DownloadTransaction, chunk: Chunk) -> None:
    view = memoryview(game.data_of(chunk))
    at = 0
    placed = []
    for block in chunk.blocks():
        data = view[at : at + block.length]
        if block_digest(data) != block.digest:
            raise AssertionError("the benchmark's own bytes are wrong")
        placed.append((block.file, block.offset, data))
        at += block.length
    transaction.write(placed)


def bare(game: Game, place: Path) -> None:
    """What Python and the kernel take at the least: each file made and written, no more."""
    place.mkdir()
    made = set()
    for number, entry in enumerate(game.files):
        path = place / entry.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        for at in range(0, entry.size, limits.BLOCK_BYTES):
            data = game.bytes_at(number, at, min(limits.BLOCK_BYTES, entry.size - at))
            os.pwrite(descriptor, data, at)
        os.close(descriptor)
    sync(place)


def copy(source: Path, place: Path) -> None:
    """`cp -r` from the cache."""
    subprocess.run(["cp", "-r", source, place], check=True)
    sync(place)


def serve(game: Game, stamps: Sequence[FileStamp], place: Path, threads: int) -> None:
    """Read every chunk of a game that is on the disk, as it is served."""
    with DiskFileSystem().open_folder(str(place)) as folder, ThreadPoolExecutor(threads) as pool:

        def read(chunk: Chunk) -> int:
            buffer = memoryview(bytearray(_MIB))
            reader = ExtentReader(partial(folder.folder, ""), stamps, chunk.extents())
            return sum(iter(lambda: reader.read_into(buffer), 0))

        if sum(pool.map(read, game.chunks)) != game.total_bytes - len(_SENTINEL):
            raise AssertionError("not all was read")


def sync(place: Path) -> None:
    """Everything on the file system is on the disk when this returns."""
    descriptor = os.open(place, os.O_RDONLY)
    if not sync_whole(descriptor):
        os.sync()
    os.close(descriptor)


class Bench:
    """The runs of one game in one folder, in turns."""

    def __init__(self, kind: str, top: Path) -> None:
        self._game = Game(make_files(kind))
        self._top = top
        self._kept = top / "kept"
        download(self._game, self._kept, 2)
        with DiskFileSystem().open_folder(str(top)) as games:
            self._stamps = scan_game(games, "kept").stamps

    def runs(self) -> dict[str, Callable[[Path], object]]:
        """Name to what is measured; each makes the folder that it is given, or none."""
        game = self._game
        return {
            "bare loop": lambda place: bare(game, place),
            "cp -r": lambda place: copy(self._kept, place),
            "download, 1 thread": lambda place: download(game, place, 1),
            "download, 2 threads": lambda place: download(game, place, 2),
            "download, 4 threads": lambda place: download(game, place, 4),
            "serve, 1 thread": lambda place: serve(game, self._stamps, self._kept, 1),
            "serve, 2 threads": lambda place: serve(game, self._stamps, self._kept, 2),
        }

    def measure(self, run: Callable[[Path], object]) -> Spent:
        place = self._top / "new"
        sync(self._top)
        began = _spent()
        run(place)
        ended = _spent()
        shutil.rmtree(place, ignore_errors=True)
        return Spent(*(now - then for now, then in zip(ended, began, strict=True)))

    @property
    def megabytes(self) -> float:
        return self._game.total_bytes / 1e6


def _spent() -> Spent:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Spent(time.perf_counter(), cpu_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["large", "small", "mixed"])
    parser.add_argument("--only", default="", help="runs whose names contain this")
    parser.add_argument("--folder", type=Path, nargs="+", default=[Path(tempfile.gettempdir())])
    options = parser.parse_args()
    for folder in options.folder:
        for kind in options.kinds:
            with tempfile.TemporaryDirectory(prefix="lanspread-bench-", dir=folder) as top:
                _run(Bench(kind, Path(top)), f"{kind}, in {folder}", options.rounds, options.only)


def _run(bench: Bench, title: str, rounds: int, only: str) -> None:
    table = Table(title=f"{title}, medians of {rounds}", min_width=60)
    for heading in ("", "wall s", "CPU s", "MB/s"):
        table.add_column(heading, justify="right" if heading else "left")
    runs = {name: run for name, run in bench.runs().items() if only in name}
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            spent[name].append(bench.measure(run))
    for name, rows in spent.items():
        wall_s, cpu_s = (statistics.median(column) for column in zip(*rows, strict=True))
        table.add_row(name, f"{wall_s:.3f}", f"{cpu_s:.3f}", f"{bench.megabytes / wall_s:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
