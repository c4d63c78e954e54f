"""What facts mean: each judgement, on facts made up for it."""

from __future__ import annotations

import errno
import socket
from datetime import UTC, datetime
from typing import Literal

import attrs
import pytest

import lanspread
from lanspread import limits
from lanspread.doctor import (
    firewall,
    folders,
    interfaces,
    multicast,
    ports,
    running,
    system,
    versions,
)
from lanspread.doctor.findings import Finding, Level, fault, is_well, note, ok, warning
from lanspread.doctor.folders import Folder
from lanspread.doctor.interfaces import OwnAddress
from lanspread.doctor.mdns_socket import Tried
from lanspread.doctor.multicast import Stranger
from lanspread.doctor.ports import Port
from lanspread.doctor.running import NotRunning, OtherPeer, Running
from lanspread.doctor.wanted import Wanted
from lanspread.seams import Address

LO = OwnAddress("127.0.0.1", "lo", 8, up=True, multicast=False)
ETH = OwnAddress("192.168.1.5", "eth0", 24, up=True, multicast=True)
ETH6 = OwnAddress("fe80::5%eth0", "eth0", 64, up=True, multicast=True)
WLAN = OwnAddress("10.0.0.5", "wlan0", 8, up=True, multicast=True)
DOCKER = OwnAddress("172.17.0.1", "docker0", 16, up=True, multicast=True)
PEER_ID = "00000000-0000-8000-8000-000000000001"
OTHER_ID = "00000000-0000-8000-8000-000000000002"
RUNNING = Running(
    peer_id=PEER_ID,
    version=lanspread.__version__,
    games="/games",
    listen=("192.168.1.5:7373", "[fe80::5%eth0]:7373"),
    api="127.0.0.1:7374",
)
FREE = 500 * 1024 * limits.MIB


def codes(findings: list[Finding]) -> dict[str, str]:
    """code -> level; a warning or fault must say what to do."""
    for one in findings:
        assert one.remedy or one.level in (Level.OK, Level.NOTE)
        assert "\n" not in one.message + one.remedy
    return {one.code: one.level.value for one in findings}


def test_only_a_fault_is_something_wrong() -> None:
    rest = [ok("a", "a", "x"), note("a", "b", "x"), warning("a", "c", "x", "y")]
    assert is_well(rest)
    assert not is_well([*rest, fault("a", "d", "x", "y")])


# -- versions --------------------------------------------------------------------------------------


def test_versions_of_this_very_machine_fit() -> None:
    found = versions.look_at_versions()
    assert codes(versions.judge_versions(found)) == {"versions": "ok"}
    libraries = dict(found.libraries)
    for name, version, code in (
        ("aioquic", "1.7.1", "library_unfit"),
        ("aioquic", "2.0.0", "library_unfit"),
        ("blake3", None, "library_missing"),
    ):
        changed = attrs.evolve(found, libraries={**libraries, name: version})
        assert codes(versions.judge_versions(changed)) == {code: "fault"}
    old = attrs.evolve(found, python=(3, 10, 9))
    assert codes(versions.judge_versions(old)) == {"python_old": "fault"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.7.2", (1, 7, 2)), ("1.7.2.post1", (1, 7, 2)), ("2.0rc1", (2, 0)), ("", ()), ("x", ())],
)
def test_numbers_of_a_version(text: str, expected: tuple[int, ...]) -> None:
    assert versions.numbers(text) == expected


# -- interfaces ------------------------------------------------------------------------------------


def test_interfaces_in_use_and_left_out() -> None:
    findings = interfaces.judge_interfaces([LO, ETH, DOCKER], ())
    assert codes(findings) == {"interfaces": "ok", "left_out": "note"}
    assert "eth0 192.168.1.5/24" in findings[0].message
    assert "docker0 (172.17.0.1)" in findings[1].message
    assert "--interface 172.17.0.1" in findings[1].remedy


