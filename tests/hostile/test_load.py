"""A real peer under load from a hostile process: alive, prompt, and within its memory.

What a peer may grow by, whoever is on the network: 128 MiB received and not yet read, 128 MiB
queued and not acknowledged, 64 MiB of file pieces and 64 MiB of pages in hand, 2 KiB for each of
250,000 games of others, 100 KiB for each of 1,024 connections. Each attack here goes for one of
these, and `ATTACKS` says what it may cost.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.cli.processes import Peer, command
from tests.hostile.attacker import BIG
from tests.machine import at_most

pytestmark = pytest.mark.alone

STATUS_S = 2.0
REPOSITORY = Path(__file__).parents[2]


def memory_mib(process: subprocess.Popen[str], name: str) -> float:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def reset_peak(process: subprocess.Popen[str]) -> None:
    """Have VmHWM begin again at what is resident now."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


@contextmanager
def attack(kind: str, target: str, number: int) -> Iterator[dict[str, Any]]:
    """Run an attack; the block begins when it is at its height, and ends it."""
    host, _, port = target.rpartition(":")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.attacker", kind, host, port, str(number)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the attacker failed"
        yield json.loads(line)
    finally:
        process.kill()
        process.communicate()


def write_big(folder: Path) -> bytes:
    game = folder / "games" / BIG
    game.mkdir(parents=True)
    data = random.Random(3).randbytes(12 * 2**20)
    (game / "big.eti").write_bytes(data)
    (game / "version.ini").write_bytes(b"1.0\n")
    for file in game.iterdir():
        os.utime(file, (1_600_000_000, 1_600_000_000))
    return data


def timed_status(peer: Peer) -> float:
    began = time.monotonic()
    done = command(peer, "status", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peer_id"]
    return time.monotonic() - began


def fetch_big(victim: str, folder: Path, data: bytes) -> None:
    """An honest peer comes, fetches the game from the victim, and leaves."""
    honest = Peer(folder, "--name", "honest", "--peer", victim)
    try:
        honest.ready()
        deadline = time.monotonic() + 30
        while True:
            done = command(honest, "get", BIG)
            if done.returncode == 0:
                break
            assert done.returncode == 4, done.stderr
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert (honest.games / BIG / "big.eti").read_bytes() == data
    finally:
        honest.kill()


@attrs.frozen
class Load:
    """So many attempts or identities, and how many MiB the peer may grow by: short run, long run.

    Above what the bounds say come Python's own copies and what the allocator keeps.
    """

    short: int
    short_mib: int
    long: int
    long_mib: int


ATTACKS = {
    # 400 half-open handshakes and 64 connections of each of eight hosts.
    "connections": Load(10_000, 96, 50_000, 96),
    # Received and not read, by all together 128 MiB.
    "endless": Load(8, 256, 32, 256),
    "withheld": Load(8, 256, 32, 384),
    # Queued and not acknowledged, 128 MiB, and a MiB for each of 64 answers in hand.
    "never-reads": Load(16, 320, 60, 320),
    # 2 KiB a game, and a library that is being fetched while the one before is still held.
    "libraries": Load(3, 256, 12, 640),
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_peer_under_attack(tmp_path: Path, soak: bool, kind: str) -> None:
    load = ATTACKS[kind]
    number, bound_mib = (load.long, load.long_mib) if soak else (load.short, load.short_mib)
    data = write_big(tmp_path / "victim")
    victim = Peer(tmp_path / "victim", "--name", "victim")
    try:
        ready = victim.ready()
        (listen,) = ready["listen"]
        timed_status(victim)
        resting = memory_mib(victim.process, "VmRSS")
        reset_peak(victim.process)
        began = time.monotonic()
        with attack(kind, listen, number) as height:
            at_height = time.monotonic() - began
            answered = [timed_status(victim) for _ in range(3)]
            fetch_big(listen, tmp_path / "during", data)
            answered.append(timed_status(victim))
        grown = memory_mib(victim.process, "VmHWM") - resting
        print(
            f"{kind}: {height}, at its height after {at_height:.1f} s, fetched after "
            f"{time.monotonic() - began:.1f} s; {resting:.0f} MiB and {grown:.0f} MiB more; "
            f"status after {max(answered):.2f} s at most"
        )
        assert grown < bound_mib
        assert max(answered) < at_most(STATUS_S)
        assert victim.process.poll() is None
        code, seconds, _, err = victim.end(signal.SIGTERM)
        assert code == 0, err[-2_000:]
        assert seconds < at_most(2.0)
        assert "Traceback" not in err
    finally:
        victim.kill()
