"""Versions: of Python, of lanspread, of the libraries that it cannot work without."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping

import attrs

import lanspread
from lanspread.doctor.findings import Finding, fault, ok

CHECK = "versions"
OLDEST_PYTHON = (3, 11)
# Lowest version needed, and the first that is too new: the engine's adapter uses what is private in
# aioquic (lanspread.transport.engine), the others promise to stay as they are.
LIBRARIES: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "aioquic": ((1, 7, 2), (2,)),
    "trio": ((0, 31), ()),
    "zeroconf": ((0, 154), ()),
    "cryptography": ((45,), ()),
    "cbor2": ((5, 6), ()),
    "blake3": ((1, 0, 5), ()),
    "watchfiles": ((1, 1), ()),
    "trio-websocket": ((0, 12, 2), ()),
}
_REMEDY = "set lanspread up again: `make setup`, or reinstall it with pip"


@attrs.frozen
class Versions:
    """`libraries` has None where a library is missing."""

    python: tuple[int, int, int]
    system: str
    lanspread: str
    libraries: Mapping[str, str | None]


def look_at_versions() -> Versions:
    """Read what is installed."""
    return Versions(
        (sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        f"{platform.system()} {platform.release()}",
        lanspread.__version__,
        {name: _installed(name) for name in LIBRARIES},
    )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def judge_versions(found: Versions) -> list[Finding]:
    python = ".".join(map(str, found.python))
    findings = []
    if found.python < OLDEST_PYTHON:
        findings.append(
            fault(CHECK, "python_old", f"Python {python} is too old", "use Python 3.11 or newer")
        )
    for name, version in found.libraries.items():
        lowest, too_new = LIBRARIES[name]
        if version is None:
            findings.append(fault(CHECK, "library_missing", f"{name} is missing", _REMEDY))
        elif numbers(version) < lowest or (too_new and numbers(version) >= too_new):
            findings.append(
                fault(CHECK, "library_unfit", f"{name} {version} does not fit", _REMEDY)
            )
    if findings:
        return findings
    libraries = ", ".join(f"{name} {version}" for name, version in found.libraries.items())
    return [
        ok(
            CHECK,
            "versions",
            f"lanspread {found.lanspread}, Python {python}, {found.system}; {libraries}",
        )
    ]


def numbers(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: (1, 7, 2) of "1.7.2.post1"."""
    found = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        found.append(int(digits))
    return tuple(found)