def test_interfaces_that_cannot_do() -> None:
    assert codes(interfaces.judge_interfaces([LO], ())) == {"no_network": "fault"}
    assert codes(interfaces.judge_interfaces([LO, DOCKER], ())) == {
        "interfaces": "ok",
        "only_virtual": "warning",
    }
    own = attrs.evolve(ETH, host="169.254.3.4", prefix=16)
    assert codes(interfaces.judge_interfaces([LO, own], ()))["no_lease"] == "note"


def test_given_interfaces() -> None:
    every = [LO, ETH, DOCKER]
    assert codes(interfaces.judge_interfaces(every, ["127.0.0.1"])) == {"loopback_only": "note"}
    assert codes(interfaces.judge_interfaces(every, ["172.17.0.1"])) == {"interfaces": "ok"}
    assert codes(interfaces.judge_interfaces(every, ["192.168.1.6"])) == {
        "interface_missing": "fault"
    }


def test_which_addresses_are_in_a_network() -> None:
    assert ETH.holds("192.168.1.200")
    assert not ETH.holds("192.168.2.200")
    assert not ETH.holds("fe80::1%eth0")
    assert ETH6.holds("fe80::1%eth0")
    assert not ETH6.holds("fe80::1%eth1")
    assert not ETH.holds("a name")


def test_the_machine_has_loopback() -> None:
    found = interfaces.look_at_interfaces()
    assert [one.prefix for one in found if one.host == "127.0.0.1"] == [8]


# -- multicast -------------------------------------------------------------------------------------

HEARD = Tried(
    host=ETH.host,
    interface="eth0",
    own=True,
    answers={"192.168.1.9": {OTHER_ID: limits.PROTOCOL_VERSION}, ETH.host: {PEER_ID: 3}},
)


def test_multicast_that_works() -> None:
    findings = multicast.judge_multicast([HEARD], [LO, ETH])
    assert codes(findings) == {"multicast": "ok"}
    assert "1 other machine answers, 1 with lanspread" in findings[0].message
    near = Tried(host="127.0.0.1", interface="lo", own=True)
    assert codes(multicast.judge_multicast([near], [LO])) == {"multicast": "ok"}


@pytest.mark.parametrize(
    ("tried", "code", "level"),
    [
        (attrs.evolve(HEARD, answers={}), "alone", "note"),
        (attrs.evolve(HEARD, answers={ETH.host: {PEER_ID: 3}}), "alone", "note"),
        (attrs.evolve(HEARD, own=False), "not_heard", "fault"),
        (attrs.evolve(HEARD, failed="open", error=errno.EADDRINUSE), "mdns_port", "fault"),
        (attrs.evolve(HEARD, failed="open", error=errno.EACCES), "mdns_port", "fault"),
        (attrs.evolve(HEARD, failed="join", error=errno.ENODEV), "no_multicast", "fault"),
        (attrs.evolve(HEARD, failed="send", error=errno.EPERM), "not_sent", "fault"),
        (attrs.evolve(HEARD, failed="send", error=errno.ENETUNREACH), "not_sent", "fault"),
    ],
)
def test_multicast_that_does_not(tried: Tried, code: str, level: str) -> None:
    findings = multicast.judge_multicast([tried], [LO, ETH])
    assert codes(findings) == {code: level}
    assert "lanspread connect" in findings[0].remedy


def test_an_interface_that_leads_nowhere_is_no_matter_of_firewalls() -> None:
    remedies = {}
    for error in (errno.ENETUNREACH, errno.EPERM):
        tried = attrs.evolve(HEARD, failed="send", error=error)
        (finding,) = multicast.judge_multicast([tried], [LO, ETH])
        remedies[error] = finding.remedy
    assert "cable" in remedies[errno.ENETUNREACH]
    assert "firewall" not in remedies[errno.ENETUNREACH]
    assert "firewall" in remedies[errno.EPERM]


def test_multicast_that_is_switched_off() -> None:
    off = attrs.evolve(ETH, multicast=False)
    alone = attrs.evolve(HEARD, answers={})
    # It cannot be that peers find each other and do not.
    for tried, part in ((alone, "do not find each other"), (HEARD, "answer all the same")):
        findings = multicast.judge_multicast([tried], [off])
        assert codes(findings) == {"multicast_off": "fault"}
        assert part in findings[0].message
    unknown = attrs.evolve(ETH, multicast=None)
    assert codes(multicast.judge_multicast([HEARD], [unknown])) == {"multicast": "ok"}


