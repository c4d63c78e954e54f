"""What the way to a peer means, step by step, up to the first that fails. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import attrs

from lanspread import limits
from lanspread.doctor.findings import Finding, Level, fault, note, ok, warning
from lanspread.doctor.firewall import ALLOW_MDNS
from lanspread.doctor.interfaces import OwnAddress
from lanspread.doctor.multicast import BY_ADDRESS
from lanspread.doctor.tcp_probe import Bulk
from lanspread.doctor.udp_probe import Attempt, Udp
from lanspread.doctor.way import Greeting, Quic, Way
from lanspread.seams import Address
from lanspread.sync.errors import HandshakeFault
from lanspread.transport import addresses

NAME, ROUTE, UDP = "peer name", "peer route", "peer udp"
QUIC, VERSION, IDENTITY, MDNS = "peer quic", "peer version", "peer identity", "peer mdns"
BULK = "peer bulk"
_SAME_VERSION = "bring both machines to the same version of lanspread"


@attrs.frozen(kw_only=True)
class Us:
    """What of this machine matters on the way; `heard` has the peers that mDNS named by multicast.

    It is None where multicast was not tried.
    """

    own: Sequence[OwnAddress]
    peer_id: str | None = None
    heard: dict[str, int | None] | None = None


def judge_way(way: Way, us: Us) -> list[Finding]:
    if way.unresolved:
        return [
            fault(
                NAME,
                "name_unknown",
                f"the name {way.wanted.host} leads nowhere: {way.unresolved}",
                "give the machine's IP address instead of its name",
            )
        ]
    findings = _judge_name(way)
    for attempt in way.attempts:
        findings += _judge_route(attempt, us)
        findings.append(_judge_udp(attempt))
    if any(one.outcome is Udp.ANSWERED for one in way.attempts):
        # One address that works is enough; peers try all of them.
        findings = [
            attrs.evolve(one, level=Level.WARNING) if one.level is Level.FAULT else one
            for one in findings
        ]
    if way.greeting is not None:
        findings += _judge_greeting(way, way.greeting, us)
    return findings


def _judge_name(way: Way) -> list[Finding]:
    if addresses.parse_host(way.wanted.host) is not None:
        return []
    shown = ", ".join(one.address.host for one in way.attempts)
    return [ok(NAME, "name", f"{way.wanted.host} is {shown}")]


# -- route and subnet ------------------------------------------------------------------------------


def _judge_route(attempt: Attempt, us: Us) -> list[Finding]:
    host = attempt.address.host
    if addresses.is_loopback(host) or any(one.host == host for one in us.own):
        return [
            note(
                ROUTE,
                "own_address",
                f"{host} is this machine itself: that says nothing about the network",
                "give the address of the other machine",
            )
        ]
    ours = [one for one in us.own if one.holds(host)]
    if ours:
        return [ok(ROUTE, "same_subnet", f"{host} is in the subnet of {ours[0]}")]
    family = addresses.is_ipv6(host)
    networks = sorted(
        {
            str(one.network)
            for one in us.own
            if addresses.is_ipv6(one.host) == family and not addresses.is_loopback(one.host)
        }
    )
    return [
        warning(
            ROUTE,
            "other_subnet",
            f"{host} is in another subnet than this machine ({', '.join(networks) or 'none'}): "
            "mDNS does not cross that, so the two never find each other by themselves",
            f"name the peer by hand: {BY_ADDRESS}; or give both addresses in one subnet",
        )
    ]


# -- UDP -------------------------------------------------------------------------------------------


def _judge_udp(attempt: Attempt) -> Finding:
    address = attempt.address
    match attempt.outcome:
        case Udp.ANSWERED:
            return ok(UDP, "udp", f"UDP gets to {address} and back")
        case Udp.STRANGE:
            return fault(
                UDP,
                "udp_strange",
                f"what answers at {address} is no QUIC",
                "check the port: another program has it there",
            )
        case Udp.SILENT:
            return _silent(address)
        case Udp.REFUSED:
            return fault(
                UDP,
                "udp_refused",
                f"the machine at {address.host} answers, and nobody listens at port {address.port}",
                "start lanspread there, and check its port (`lanspread status` over there)",
            )
        case Udp.NO_ROUTE:
            return fault(
                UDP,
                "no_route",
                f"this machine has no route to {address.host}",
                "see that the cable is in or the Wi-Fi joined; give both machines addresses in one "
                "subnet, or set a router between them",
            )
        case Udp.NO_HOST:
            return fault(
                UDP,
                "no_host",
                f"no machine is to be found at {address.host}",
                "check the address, the cable, and that the machine is on",
            )
        case Udp.FORBIDDEN:
            return fault(
                UDP,
                "udp_forbidden",
                f"this machine does not let UDP out to {address}"
                f" ({os.strerror(attempt.error or errno.EPERM)})",
                f"let the firewall here pass UDP {address.port}, and look at `ip route` and "
                "`ip rule`",
            )
        case Udp.OUT_OF_REACH:
            return fault(
                UDP,
                "out_of_reach",
                f"the interfaces that were given do not lead to {address.host}",
                "give --interface another address of this machine, or leave it out",
            )
        case Udp.FAILED:
            return fault(
                UDP,
                "udp_failed",
                f"UDP to {address} fails: {os.strerror(attempt.error)}",
                "look at this machine's network settings",
            )


def _silent(address: Address) -> Finding:
    return fault(
        UDP,
        "udp_silent",
        f"nothing comes back from {address}: a firewall drops UDP {address.port}, here or there, "
        "or no machine is there",
        f"let the firewalls of both machines pass UDP {address.port}; see that the machine is on "
        "and lanspread runs there; in a guest Wi-Fi machines may not see each other at all",
    )


# -- QUIC, version, identity -----------------------------------------------------------------------


def _judge_greeting(way: Way, greeting: Greeting, us: Us) -> list[Finding]:
    if greeting.quic is not Quic.MADE:
        return [_judge_quic(way, greeting)]
    findings = [ok(QUIC, "quic", "the QUIC handshake works")]
    if greeting.fault is None:
        findings.append(ok(VERSION, "version", f"both speak protocol {limits.PROTOCOL_VERSION}"))
    else:
        findings.append(_judge_fault(greeting.fault, greeting.detail))
    if greeting.peer_id:
        findings.append(_judge_identity(way, greeting, us))
    if way.bulk is not None:
        findings.append(_judge_bulk(way.bulk))
    return findings + _judge_mdns(way, greeting, us)


def _judge_quic(way: Way, greeting: Greeting) -> Finding:
    match greeting.quic:
        case Quic.OTHER_PROTOCOL:
            return fault(
                QUIC,
                "quic_other",
                f"what answers at {way.wanted} speaks QUIC, and is no lanspread",
                "check the port (`lanspread status` over there)",
            )
        case Quic.REFUSED:
            return fault(
                QUIC,
                "quic_refused",
                f"{way.wanted} takes no connection ({greeting.detail})",
                "it may be full; try again, and see the log over there",
            )
        case _:
            return fault(
                QUIC,
                "quic_failed",
                f"small packets get to {way.wanted}, and no QUIC handshake comes of it "
                f"({greeting.detail})",
                "see to the MTU on the way (a VPN or tunnel), and to firewalls that look into UDP",
            )


def _judge_fault(kind: HandshakeFault, detail: str) -> Finding:
    match kind:
        case HandshakeFault.INCOMPATIBLE:
            return fault(
                VERSION,
                "incompatible",
                f"the two do not speak the same protocol ({detail}); here it is "
                f"{limits.PROTOCOL_VERSION}",
                _SAME_VERSION,
            )
        case HandshakeFault.REFUSED:
            return fault(
                IDENTITY, "refused", f"it refuses us ({detail})", "see the log of the peer there"
            )
        case HandshakeFault.WRONG_IDENTITY | HandshakeFault.SELF | HandshakeFault.CLONE:
            return fault(
                IDENTITY,
                "identity",
                f"the identities do not hold ({detail})",
                "see that nothing stands between the two, and " + _SAME_VERSION,
            )
        case _:
            return fault(
                VERSION,
                "hello_failed",
                f"QUIC works, and the greeting fails ({detail})",
                f"{_SAME_VERSION}; see the log of the peer there",
            )


def _judge_identity(way: Way, greeting: Greeting, us: Us) -> Finding:
    if greeting.peer_id == us.peer_id:
        if not _is_here(way, us):
            return fault(
                IDENTITY,
                "identity_cloned",
                f"peer {greeting.peer_id} over there has the same identity as this one (a copied "
                "state folder or disk image): the two never connect, and others see one of them",
                "start one of the two with `lanspread run --new-identity`",
            )
        return note(
            IDENTITY,
            "own_identity",
            f"peer {greeting.peer_id} is this machine's own",
            "give the address of the other machine",
        )
    who = f"{greeting.name}, " if greeting.name else ""
    return ok(IDENTITY, "identity", f"it is {who}peer {greeting.peer_id}")


def _is_here(way: Way, us: Us) -> bool:
    """Whether the address that answered may be one of this machine's."""
    own = {one.host for one in us.own}
    reached = (one.address.host for one in way.attempts if one.outcome is Udp.ANSWERED)
    return not own or any(host in own or addresses.is_loopback(host) for host in reached)


