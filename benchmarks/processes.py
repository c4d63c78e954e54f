"""The processes that are measured, and what the system says of their CPU time and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.memory import bring_in
from lanspread import limits

# QUIC packets as on Ethernet; loopback alone would carry far more.
_ENVIRONMENT = {**os.environ, "LANSPREAD_QUIC_PAYLOAD": str(limits.QUIC_PAYLOAD_BYTES)}
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Result:
    """One transfer. CPU is seconds of user and system time, for each side.

    `extra` holds what only some transfers know, by a name that says its unit.
    """

    total_bytes: int
    seconds: float
    sender_cpu_s: float
    receiver_cpu_s: float
    sender_peak_mib: float
    receiver_peak_mib: float
    extra: dict[str, float] = attrs.field(factory=dict)

    @property
    def mb_per_s(self) -> float:
        return self.total_bytes / 1e6 / self.seconds

    @property
    def cpu_s_per_gb(self) -> float:
        """Both sides together."""
        return (self.sender_cpu_s + self.receiver_cpu_s) / (self.total_bytes / 1e9)


# -- what the system knows ------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """The process and its living descendants."""
    found = [pid]
    for one in found:
        try:
            tasks = list(Path(f"/proc/{one}/task").iterdir())
            for task in tasks:
                found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
    return found


def cpu_s(pid: int) -> float:
    """User and system time so far, of the process, its children that ended, and those that live."""
    return sum(_cpu_ticks(one) for one in family(pid)) / _TICKS


def _cpu_ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return cpu_ticks_of(stat)


def cpu_ticks_of(stat: str) -> int:
    """utime + stime + cutime + cstime of a line of `/proc/PID/stat`."""
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


def peak_mib(pid: int) -> float:
    """The highest resident memory so far (VmHWM), summed over the process and its descendants."""
    total = 0.0
    for one in family(pid):
        try:
            total += hwm_mib_of(Path(f"/proc/{one}/status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def hwm_mib_of(status: str) -> float:
    """VmHWM of `/proc/PID/status` in MiB; 0 of a process that has ended and was not waited for."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def forget_peak(pid: int) -> None:
    """Let the highest resident memory begin anew, so that it is this transfer's."""
    for one in family(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def written_bytes(pid: int) -> int:
    """What the process gave to `write` and its relatives so far."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1])
    raise ValueError("no wchar in /proc")


# -- children -------------------------------------------------------------------------------------


class Child:
    """A child process with a line of JSON to start with: a module, unless `python` says else."""

    def __init__(
        self,
        *arguments: str,
        log: Path,
        python: Sequence[str] = (sys.executable, "-m"),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._name = " ".join(arguments[:2])
        self._log = log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [*python, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**_ENVIRONMENT, **(variables or {})},
            )

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise SystemExit(f"{self._name} ended:\n{self._log.read_text()[-2_000:]}")
        found: dict[str, Any] = json.loads(text)
        return found

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def peak_mib(self) -> float:
        return peak_mib(self.pid)

    def release(self) -> None:
        """Tell a child that waits for it that it may end."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it at once, without a word of its own; its system still closes its connections."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        stop(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def stop(process: subprocess.Popen[Any]) -> None:
    """Ask a process of ours to end, wait, and insist."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def stream_between(module: str, total_bytes: int, folder: Path) -> Result:
    """One stream between two processes of `module` (serve, fetch)."""
    sender = Child(module, "serve", str(total_bytes), log=folder / "log")
    receiver = None
    try:
        port = sender.line()["port"]
        receiver = Child(module, "fetch", str(port), log=folder / "log")
        receiver.line()
        bring_in(total_bytes)
        before = sender.cpu_s(), receiver.cpu_s()
        receiver.release()
        done = receiver.line()
        result = Result(
            total_bytes=done["bytes"],
            seconds=done["seconds"],
            sender_cpu_s=sender.cpu_s() - before[0],
            receiver_cpu_s=receiver.cpu_s() - before[1],
            sender_peak_mib=sender.peak_mib(),
            receiver_peak_mib=receiver.peak_mib(),
        )
        receiver.release()
        receiver.process.wait(10)
        return result
    finally:
        for child in (receiver, sender):
            if child is not None:
                child.stop()
