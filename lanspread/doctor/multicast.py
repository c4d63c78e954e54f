"""Whether peers can find each other: the judgement of multicast as it was tried. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import attrs

from lanspread import limits
from lanspread.doctor.findings import Finding, Level, fault, note, ok, warning
from lanspread.doctor.firewall import ALLOW_MDNS
from lanspread.doctor.interfaces import OwnAddress
from lanspread.doctor.mdns_socket import Tried
from lanspread.transport import addresses

CHECK = "multicast"
BY_ADDRESS = "`lanspread connect HOST:7373`, or `--peer HOST:7373` with `run`"
_MAX_STRANGERS = 8
# What the system says where an interface is there and leads nowhere.
_UNPLUGGED = {errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENODEV}


@attrs.frozen
class Stranger:
    """A peer that was heard, and is in no network of this machine; is there a way to it?"""

    host: str
    peer_id: str
    has_route: bool


def heard_peers(tried: Sequence[Tried]) -> dict[str, int | None]:
    """Every peer that was named by anybody, and its protocol version."""
    found: dict[str, int | None] = {}
    for one in tried:
        for peers in one.answers.values():
            for peer_id, version in peers.items():
                if found.get(peer_id) is None:
                    found[peer_id] = version
    return found


def strangers(tried: Sequence[Tried], own: Sequence[OwnAddress]) -> list[tuple[str, str]]:
    """(host, peer_id) of peers whose answers came from outside of our networks."""
    found = {
        (host, peer_id): None
        for one in tried
        for host, peers in one.answers.items()
        if not any(address.holds(host) for address in own)
        for peer_id in peers
    }
    return list(found)[:_MAX_STRANGERS]


def judge_multicast(
    tried: Sequence[Tried],
    own: Sequence[OwnAddress],
    beyond: Sequence[Stranger] = (),
    own_peer_id: str | None = None,
) -> list[Finding]:
    """What was tried, per interface, and who was heard."""
    findings = [_judge_one(one, own) for one in tried]
    if any(finding.level is not Level.FAULT for finding in findings):
        # Peers are found through the others, if the cable is in one of those.
        findings = [
            attrs.evolve(one, level=Level.WARNING) if one.level is Level.FAULT else one
            for one in findings
        ]
    findings += [_judge_stranger(one, own) for one in beyond]
    findings += _judge_versions(tried, own_peer_id)
    return findings


def judge_no_mdns() -> list[Finding]:
    return [
        note(
            CHECK,
            "mdns_off",
            "mDNS is switched off in the settings (no_mdns): nobody is found by it",
            f"name peers by hand: {BY_ADDRESS}",
        )
    ]


def _judge_one(tried: Tried, own: Sequence[OwnAddress]) -> Finding:
    where = f"{tried.interface} ({tried.host})"
    if tried.failed:
        return _judge_failure(tried, where)
    ours = {one.host for one in own}
    others = [host for host in tried.answers if host not in ours]
    flagged_off = any(one.host == tried.host and one.multicast is False for one in own)
    if flagged_off and not addresses.is_loopback(tried.host):
        return _judge_off(tried, where, bool(others))
    if not tried.own:
        return fault(
            CHECK,
            "not_heard",
            f"multicast sent on {where} did not come back: something drops it on this machine",
            f"{ALLOW_MDNS}; or go by address: {BY_ADDRESS}",
        )
    if others or addresses.is_loopback(tried.host):
        count = len(others)
        answers = "1 other machine answers" if count == 1 else f"{count} other machines answer"
        peers = len({peer for host in others for peer in tried.answers[host]})
        told = "" if addresses.is_loopback(tried.host) else f"; {answers}, {peers} with lanspread"
        return ok(CHECK, "multicast", f"multicast works on {where}{told}")
    return note(
        CHECK,
        "alone",
        f"multicast goes out on {where}, and nobody answers: either nobody else is there, or the "
        "network does not pass it on",
        "if others are there: see to guest isolation of the Wi-Fi and IGMP snooping of the switch, "
        f"or go by address: {BY_ADDRESS}",
    )


def _judge_off(tried: Tried, where: str, answered: bool) -> Finding:
    remedy = (
        f"switch it on: `ip link set {tried.interface} multicast on`; or go by address: "
        f"{BY_ADDRESS}"
    )
    outcome = (
        "; others answer all the same, which nothing promises"
        if answered
        else ": peers do not find each other there"
    )
    return fault(CHECK, "multicast_off", f"multicast is switched off on {where}{outcome}", remedy)


def _judge_failure(tried: Tried, where: str) -> Finding:
    why = os.strerror(tried.error) if tried.error else "unknown error"
    if tried.failed == "open":
        taken = tried.error == errno.EADDRINUSE
        return fault(
            CHECK,
            "mdns_port",
            f"UDP port 5353 cannot be used on {where}: "
            + ("another program holds it for itself alone" if taken else why),
            "end the program that holds it (an mDNS responder that shares the port may stay), or "
            f"go by address: {BY_ADDRESS}",
        )
    if tried.failed == "join":
        return fault(
            CHECK,
            "no_multicast",
            f"{where} takes part in no multicast: {why}",
            f"use another interface, or go by address: {BY_ADDRESS}",
        )
    if tried.error in _UNPLUGGED:
        return fault(
            CHECK,
            "not_sent",
            f"multicast cannot be sent on {where}: {why}",
            f"see that the cable is in or the Wi-Fi joined (`ip link show {tried.interface}`), or "
            f"go by address on another interface: {BY_ADDRESS}",
        )
    blocked = tried.error in (errno.EPERM, errno.EACCES)
    return fault(
        CHECK,
        "not_sent",
        f"multicast cannot be sent on {where}: "
        + (f"this machine's firewall or routes forbid it ({why})" if blocked else why),
        f"{ALLOW_MDNS}; or go by address: {BY_ADDRESS}",
    )


def _judge_stranger(stranger: Stranger, own: Sequence[OwnAddress]) -> Finding:
    ours = sorted({str(one.network) for one in own if not addresses.is_loopback(one.host)})
    message = (
        f"a peer at {stranger.host} is heard, and is in another subnet than this machine "
        f"({', '.join(ours) or 'none'})"
    )
    remedy = "give both machines addresses in one subnet (the same DHCP server, the same netmask)"
    if stranger.has_route:
        return warning(CHECK, "other_subnet", message, remedy)
    return fault(CHECK, "other_subnet", f"{message}, and there is no route to it", remedy)


def _judge_versions(tried: Sequence[Tried], own_peer_id: str | None) -> list[Finding]:
    return [
        warning(
            CHECK,
            "other_version",
            f"peer {peer_id} speaks protocol {version}, this one {limits.PROTOCOL_VERSION}: they "
            "will not connect",
            "bring both machines to the same version of lanspread",
        )
        for peer_id, version in heard_peers(tried).items()
        if version is not None and version != limits.PROTOCOL_VERSION and peer_id != own_peer_id
    ]