def test_one_interface_of_two_without_multicast_is_no_fault() -> None:
    deaf = Tried(host=WLAN.host, interface="wlan0")
    findings = multicast.judge_multicast([HEARD, deaf], [ETH, WLAN])
    assert codes(findings) == {"multicast": "ok", "not_heard": "warning"}


def test_peers_of_another_subnet_or_version() -> None:
    far = attrs.evolve(HEARD, answers={"192.168.7.9": {OTHER_ID: 99}, "192.168.7.1": {}})
    assert multicast.strangers([far], [LO, ETH]) == [("192.168.7.9", OTHER_ID)]
    assert multicast.strangers([far], [LO, ETH, attrs.evolve(ETH, prefix=16)]) == []
    for has_route, level in ((True, "warning"), (False, "fault")):
        beyond = [Stranger("192.168.7.9", OTHER_ID, has_route)]
        found = codes(multicast.judge_multicast([far], [LO, ETH], beyond))
        assert (found["other_subnet"], found["other_version"]) == (level, "warning")
    ours = multicast.judge_multicast([far], [LO, ETH], own_peer_id=OTHER_ID)
    assert "other_version" not in codes(ours)


# -- ports -----------------------------------------------------------------------------------------


def port(kind: str, number: int, error: int = 0, *, given: bool = False) -> Port:
    assert kind in ("UDP", "TCP")
    use: Literal["peers", "page and API"] = "peers" if kind == "UDP" else "page and API"
    return Port(use, Address("0.0.0.0", number), given, error)


def test_the_port_of_bulk_data_has_the_number_of_the_peers() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        address = Address(*held.getsockname())
        wanted = Wanted(state="/state", listen=(address,), api=Address("127.0.0.1", 0))
        found = {one.use: one for one in ports.look_at_ports(wanted)}
        assert (found["peers"].error, found["bulk data"].error) == (0, errno.EADDRINUSE)
        (finding,) = ports.judge_ports([found["bulk data"]], NotRunning())
        # Another is taken, although this one is given: it is the number of UDP that was given.
        assert (finding.code, finding.level) == ("port_taken", Level.WARNING)
        assert "bulk data" in finding.message
        listening = attrs.evolve(RUNNING, listen=(str(address),))
        assert codes(ports.judge_ports([found["bulk data"]], listening)) == {"port_ours": "ok"}
        alone = ports.look_at_ports(attrs.evolve(wanted, bulk=False))
        assert [one.use for one in alone] == ["peers"]


def test_ports() -> None:
    free = [port("UDP", 7373), port("TCP", 7374)]
    taken = [port("UDP", 7373, errno.EADDRINUSE), port("TCP", 7374, errno.EADDRINUSE)]
    stopped = NotRunning()
    assert [one.code for one in ports.judge_ports(free, stopped)] == ["port_free", "port_free"]
    assert [one.level for one in ports.judge_ports(taken, stopped)] == [Level.WARNING] * 2
    assert [one.code for one in ports.judge_ports(taken, RUNNING)] == ["port_ours"] * 2
    other = attrs.evolve(RUNNING, listen=("192.168.1.5:40001",), api="127.0.0.1:40002")
    assert [one.level for one in ports.judge_ports(taken, other)] == [Level.WARNING] * 2
    assert [one.code for one in ports.judge_ports(free, other)] == ["port_other"] * 2
    given = [port("UDP", 9, errno.EADDRINUSE, given=True)]
    assert codes(ports.judge_ports(given, stopped)) == {"port_taken": "fault"}
    denied = [port("UDP", 9, errno.EACCES, given=True)]
    assert codes(ports.judge_ports(denied, stopped)) == {"port_unusable": "fault"}


def test_both_families_of_a_port_are_one_finding() -> None:
    found = [port("UDP", 7373), Port("peers", Address("::", 7373), False, errno.EADDRINUSE)]
    assert codes(ports.judge_ports(found, NotRunning())) == {"port_taken": "warning"}


