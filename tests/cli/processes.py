"""Real peers in real processes, for the tests of the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOOPBACK = ("--listen", "127.0.0.1:0", "--interface", "127.0.0.1", "--api", "127.0.0.1:0")


class Peer:
    """A `lanspread run` that has started: on loopback, on free ports unless given others.

    `program` is what Python is to run in its place.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        mdns: bool = False,
        program: Sequence[str] = ("-m", "lanspread"),
        **options: Any,
    ) -> None:
        self.state = folder / "state"
        self.games = folder / "games"
        self.address = ""
        self.games.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, *program, "run", "--games", str(self.games),
             "--state", str(self.state), *LOOPBACK,
             *(() if mdns else ("--no-mdns",)), *arguments],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        value: dict[str, Any] = json.loads(line)
        return value

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float, str, str]:
        """Exit code, seconds, the rest of stdout, stderr."""
        started = time.monotonic()
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - started, out or "", err

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def command(peer: Peer, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lanspread", *arguments, "--state", str(peer.state)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
