"""The peer that runs on the state folder, if one does: what its API said, and what it means. Pure.

Asking is the caller's work: only front-ends know the API.
"""

from __future__ import annotations

import attrs

import lanspread
from lanspread.doctor.findings import Finding, note, ok, warning

CHECK = "peer"


@attrs.frozen(kw_only=True)
class OtherPeer:
    """A peer that the running one knows; texts are not cleaned."""

    name: str
    state: str
    addresses: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Running:
    """What `status` and `peers.list` said. `api` is HOST:PORT, and so are those of `listen`."""

    peer_id: str
    version: str
    games: str
    listen: tuple[str, ...]
    api: str
    others: tuple[OtherPeer, ...] = ()


@attrs.frozen
class NotRunning:
    """`stale` is why a peer that should be there does not answer; empty where there is none."""

    stale: str = ""


RunningPeer = Running | NotRunning


def judge_running(peer: RunningPeer) -> list[Finding]:
    if isinstance(peer, NotRunning):
        if peer.stale:
            return [
                warning(
                    CHECK,
                    "not_answering",
                    f"a peer should be running here, and cannot be asked: {peer.stale}",
                    "start it (again) with `lanspread run`",
                )
            ]
        return [note(CHECK, "not_running", "no peer runs on this state folder", "`lanspread run`")]
    findings = [
        ok(CHECK, "running", f"a peer runs and listens at {', '.join(peer.listen) or 'nothing'}")
    ]
    if peer.version != lanspread.__version__:
        findings.append(
            warning(
                CHECK,
                "old_version_runs",
                f"the running peer is version {peer.version}, installed is {lanspread.__version__}",
                "start the peer again",
            )
        )
    return findings + _judge_others(peer.others)


def _judge_others(others: tuple[OtherPeer, ...]) -> list[Finding]:
    connected = [one for one in others if one.state == "connected"]
    findings = []
    if connected:
        count = "1 other peer" if len(connected) == 1 else f"{len(connected)} other peers"
        findings.append(ok(CHECK, "connected", f"it is connected to {count}"))
    else:
        findings.append(
            note(
                CHECK,
                "nobody",
                "it is connected to no other peer",
                "if others run: `lanspread doctor --peer HOST:7373` with the address of one tells "
                "what fails on the way",
            )
        )
    for one in others:
        where = f"{one.name} ({', '.join(one.addresses[:2]) or 'no address'})"
        if one.state == "incompatible":
            findings.append(
                warning(
                    CHECK,
                    "incompatible",
                    f"{where} has another protocol version",
                    "bring both machines to the same version of lanspread",
                )
            )
        elif one.state == "refused":
            findings.append(
                warning(
                    CHECK, "refused", f"{where} refuses us", "see the log of the peer over there"
                )
            )
    return findings
