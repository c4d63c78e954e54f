"""The machine and the versions that a result depends on; nothing that names whose it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.folders import file_system

PACKAGES = ("aioquic", "qh3", "trio", "blake3", "cryptography")
TOOLS = {
    "syncthing": ["syncthing", "serve", "--version"],
    "rsync": ["rsync", "--version"],
    "nginx": ["nginx", "-v"],
    "curl": ["curl", "--version"],
    "cp": ["cp", "--version"],
}


def describe(places: Mapping[str, Path]) -> dict[str, str]:
    """What is printed and kept beside every result. `places` are folders by what they are for."""
    return {
        "cores": str(os.cpu_count()),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "memory": f"{memory_gib(Path('/proc/meminfo').read_text()):.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        **{f"file system, {name}": file_system(path) for name, path in places.items()},
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        **{f"package {name}": version for name in PACKAGES if (version := _version_of(name))},
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }


def describe_tools(torrent_python: Path) -> dict[str, str]:
    """The versions of what we are compared with."""
    found = {name: first_line(_output_of(command)) for name, command in TOOLS.items()}
    command = [str(torrent_python), "-c", "import libtorrent; print(libtorrent.__version__)"]
    found["libtorrent"] = first_line(_output_of(command))
    return found


def cpu_model(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gib(meminfo: str) -> float:
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 1024 / 1024
    raise ValueError("no MemTotal")


def first_line(text: str) -> str:
    """Of a program's version: the first line, without what it says of who built it and when."""
    return (text.splitlines() or ["not installed"])[0].partition(" (")[0].strip()[:60]


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output_of(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout or done.stderr
