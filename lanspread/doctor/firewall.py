"""Hints on firewalls: what is there as far as anybody may see, and what to allow, by platform.

What a firewall lets through can be read by the administrator alone, so these are notes; whether
something is blocked is found out by trying (`multicast`, `way`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import attrs

from lanspread import limits
from lanspread.doctor.findings import Finding, note, ok

CHECK = "firewall"
ALLOW_MDNS = "let the firewall pass UDP 5353 to and from 224.0.0.251 and ff02::fb (mDNS)"
_CONFIG_BYTES = 64 * limits.KIB

# Where a service leaves traces while it runs.
_TRACES = {
    "firewalld": ("/run/firewalld.pid", "/sys/fs/cgroup/system.slice/firewalld.service"),
    "nftables": ("/sys/fs/cgroup/system.slice/nftables.service", "/etc/nftables.conf"),
    "iptables": ("/etc/iptables/rules.v4", "/etc/sysconfig/iptables"),
}
_MAC = (
    "in System Settings, Network, Firewall, Options: allow incoming connections to Python; in "
    "Privacy & Security, Local Network: allow the terminal that runs lanspread"
)


def _all(ports: Sequence[int]) -> str:
    numbers = ", ".join(map(str, ports))
    return f"UDP {numbers} (peers), UDP 5353 (mDNS) and TCP {numbers} (games, faster than by UDP)"


def _remedy(name: str, ports: Sequence[int]) -> str:
    """The commands that let lanspread through a firewall."""
    spaced, joined = ", ".join(map(str, ports)), ",".join(map(str, ports))
    match name:
        case "ufw":
            # Without a protocol it is both.
            return " and ".join(f"`sudo ufw allow {port}`" for port in (*ports, "5353/udp"))
        case "firewalld":
            added = " ".join(f"--add-port={port}/udp --add-port={port}/tcp" for port in ports)
            return (
                f"`sudo firewall-cmd --permanent {added} --add-service=mdns` and "
                "`sudo firewall-cmd --reload`"
            )
        case "nftables":
            tcp = spaced if len(ports) == 1 else f"{{ {spaced} }}"
            return (
                f"accept `udp dport {{ {spaced}, 5353 }}` and `tcp dport {tcp}` in the input chain "
                "(`sudo nft list ruleset` shows it)"
            )
        case _:
            return (
                f"`sudo iptables -I INPUT -p udp -m multiport --dports {joined},5353 -j ACCEPT` "
                f"and `sudo iptables -I INPUT -p tcp -m multiport --dports {joined} -j ACCEPT`"
            )


def _windows(ports: Sequence[int]) -> str:
    joined = ",".join(map(str, ports))
    return (
        "allow lanspread (python.exe) in Windows Defender Firewall for private networks, and see "
        "that this network is a private one; or as administrator: `netsh advfirewall firewall add "
        f"rule name=lanspread dir=in action=allow protocol=UDP localport={joined},5353`, and the "
        f"same with protocol=TCP localport={joined}"
    )


@attrs.frozen
class Firewalls:
    """The platform as `sys.platform` says it, and what was seen of firewalls on Linux."""

    platform: str
    seen: tuple[str, ...] = ()


def look_at_firewalls() -> Firewalls:
    """Look for traces that everybody may read. Blocks for a moment."""
    if sys.platform != "linux":
        return Firewalls(sys.platform)
    seen = [name for name, traces in _TRACES.items() if any(map(os.path.exists, traces))]
    return Firewalls(sys.platform, tuple((["ufw"] if _ufw_is_on() else []) + seen))


def _ufw_is_on() -> bool:
    try:
        with open("/etc/ufw/ufw.conf", encoding="utf-8", errors="replace") as file:
            return says_enabled(file.read(_CONFIG_BYTES))
    except OSError:
        return False


def says_enabled(config: str) -> bool:
    """Whether ufw.conf switches it on."""
    lines = [line.strip().lower().replace(" ", "") for line in config.splitlines()]
    return "enabled=yes" in lines


def judge_firewalls(
    found: Firewalls, ports: Sequence[int] = (limits.DEFAULT_PORT,)
) -> list[Finding]:
    """`ports` are those that others reach this peer at."""
    passed = _all(ports)
    if found.platform == "win32":
        message = f"Windows has a firewall; it must pass {passed}"
        return [note(CHECK, "firewall_windows", message, _windows(ports))]
    if found.platform == "darwin":
        return [note(CHECK, "firewall_mac", f"macOS has a firewall; it must pass {passed}", _MAC)]
    if not found.seen:
        message = f"no firewall is seen without root; if there is one: {passed}"
        return [ok(CHECK, "firewall", message)]
    # ufw and firewalld write the rules of the others.
    shown = [name for name in found.seen if name in ("ufw", "firewalld")] or list(found.seen)
    return [
        note(
            CHECK,
            f"firewall_{name}",
            f"{name} is set up here; it must pass {passed}",
            f"unless that is done: {_remedy(name, ports)}",
        )
        for name in shown
    ]
