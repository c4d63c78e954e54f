"""One peer of the demo: a real `lanspread run` process and a client of its API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from lanspread.cli.client import Client, Endpoint, open_endpoint
from lanspread.config import ENVIRONMENT_PREFIX

READY_S = 30.0
END_S = 5.0
_MAX_LINE_BYTES = 64 * 1024


class DemoPeer:
    """A peer that was started; `wait_ready` fills in the rest."""

    def __init__(self, name: str, state: Path, process: trio.Process) -> None:
        self.name = name
        self._state = state
        self._process = process
        self.peer_id = ""
        self.api_url = ""
        self.listen: tuple[str, ...] = ()
        self.client: Client

    async def wait_ready(self, stack: AsyncExitStack) -> None:
        """Wait for its ready line and connect to its API. Raises `RuntimeError`."""
        assert self._process.stdout is not None
        received = b""
        try:
            with trio.fail_after(READY_S):
                while b"\n" not in received and len(received) < _MAX_LINE_BYTES:
                    data = await self._process.stdout.receive_some()
                    if not data:
                        raise RuntimeError(f"{self.name} ended before it was ready")
                    received += data
        except trio.TooSlowError:
            raise RuntimeError(f"{self.name} was not ready after {READY_S:.0f} s") from None
        ready = json.loads(received)
        self.peer_id, self.api_url = ready["peer_id"], ready["api_url"]
        self.listen = tuple(ready["listen"])
        endpoint = Endpoint(api_url=self.api_url, token=ready["token"], pid=self._process.pid)
        self.client = await stack.enter_async_context(open_endpoint(endpoint, str(self._state)))

    async def shut_down(self) -> int | None:
        """Ask it to end; returns its exit code, None if it did not end in time."""
        await self.client.call("shutdown")
        with trio.move_on_after(END_S):
            return await self._process.wait()
        return None


@asynccontextmanager
async def open_demo_peer(name: str, games: Path, state: Path, log: Path) -> AsyncIterator[DemoPeer]:
    """Start a peer on loopback; the process has ended when the block is left, whatever happens."""
    # fmt: off
    command = [
        sys.executable, "-m", "lanspread", "run", "--games", str(games), "--state", str(state),
        "--name", name, "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0",
        "--interface", "127.0.0.1",
    ]
    # fmt: on
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENVIRONMENT_PREFIX) or name == "LANSPREAD_DEBUG"
    }
    with log.open("wb") as errors:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
    try:
        yield DemoPeer(name, state, process)
    finally:
        with trio.CancelScope(deadline=trio.current_time() + END_S, shield=True):
            if process.returncode is None:
                process.terminate()
            await process.wait()
        if process.returncode is None:
            process.kill()
        if process.stdout is not None:
            await process.stdout.aclose()
