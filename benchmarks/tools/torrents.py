"""libtorrent: one seeder, one leecher, TCP without encryption; each piece is verified (SHA-1)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.folders import make_durable
from benchmarks.memory import bring_in
from benchmarks.processes import Child, Result, forget_peak

END = Path(__file__).with_name("torrent_end.py")
PYTHON = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"


@attrs.frozen
class Torrent:
    seeder: Child
    port: int
    torrent: Path
    name: str
    total_bytes: int

    def fetch(self, target: Path) -> Result:
        leecher = Child(
            str(END), "fetch", str(self.torrent), str(target), str(self.port),
            log=self.torrent.parent / "log", python=[str(PYTHON)],
        )  # fmt: skip
        try:
            leecher.line()
            forget_peak(self.seeder.pid)
            bring_in(self.total_bytes)
            before = self.seeder.cpu_s(), leecher.cpu_s()
            began = time.monotonic()
            leecher.release()
            leecher.line()
            make_durable(target)
            seconds = time.monotonic() - began
            return Result(
                total_bytes=self.total_bytes,
                seconds=seconds,
                sender_cpu_s=self.seeder.cpu_s() - before[0],
                receiver_cpu_s=leecher.cpu_s() - before[1],
                sender_peak_mib=self.seeder.peak_mib(),
                receiver_peak_mib=leecher.peak_mib(),
            )
        finally:
            leecher.stop()

    def arrived_at(self, target: Path) -> Path:
        return target / self.name


@contextmanager
def libtorrent(folder: Path, source: Path, total_bytes: int) -> Iterator[Torrent]:
    folder.mkdir()
    torrent = folder / "bench.torrent"
    seeder = Child(
        str(END), "seed", str(source), str(torrent), log=folder / "log", python=[str(PYTHON)]
    )
    try:
        yield Torrent(seeder, seeder.line()["port"], torrent, source.name, total_bytes)
    finally:
        seeder.stop()