# -- bulk data -------------------------------------------------------------------------------------


def _judge_bulk(bulk: Bulk) -> Finding:
    address = bulk.address
    match bulk.error:
        case 0:
            return ok(BULK, "bulk", f"TCP gets to {address}, where it serves bulk data")
        case errno.ETIMEDOUT:
            why = f"nothing comes back from {address} by TCP: a firewall drops it, here or there"
        case errno.ECONNREFUSED | errno.ECONNRESET:
            why = f"{address} takes no TCP: a firewall refuses it, or nothing listens there"
        case _:
            why = f"TCP does not get to {address}: {os.strerror(bulk.error)}"
    return warning(
        BULK,
        "bulk_blocked",
        f"{why}; downloads go on over QUIC, more slowly",
        f"open TCP port {address.port} in the firewall of the machine there, and see that the one "
        "here lets TCP out",
    )


# -- would they have found each other? -------------------------------------------------------------


def _judge_mdns(way: Way, greeting: Greeting, us: Us) -> list[Finding]:
    reached = [one.address.host for one in way.attempts if one.outcome is Udp.ANSWERED]
    near = any(one.holds(host) and one.host != host for one in us.own for host in reached)
    if us.heard is None or not near or any(map(addresses.is_loopback, reached)):
        return []
    if greeting.peer_id in us.heard:
        return [ok(MDNS, "mdns", "it answers by multicast: the two find each other by themselves")]
    if way.directly:
        return [
            fault(
                MDNS,
                "multicast_lost",
                "its mDNS answers when it is asked directly, and not by multicast: the network "
                "between the two does not pass multicast on, so they do not find each other",
                "see to IGMP snooping of the switch and to guest isolation of the Wi-Fi, or go by "
                f"address: {BY_ADDRESS}",
            )
        ]
    return [
        warning(
            MDNS,
            "mdns_silent",
            "it does not answer by mDNS: it runs with --no-mdns, or a firewall drops UDP 5353",
            f"{ALLOW_MDNS} on both machines, or go by address: {BY_ADDRESS}",
        )
    ]