# -- the running peer ------------------------------------------------------------------------------


def test_the_running_peer() -> None:
    assert codes(running.judge_running(NotRunning())) == {"not_running": "note"}
    assert codes(running.judge_running(NotRunning("gone"))) == {"not_answering": "warning"}
    assert codes(running.judge_running(RUNNING)) == {"running": "ok", "nobody": "note"}
    others = tuple(
        OtherPeer(name=state, state=state, addresses=()) for state in
        ("connected", "incompatible", "refused", "lost")
    )  # fmt: skip
    found = running.judge_running(attrs.evolve(RUNNING, version="0.0.1", others=others))
    assert codes(found) == {
        "running": "ok",
        "old_version_runs": "warning",
        "connected": "ok",
        "incompatible": "warning",
        "refused": "warning",
    }


# -- folders ---------------------------------------------------------------------------------------

GAMES = Folder(kind="games", path="/games", there=True, free_bytes=FREE, locked=False, games=3)
STATE = Folder(kind="state", path="/state", there=True, free_bytes=FREE, locked=False)


@pytest.mark.parametrize(
    ("folder", "code", "level"),
    [
        (GAMES, "games", "ok"),
        (STATE, "state", "ok"),
        (attrs.evolve(STATE, there=False), "state", "ok"),
        (attrs.evolve(STATE, locked=None, free_bytes=None), "state", "ok"),
        (attrs.evolve(GAMES, there=False), "games_missing", "fault"),
        (attrs.evolve(GAMES, is_folder=False), "games_no_folder", "fault"),
        (attrs.evolve(STATE, there=False, is_folder=False), "state_no_folder", "fault"),
        (attrs.evolve(GAMES, readable=False), "games_unusable", "fault"),
        (attrs.evolve(STATE, writable=False), "state_unusable", "fault"),
        (attrs.evolve(GAMES, writable=False), "games_read_only", "warning"),
        (attrs.evolve(GAMES, locked=True), "games_locked", "fault"),
        (attrs.evolve(GAMES, free_bytes=limits.MIB), "games_full", "warning"),
        (attrs.evolve(STATE, free_bytes=limits.MIB), "state_full", "fault"),
    ],
)
def test_a_folder(folder: Folder, code: str, level: str) -> None:
    assert codes(folders.judge_folder(folder, NotRunning())) == {code: level}


def test_a_folder_held_by_our_own_peer_is_well() -> None:
    for folder in (attrs.evolve(GAMES, locked=True), attrs.evolve(STATE, locked=True)):
        (finding,) = folders.judge_folder(folder, RUNNING)
        assert (finding.level, "our running peer" in finding.message) == (Level.OK, True)


def test_a_key_that_others_may_read() -> None:
    found = folders.judge_folder(attrs.evolve(STATE, exposed=True), NotRunning())
    assert codes(found) == {"state": "ok", "key_exposed": "warning"}


# -- the system ------------------------------------------------------------------------------------

UDP = system.Udp(
    receive_bytes=4 * limits.MIB,
    send_bytes=4 * limits.MIB,
    sends_offloaded=True,
    receives_offloaded=True,
)


def test_udp() -> None:
    assert codes(system.judge_udp(UDP, "linux")) == {"udp_buffers": "ok", "offload": "ok"}
    small = attrs.evolve(UDP, receive_bytes=212_992)
    findings = system.judge_udp(small, "linux")
    assert codes(findings)["udp_buffers_small"] == "warning"
    assert "net.core.rmem_max=4194304" in findings[0].remedy
    assert "maxsockbuf" in system.judge_udp(small, "darwin")[0].remedy
    plain = attrs.evolve(UDP, receives_offloaded=False)
    assert codes(system.judge_udp(plain, "linux"))["offload_missing"] == "note"
    assert codes(system.judge_udp(plain, "win32"))["offload_none"] == "ok"


def test_open_files() -> None:
    for limit, level in ((None, "ok"), (1024, "ok"), (256, "warning")):
        assert list(codes(system.judge_open_files(limit)).values()) == [level]


