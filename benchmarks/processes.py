"""The processes that are measured, and what the system says of their CPU time and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from lanspread import limits

# QUIC packets as on Ethernet; loopback alone would carry far more.
_ENVIRONMENT = {**os.environ, "LANSPREAD_QUIC_PAYLOAD": str(limits.QUIC_PAYLOAD_BYTES)}
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Result:
    """One transfer. CPU is seconds of user and system time, for each side."""

    total_bytes: int
    seconds: float
    sender_cpu_s: float
    receiver_cpu_s: float
    sender_peak_mib: float
    receiver_peak_mib: float

    @property
    def mb_per_s(self) -> float:
        return self.total_bytes / 1e6 / self.seconds


class Child:
    """A child process with a line of JSON to start with."""

    def __init__(self, *arguments: str, log: Path) -> None:
        self._name = " ".join(arguments[:2])
        self._log = log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=_ENVIRONMENT,
            )

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise SystemExit(f"{self._name} ended:\n{self._log.read_text()[-2_000:]}")
        found: dict[str, Any] = json.loads(text)
        return found

    def cpu_s(self) -> float:
        """User and system time so far, of the whole process."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise ValueError("no VmHWM in /proc")

    def release(self) -> None:
        """Tell a child that waits for it that it may end."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()


def stream_between(module: str, total_bytes: int, folder: Path) -> Result:
    """One stream between two processes of `module` (serve, fetch)."""
    sender = Child(module, "serve", str(total_bytes), log=folder / "log")
    receiver = None
    try:
        port = sender.line()["port"]
        receiver = Child(module, "fetch", str(port), log=folder / "log")
        receiver.line()
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


@attrs.define
class RunningPeer:
    """A `lanspread run` on loopback, without mDNS."""

    child: Child
    folder: Path
    ready: dict[str, Any]

    def ask(self, *command: str) -> Any:
        answer = subprocess.run(
            [sys.executable, "-m", "lanspread", *command, "--json", "--state", self.state],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(answer.stdout)

    @property
    def state(self) -> str:
        return str(self.folder / "state")


@contextmanager
def running_peer(folder: Path, *options: str) -> Iterator[RunningPeer]:
    for name in ("games", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    child = Child(
        "lanspread", "run", "--games", str(folder / "games"), "--state", str(folder / "state"),
        "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--no-mdns", *options,
        log=folder / "log",
    )  # fmt: skip
    try:
        yield RunningPeer(child, folder, child.line())
    finally:
        child.stop()


def wait_until_offered(peer: RunningPeer, games: set[str], timeout_s: float = 120.0) -> None:
    """Until the peer sees these games with all digests known, so that only the transfer counts."""
    deadline = time.monotonic() + timeout_s
    offered: set[str] = set()
    while not games <= offered:
        if time.monotonic() > deadline:
            raise SystemExit(f"not offered in time: {sorted(games - offered)}")
        time.sleep(0.2)
        offered = {one["id"] for one in peer.ask("games") if one["peers"] and one["content_hash"]}


def fetch_game(source: RunningPeer, target: RunningPeer, game_id: str) -> Result:
    """`lanspread get`, timed from its begin to its finished event."""
    before = source.child.cpu_s(), target.child.cpu_s()
    getting = subprocess.run(
        [sys.executable, "-m", "lanspread", "get", game_id, "--json", "--state", target.state],
        capture_output=True,
        text=True,
        check=False,
    )
    events = {event["type"]: event for event in map(json.loads, getting.stdout.splitlines())}
    if getting.returncode or "download.finished" not in events:
        raise SystemExit(f"get {game_id} failed: {getting.stdout}{getting.stderr}")
    begin, finished = events["download.begin"], events["download.finished"]
    return Result(
        total_bytes=finished["data"]["bytes_fetched"],
        seconds=(_time(finished) - _time(begin)).total_seconds(),
        sender_cpu_s=source.child.cpu_s() - before[0],
        receiver_cpu_s=target.child.cpu_s() - before[1],
        sender_peak_mib=source.child.peak_mib(),
        receiver_peak_mib=target.child.peak_mib(),
    )


def _time(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])
