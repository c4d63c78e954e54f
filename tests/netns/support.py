"""Hosts in network namespaces on a bridge: real kernels' networks, real multicast, no leak.

The bridge has a namespace of its own, so nothing of it is to be seen on the machine itself. Every
name carries the process id; what an earlier run left behind when it was killed is removed first.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

_PREFIX = "lsp"


class NoNamespaces(Exception):
    """This machine lets us make no network namespaces; the text says why."""


def ip(*arguments: str) -> str:
    """Run `ip`. Raises `NoNamespaces` if it is missing or refused."""
    try:
        done = subprocess.run(
            ["ip", *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except FileNotFoundError:
        raise NoNamespaces("the command ip (package iproute2) is missing") from None
    if done.returncode:
        raise NoNamespaces(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


# What `Host.popen` started and nobody has seen to the end yet.
_started: list[subprocess.Popen[str]] = []


@contextmanager
def ending_what_starts() -> Iterator[None]:
    """Every process that was started on a host inside the block is over when it is left.

    So that a test which fails in the middle leaves nothing behind for the next.
    """
    before = len(_started)
    try:
        yield
    finally:
        for process in _started[before:]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    # A thread that reads it sees its end now, and lets go of it.
                    pipe.close()
        del _started[before:]


@attrs.frozen
class Host:
    """One namespace with an `eth0` on the bridge."""

    namespace: str
    address: str

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program on this host; its standard output is a text pipe by default."""
        options.setdefault("stdout", subprocess.PIPE)
        # A session of its own, so that `kill` reaches what `ip netns exec` became.
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command],
            text=True,
            start_new_session=True,
            **options,
        )
        _started.append(process)
        return process

    def run(self, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a program on this host to its end."""
        return subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def link(self, state: str) -> None:
        """`down` pulls the cable, `up` plugs it in."""
        ip("-n", self.namespace, "link", "set", "eth0", state)


@contextmanager
def bridged_hosts(count: int) -> Iterator[list[Host]]:
    """`count` hosts, 10.77.0.1 and up, on one bridge, for as long as the block lasts.

    Leaving ends every process in them, whatever happened.
    """
    _remove_leftovers()
    tag = f"{_PREFIX}{os.getpid()}"
    bridge = f"{tag}-br"
    names = [f"{tag}-{number}" for number in range(1, count + 1)]
    try:
        ip("netns", "add", bridge)
        ip("-n", bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", bridge, "link", "set", "br0", "up")
        hosts = [_add_host(bridge, name, number) for number, name in enumerate(names, 1)]
        yield hosts
    finally:
        for name in (*names, bridge):
            _remove(name)


def _add_host(bridge: str, name: str, number: int) -> Host:
    address = f"10.77.0.{number}"
    port = f"port{number}"
    ip("netns", "add", name)
    ip("-n", bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("-n", bridge, "link", "set", port, "master", "br0", "up")
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")
    ip("-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0")
    return Host(name, address)


def _remove(name: str) -> None:
    """End everything in a namespace that we made, and the namespace."""
    try:
        for pid in ip("netns", "pids", name).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        ip("netns", "del", name)
    except NoNamespaces:
        pass  # it was never made


def _remove_leftovers() -> None:
    """Namespaces whose test run is dead; those of a run that lives are its own."""
    for line in ip("netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        owner = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(name)


def hosts_or_say_why(count: int) -> Iterator[list[Host]]:
    """For a fixture: the hosts, or a loud skip; in continuous integration a failure."""
    made = False
    try:
        with bridged_hosts(count) as hosts:
            made = True
            yield hosts
    except NoNamespaces as error:
        if made:
            raise
        if os.environ.get("CI"):
            pytest.fail(f"no network namespaces here: {error}")
        pytest.skip(f"NOT TESTED, no network namespaces here: {error}")


# -- lanspread in them -----------------------------------------------------------------------------


@attrs.define
class RunningPeer:
    """A `lanspread run` process on a host, and the folders it uses."""

    host: Host
    folder: Path
    program: Sequence[str]
    name: str
    process: subprocess.Popen[str] | None = None
    ready: dict[str, Any] = attrs.field(factory=dict)

    @property
    def games(self) -> Path:
        return self.folder / "games"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *options: str, timeout_s: float = 20.0) -> None:
        """Start the peer and wait for its ready line."""
        self.games.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("a") as log:
            self.process = self.host.popen(
                *self.program, "run", "--games", str(self.games), "--state", str(self.state),
                "--name", self.name, *options, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        os.set_blocking(self.process.stdout.fileno(), False)
        line = ""
        while not line.endswith("\n"):
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None, self.log()
            line += self.process.stdout.readline() or ""
            time.sleep(0.02)
        self.ready = json.loads(line)

    def log(self) -> str:
        return (self.folder / "log").read_text()[-4_000:]

    def ask(self, *command: str, timeout_s: float = 60.0) -> Any:
        """A command's `--json` answer."""
        done = self.host.run(
            *self.program, *command, "--json", "--state", str(self.state), timeout_s=timeout_s
        )
        assert done.returncode == 0, done.stderr + self.log()
        return json.loads(done.stdout)

    def get(self, game_id: str) -> subprocess.Popen[str]:
        """Start `lanspread get --json`."""
        return self.host.popen(*self.program, "get", game_id, "--json", "--state", str(self.state))

    def kill(self) -> None:
        """`kill -9`: nothing is said to anyone."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._close_output()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)
        code = self.process.wait(10)
        self._close_output()
        return code

    def _close_output(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


def make_game(games: Path, name: str, files: dict[str, bytes], version: str = "20240101") -> Path:
    """A game that is ready to be served."""
    folder = games / name
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (folder / "version.ini").write_text(f"{version}\n")
    return folder


def copy_game(game: Path, games: Path) -> None:
    """The same game for another peer, with the same bytes."""
    shutil.copytree(game, games / game.name)


def tree_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a game but our own bookkeeping, to compare trees."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".lanspread")
    }
