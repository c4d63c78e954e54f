"""A whole `lanspread run` of this clone, and its API as a front-end uses it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from websockets.sync.client import connect

from benchmarks.processes import Child

WAIT_S = 900.0
# Loopback would carry packets of 64 KiB, and Ethernet does not: it carries these.
PAYLOAD_VARIABLE, PAYLOAD_BYTES = "LANSPREAD_QUIC_PAYLOAD", 1_472
# Of the last minute.
LOOP_LAG = "lanspread_loop_lag_p99_seconds"
# Of whole chunks; a path is `quic` or `bulk`.
FETCHED = 'lanspread_fetched_bytes_total{{path="{}"}}'


@attrs.define
class RunningPeer:
    """A `lanspread run` on loopback, without mDNS."""

    child: Child
    folder: Path
    ready: dict[str, Any]

    @property
    def state(self) -> str:
        return str(self.folder / "state")

    @property
    def games(self) -> Path:
        return self.folder / "games"

    @property
    def address(self) -> str:
        """Where other peers find it, `HOST:PORT`."""
        return str(self.ready["listen"][0])

    def metrics(self) -> dict[str, float]:
        """Its gauges and counters, by name and labels as they are written."""
        request = urllib.request.Request(
            self.ready["api_url"] + "/metrics",
            headers={"Authorization": f"Bearer {self.ready['token']}"},
        )
        with urllib.request.urlopen(request) as answer:
            return gauges(answer.read().decode())

    def fetched_bytes(self) -> dict[str, float]:
        """What it has fetched so far, by path."""
        found = self.metrics()
        return {path: found[FETCHED.format(path)] for path in ("quic", "bulk")}


def gauges(text: str) -> dict[str, float]:
    """Prometheus' text format; a name is with its labels."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            found[name] = float(value)
    return found


@contextmanager
def running_peer(folder: Path, *options: str, listen: str = "127.0.0.1:0") -> Iterator[RunningPeer]:
    peer = start_peer(folder, options, listen)
    try:
        yield peer
    finally:
        peer.child.stop()


def start_peer(
    folder: Path, options: Sequence[str] = (), listen: str = "127.0.0.1:0"
) -> RunningPeer:
    """Start one and wait until it is ready; who calls this stops its child."""
    for name in ("games", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    child = Child(
        "lanspread", "run", "--games", str(folder / "games"), "--state", str(folder / "state"),
        "--listen", listen, "--api", "127.0.0.1:0", "--no-mdns", *options,
        log=folder / "log", variables={PAYLOAD_VARIABLE: str(PAYLOAD_BYTES)},
    )  # fmt: skip
    try:
        return RunningPeer(child, folder, child.line())
    except BaseException:
        child.stop()
        raise


class Calls:
    """One connection to a peer's API: calls, and events once subscribed."""

    def __init__(self, peer: RunningPeer) -> None:
        self._socket = connect(
            peer.ready["api_url"].replace("http", "ws", 1) + "/ws",
            additional_headers={"Authorization": f"Bearer {peer.ready['token']}"},
            max_size=None,
            proxy=None,
        )
        self._last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def call(self, method: str, **parameters: object) -> Any:
        """The result of a call; events that come before it are dropped."""
        self._last_id += 1
        request = {
            "jsonrpc": "2.0",
            "id": self._last_id,
            "method": method,
            "params": parameters,
        }
        self._socket.send(json.dumps(request))
        while True:
            frame = self._frame()
            if frame.get("id") == self._last_id:
                if "error" in frame:
                    raise SystemExit(f"{method}: {frame['error']}")
                return frame["result"]

    def event(self) -> dict[str, Any]:
        """The next event."""
        while True:
            frame = self._frame()
            if frame.get("method") == "event":
                found: dict[str, Any] = frame["params"]
                return found

    def _frame(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._socket.recv(timeout=WAIT_S))
        return found


def wait_until_offered(
    peer: RunningPeer, games: set[str], timeout_s: float = 300.0, sources: int = 1
) -> None:
    """Until the peer sees these games at `sources` others with all digests known.

    So only the transfer counts.
    """
    deadline = time.monotonic() + timeout_s
    with Calls(peer) as calls:
        while True:
            offered = {
                one["id"]
                for one in calls.call("games.list")
                if len(one["peers"]) >= sources and one["content_hash"]
            }
            if games <= offered:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"not offered in time: {sorted(games - offered)}")
            time.sleep(0.1)
