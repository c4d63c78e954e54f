"""Syncthing: two instances that know only each other, over TCP with TLS 1.3 or over QUIC.

The source has scanned its folder before. The receiver is new each time, is connected, and its
folder is paused; the clock runs from the moment it is let go until everything is there. It syncs
each file and folder itself, as it does by default.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from benchmarks.memory import bring_in
from benchmarks.processes import Result, cpu_s, forget_peak, peak_mib, stop
from benchmarks.tools.tool import free_port

FOLDER = "bench"
START_S = 60.0
SYNC_S = 600.0
OPTIONS = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "stunKeepaliveStartS": "0",
    "urAccepted": "-1",
    "crashReportingEnabled": "false",
    "autoUpgradeIntervalH": "0",
    "startBrowser": "false",
    # It would be nicer than the tools it is compared with.
    "setLowPriority": "false",
}


@attrs.frozen
class Home:
    """A state folder with keys; `address` is what others dial."""

    folder: Path
    device: str
    address: str
    api_port: int

    @property
    def api_key(self) -> str:
        return "bench"


def make_home(folder: Path, protocol: str) -> Home:
    """Let Syncthing make keys and a configuration; nothing of it is running yet."""
    subprocess.run(
        ["syncthing", "generate", "--home", str(folder), "--no-default-folder"],
        check=True,
        capture_output=True,
        env=_environment(),
    )
    config = ElementTree.parse(folder / "config.xml").getroot()
    device = config.find("device")
    assert device is not None
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    address = f"{protocol}://127.0.0.1:{free_port(kind)}"
    return Home(folder, device.attrib["id"], address, free_port())


def configure(home: Home, shared: Path, other: Home, *, dials: bool, paused: bool) -> None:
    """Write its whole configuration: one folder, one other device, and no one else to talk to."""
    file = home.folder / "config.xml"
    tree = ElementTree.parse(file)
    config = tree.getroot()
    _set(config, "options", {**OPTIONS, "listenAddress": home.address})
    _set(config, "gui", {"address": f"127.0.0.1:{home.api_port}", "apikey": home.api_key})
    for old in config.findall("folder"):
        config.remove(old)
    device = ElementTree.SubElement(config, "device", id=other.device, name="other")
    ElementTree.SubElement(device, "address").text = other.address if dials else "dynamic"
    folder = ElementTree.SubElement(config, "folder", id=FOLDER, label=FOLDER, path=str(shared))
    for one in (home.device, other.device):
        ElementTree.SubElement(folder, "device", id=one)
    ElementTree.SubElement(folder, "paused").text = "true" if paused else "false"
    # The mark by which Syncthing knows that the folder is not just an empty place to mount on.
    (shared / ".stfolder").mkdir(parents=True, exist_ok=True)
    tree.write(file)


def _set(config: ElementTree.Element, section: str, values: Mapping[str, str]) -> None:
    above = config.find(section)
    assert above is not None
    for name, value in values.items():
        found = above.find(name)
        if found is None:
            found = ElementTree.SubElement(above, name)
        found.text = value


def _environment() -> dict[str, str]:
    return {**os.environ, "STNOUPGRADE": "1", "STNODEFAULTFOLDER": "1"}


class Instance:
    """A running Syncthing."""

    def __init__(self, home: Home) -> None:
        self._home = home
        with (home.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                ["syncthing", "serve", "--home", str(home.folder), "--no-browser", "--no-restart"],
                stdout=log,
                stderr=log,
                env=_environment(),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, path: str, change: Mapping[str, object] | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._home.api_port}/rest/{path}",
            data=None if change is None else json.dumps(change).encode(),
            method="GET" if change is None else "PATCH",
            headers={"X-API-Key": self._home.api_key},
        )
        with urllib.request.urlopen(request, timeout=SYNC_S) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def wait_ready(self, files: int | None, other: Home | None) -> None:
        """Until the API answers, so many files are scanned, and it is connected."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                status = self.ask(f"db/status?folder={FOLDER}") if files is not None else {}
                links = self.ask("system/connections")["connections"]
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
                continue
            scanned = files is None or (status["state"] == "idle" and status["localFiles"] == files)
            if scanned and (other is None or links.get(other.device, {}).get("connected")):
                return
            time.sleep(0.05)
        raise SystemExit(f"Syncthing was not ready in time: see {self._home.folder / 'log'}")

    def synchronise(self, files: int) -> None:
        """Let the folder go and wait until it is complete and idle."""
        last = max((event["id"] for event in self.ask("events?limit=1&timeout=0")), default=0)
        self.ask(f"config/folders/{FOLDER}", {"paused": False})
        deadline = time.monotonic() + SYNC_S
        while time.monotonic() < deadline:
            for event in self.ask(f"events?since={last}&events=StateChanged&timeout=1"):
                last = event["id"]
                if event["data"]["folder"] != FOLDER or event["data"]["to"] != "idle":
                    continue
                status = self.ask(f"db/status?folder={FOLDER}")
                if status["localFiles"] == files and not status["needTotalItems"]:
                    return
        raise SystemExit(f"Syncthing did not finish: see {self._home.folder / 'log'}")

    def stop(self) -> None:
        stop(self.process)


@attrs.frozen
class Syncthing:
    source: Instance
    source_home: Home
    target_home: Home
    files: int
    total_bytes: int

    def fetch(self, target: Path) -> Result:
        shared = self.arrived_at(target)
        # The key stays the same, so that the source knows it; all else is new.
        home = attrs.evolve(self.target_home, folder=target / "home")
        shutil.copytree(self.target_home.folder, home.folder)
        configure(home, shared, self.source_home, dials=True, paused=True)
        receiver = Instance(home)
        try:
            receiver.wait_ready(None, self.source_home)
            for pid in (self.source.pid, receiver.pid):
                forget_peak(pid)
            bring_in(self.total_bytes)
            before = cpu_s(self.source.pid), cpu_s(receiver.pid)
            began = time.monotonic()
            receiver.synchronise(self.files)
            seconds = time.monotonic() - began
            return Result(
                total_bytes=self.total_bytes,
                seconds=seconds,
                sender_cpu_s=cpu_s(self.source.pid) - before[0],
                receiver_cpu_s=cpu_s(receiver.pid) - before[1],
                sender_peak_mib=peak_mib(self.source.pid),
                receiver_peak_mib=peak_mib(receiver.pid),
            )
        finally:
            receiver.stop()

    def arrived_at(self, target: Path) -> Path:
        return target / "shared"


@contextmanager
def syncthing(
    folder: Path, source: Path, files: int, total_bytes: int, protocol: str
) -> Iterator[Syncthing]:
    """`protocol` is `tcp` or `quic`; `source` gets the mark that Syncthing wants, and keeps it."""
    source_home = make_home(folder / "source", protocol)
    target_home = make_home(folder / "target", protocol)
    configure(source_home, source, target_home, dials=False, paused=False)
    instance = Instance(source_home)
    try:
        instance.wait_ready(files, None)
        yield Syncthing(instance, source_home, target_home, files, total_bytes)
    finally:
        instance.stop()
