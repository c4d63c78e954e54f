"""What every tool is asked, and how one that is a command is timed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.folders import make_durable
from benchmarks.memory import bring_in
from benchmarks.processes import Result, cpu_s, peak_mib

SAMPLE_S = 0.05


class Tool(Protocol):
    """One way to move the source folder, ready to be used: its sending side runs already."""

    def fetch(self, target: Path) -> Result:
        """Move everything into `target`, which is empty, until it is durable there."""
        ...

    def arrived_at(self, target: Path) -> Path:
        """Where below `target` the copy of the source folder is."""
        ...


def run_command(
    command: Sequence[str], *, senders: Sequence[int], target: Path, total_bytes: int
) -> Result:
    """Run the receiving command, then `sync -f`: none of the commands syncs by itself."""
    bring_in(total_bytes)
    before = sum(map(cpu_s, senders))
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], list(command), os.environ)
    with peaks([*senders, pid]) as highest:
        _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    make_durable(target)
    seconds = time.monotonic() - began
    return Result(
        total_bytes=total_bytes,
        seconds=seconds,
        sender_cpu_s=sum(map(cpu_s, senders)) - before,
        receiver_cpu_s=usage.ru_utime + usage.ru_stime,
        sender_peak_mib=sum(highest[sender] for sender in senders),
        receiver_peak_mib=highest[pid],
    )


@contextmanager
def peaks(pids: Sequence[int]) -> Iterator[dict[int, float]]:
    """The highest memory of these processes and their children, filled in while it runs.

    They are looked at 20 times a second, because a child takes what is known of it along.
    """
    highest = dict.fromkeys(pids, 0.0)
    end = threading.Event()

    def look() -> None:
        while not end.wait(SAMPLE_S):
            for pid in pids:
                highest[pid] = max(highest[pid], peak_mib(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield highest
    finally:
        end.set()
        thread.join()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 10.0) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing listens on port {port}") from None
            time.sleep(0.02)