@pytest.mark.parametrize(
    ("watches", "instances", "games", "code", "level"),
    [
        (65_536, 128, 5_000, "watches", "ok"),
        (None, None, 5_000, "watches", "ok"),
        (8_192, 128, 6_500, "watches", "ok"),
        (8_192, 128, 6_600, "watches_few", "warning"),
        (8_192, 0, 1, "no_watches", "warning"),
    ],
)
def test_watches(
    watches: int | None, instances: int | None, games: int, code: str, level: str
) -> None:
    found = system.WatchLimits(watches, instances)
    assert codes(system.judge_watches(found, games)) == {code: level}


@pytest.mark.parametrize(
    ("year", "wall_s", "code", "level"),
    [
        (2026, 2.0, "clock", "ok"),
        (1970, 2.0, "clock_wrong", "warning"),
        (2200, 2.0, "clock_wrong", "warning"),
        (2026, -3_598.0, "clock_jumps", "warning"),
    ],
)
def test_the_clock(year: int, wall_s: float, code: str, level: str) -> None:
    now = datetime(year, 5, 1, tzinfo=UTC)
    assert codes(system.judge_clock(now, wall_s, 2.0)) == {code: level}


# -- firewalls -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "code", "part"),
    [
        (firewall.Firewalls("win32"), "firewall_windows", "netsh advfirewall"),
        (firewall.Firewalls("darwin"), "firewall_mac", "Local Network"),
        (firewall.Firewalls("linux", ("ufw", "iptables")), "firewall_ufw", "ufw allow 7373`"),
        (firewall.Firewalls("linux", ("firewalld",)), "firewall_firewalld", "7373/udp"),
        (firewall.Firewalls("linux", ("nftables",)), "firewall_nftables", "7373, 5353"),
        (firewall.Firewalls("linux", ("iptables",)), "firewall_iptables", "7373,5353"),
    ],
)
def test_hints_by_platform(found: firewall.Firewalls, code: str, part: str) -> None:
    (finding,) = firewall.judge_firewalls(found)
    assert (finding.code, finding.level) == (code, Level.NOTE)
    assert part in finding.remedy
    # Both ways of moving games.
    assert "TCP 7373" in finding.message
    assert (
        "tcp" in finding.remedy.lower() or "7373`" in finding.remedy or found.platform == "darwin"
    )


@pytest.mark.parametrize(
    "found",
    [
        firewall.Firewalls("win32"),
        firewall.Firewalls("linux"),
        *(firewall.Firewalls("linux", (name,)) for name in firewall._TRACES),
        firewall.Firewalls("linux", ("ufw",)),
    ],
)
def test_a_firewall_is_to_pass_the_ports_that_are_used(found: firewall.Firewalls) -> None:
    (finding,) = firewall.judge_firewalls(found, (7001, 7002))
    assert "UDP 7001, 7002 (peers)" in finding.message
    assert "TCP 7001, 7002" in finding.message
    assert "7373" not in finding.message + finding.remedy
    assert found.seen == () or "7002" in finding.remedy


def test_the_ports_of_a_running_peer_count_more_than_those_that_are_set() -> None:
    wanted = Wanted(state="s", listen=(Address("::", 7001), Address("0.0.0.0", 7001)))
    assert ports.ports_of_peers(wanted, NotRunning()) == [7001]
    running = Running(
        peer_id="p", version="1", games="g", listen=("10.0.0.1:7005",), api="127.0.0.1:1"
    )
    assert ports.ports_of_peers(wanted, running) == [7005]
    free = Wanted(state="s", listen=(Address("::", 0),))
    assert ports.ports_of_peers(free, NotRunning()) == [7373]


def test_whether_ufw_is_on() -> None:
    assert firewall.says_enabled("# comment\nENABLED=yes\nLOGLEVEL=low\n")
    assert firewall.says_enabled("ENABLED = yes")
    assert not firewall.says_enabled("ENABLED=no")
    assert not firewall.says_enabled("# ENABLED=yes")
    assert codes(firewall.judge_firewalls(firewall.Firewalls("linux"))) == {"firewall": "ok"}
