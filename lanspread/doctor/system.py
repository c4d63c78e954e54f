"""What the system gives a peer: UDP buffers, offload, open files, watches, the clock."""

from __future__ import annotations

import socket
import sys
from datetime import datetime

import attrs

from lanspread import limits
from lanspread.doctor.findings import Finding, note, ok, warning
from lanspread.transport import udp

_WELL_BUFFERED_BYTES = limits.MIB
_FEW_FILES = 512
_FILES_A_PEER_NEEDS = 1_024
# Other programs watch folders too.
_SHARE_OF_WATCHES = 0.8
_OLDEST_YEAR = 2024
_NEWEST_YEAR = 2099
_JUMP_S = 1.0


# -- UDP -------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Udp:
    """The buffers that a peer's socket gets, in bytes, and what it has of offload."""

    receive_bytes: int
    send_bytes: int
    sends_offloaded: bool
    receives_offloaded: bool


def look_at_udp() -> Udp:
    """Open a socket as a peer does, bind it nowhere, and ask what it got."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        udp.grow_buffers(sock)
        received = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        sent = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        sends, receives = udp.offloads(sock)
    # Linux counts its own bookkeeping: it says twice what was asked for (socket(7)).
    doubled = 2 if sys.platform == "linux" else 1
    return Udp(
        receive_bytes=received // doubled,
        send_bytes=sent // doubled,
        sends_offloaded=sends,
        receives_offloaded=receives,
    )


def judge_udp(found: Udp, platform: str = sys.platform) -> list[Finding]:
    got = f"{_kib(found.receive_bytes)} to receive, {_kib(found.send_bytes)} to send"
    if min(found.receive_bytes, found.send_bytes) >= _WELL_BUFFERED_BYTES:
        findings = [ok("buffers", "udp_buffers", f"UDP buffers: {got}")]
    else:
        wanted = udp.SOCKET_BUFFER_BYTES
        findings = [
            warning(
                "buffers",
                "udp_buffers_small",
                f"UDP buffers are small ({got}): fast transfers lose packets",
                f"`sudo sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}`, and the "
                "same in /etc/sysctl.d to keep it"
                if platform == "linux"
                else f"raise the system's limit of socket buffers to {wanted} bytes (macOS, BSD: "
                f"`sudo sysctl -w kern.ipc.maxsockbuf={2 * wanted}`)",
            )
        ]
    return findings + _judge_offload(found, platform)


def _judge_offload(found: Udp, platform: str) -> list[Finding]:
    if found.sends_offloaded and found.receives_offloaded:
        return [ok("offload", "offload", "UDP segmentation offload works (GSO and GRO)")]
    if platform != "linux":
        return [ok("offload", "offload_none", "this system has no UDP segmentation offload")]
    missing = " and ".join(
        name
        for name, there in (("GSO", found.sends_offloaded), ("GRO", found.receives_offloaded))
        if not there
    )
    return [
        note(
            "offload",
            "offload_missing",
            f"the kernel has no UDP {missing}: transfers cost more of the processor",
            "a kernel from 5.0 on has both",
        )
    ]


# -- open files, watches ---------------------------------------------------------------------------


def open_file_limit() -> int | None:
    """How many files this user's programs may have open; None: the system sets no such limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def judge_open_files(limit: int | None) -> list[Finding]:
    if limit is None or limit >= _FEW_FILES:
        return [ok("files", "open_files", f"open files: {limit or 'no limit'}")]
    return [
        warning(
            "files",
            "open_files_few",
            f"at most {limit} files may be open at once: with many peers and front-ends that is "
            "too few",
            f"`ulimit -n {_FILES_A_PEER_NEEDS}` before `lanspread run`, or LimitNOFILE= in its "
            "service",
        )
    ]


@attrs.frozen
class WatchLimits:
    """inotify's limits for this user; None where there are none or they cannot be read."""

    watches: int | None
    instances: int | None


def look_at_watches() -> WatchLimits:
    return WatchLimits(
        _number_in("/proc/sys/fs/inotify/max_user_watches"),
        _number_in("/proc/sys/fs/inotify/max_user_instances"),
    )


def judge_watches(found: WatchLimits, game_folders: int) -> list[Finding]:
    """A peer watches the games folder and each game's, not deeper."""
    needed = game_folders + 1
    if found.instances is not None and found.instances < 1:
        return [
            warning(
                "watches",
                "no_watches",
                "no folders can be watched: changes in the games folder are found late",
                "`sudo sysctl -w fs.inotify.max_user_instances=128`",
            )
        ]
    if found.watches is None:
        return [ok("watches", "watches", "this system sets no limit of watched folders")]
    if needed > found.watches * _SHARE_OF_WATCHES:
        return [
            warning(
                "watches",
                "watches_few",
                f"{needed} folders are to be watched, and at most {found.watches} can be by all "
                "programs together: changes in the games folder may be found late",
                f"`sudo sysctl -w fs.inotify.max_user_watches={max(4 * needed, 65_536)}`, and the "
                "same in /etc/sysctl.d to keep it",
            )
        ]
    return [ok("watches", "watches", f"folders to watch: {needed} of {found.watches} allowed")]


# -- the clock -------------------------------------------------------------------------------------


def judge_clock(now: datetime, wall_s: float, steady_s: float) -> list[Finding]:
    """`wall_s` and `steady_s` are what passed meanwhile by the wall clock, and truly."""
    remedy = "set the date, and let the system keep it (NTP)"
    shown = f"{now:%Y-%m-%d %H:%M} UTC"
    if not _OLDEST_YEAR <= now.year <= _NEWEST_YEAR:
        message = f"the clock says {shown}, which cannot be: times of files and logs mislead"
        return [warning("clock", "clock_wrong", message, remedy)]
    if abs(wall_s - steady_s) > _JUMP_S:
        message = f"the clock jumped by {wall_s - steady_s:+.0f} s while this was looked at"
        return [warning("clock", "clock_jumps", message, remedy)]
    return [ok("clock", "clock", f"the clock says {shown}")]


# -- reading ---------------------------------------------------------------------------------------


def _number_in(path: str) -> int | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(64).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _kib(amount: int) -> str:
    return f"{amount // limits.KIB} KiB"
