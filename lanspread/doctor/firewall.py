"""Hints on firewalls: what is there as far as anybody may see, and what to allow, by platform.

What a firewall lets through can be read by the administrator alone, so these are notes; whether
something is blocked is found out by trying (`multicast`, `way`).
"""

from __future__ import annotations

import os
import sys

import attrs

from lanspread import limits
from lanspread.doctor.findings import Finding, note, ok

CHECK = "firewall"
PEERS = f"UDP {limits.DEFAULT_PORT} (peers)"
ALLOW_MDNS = "let the firewall pass UDP 5353 to and from 224.0.0.251 and ff02::fb (mDNS)"
_ALL = f"{PEERS}, UDP 5353 (mDNS) and TCP {limits.DEFAULT_PORT} (games, faster than by UDP)"
_CONFIG_BYTES = 64 * limits.KIB

# Where a service leaves traces while it runs, and the commands that let lanspread through it.
_TRACES = {
    "firewalld": ("/run/firewalld.pid", "/sys/fs/cgroup/system.slice/firewalld.service"),
    "nftables": ("/sys/fs/cgroup/system.slice/nftables.service", "/etc/nftables.conf"),
    "iptables": ("/etc/iptables/rules.v4", "/etc/sysconfig/iptables"),
}
_REMEDIES = {
    # Without a protocol it is both.
    "ufw": f"`sudo ufw allow {limits.DEFAULT_PORT}` and `sudo ufw allow 5353/udp`",
    "firewalld": (
        f"`sudo firewall-cmd --permanent --add-port={limits.DEFAULT_PORT}/udp "
        f"--add-port={limits.DEFAULT_PORT}/tcp --add-service=mdns` and `sudo firewall-cmd --reload`"
    ),
    "nftables": (
        f"accept `udp dport {{ {limits.DEFAULT_PORT}, 5353 }}` and "
        f"`tcp dport {limits.DEFAULT_PORT}` in the input chain (`sudo nft list ruleset` shows it)"
    ),
    "iptables": (
        f"`sudo iptables -I INPUT -p udp -m multiport --dports {limits.DEFAULT_PORT},5353 "
        f"-j ACCEPT` and `sudo iptables -I INPUT -p tcp --dport {limits.DEFAULT_PORT} -j ACCEPT`"
    ),
}
_WINDOWS = (
    "allow lanspread (python.exe) in Windows Defender Firewall for private networks, and see that "
    f"this network is a private one; or as administrator: `netsh advfirewall firewall add rule "
    f"name=lanspread dir=in action=allow protocol=UDP localport={limits.DEFAULT_PORT},5353`, and "
    f"the same with protocol=TCP localport={limits.DEFAULT_PORT}"
)
_MAC = (
    "in System Settings, Network, Firewall, Options: allow incoming connections to Python; in "
    "Privacy & Security, Local Network: allow the terminal that runs lanspread"
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


def judge_firewalls(found: Firewalls) -> list[Finding]:
    if found.platform == "win32":
        return [
            note(CHECK, "firewall_windows", f"Windows has a firewall; it must pass {_ALL}",
                 _WINDOWS)
        ]  # fmt: skip
    if found.platform == "darwin":
        return [note(CHECK, "firewall_mac", f"macOS has a firewall; it must pass {_ALL}", _MAC)]
    if not found.seen:
        return [ok(CHECK, "firewall", f"no firewall is seen without root; if there is one: {_ALL}")]
    # ufw and firewalld write the rules of the others.
    shown = [name for name in found.seen if name in ("ufw", "firewalld")] or list(found.seen)
    return [
        note(
            CHECK,
            f"firewall_{name}",
            f"{name} is set up here; it must pass {_ALL}",
            f"unless that is done: {_REMEDIES[name]}",
        )
        for name in shown
    ]
