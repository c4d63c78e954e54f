"""All probes, at once and within their deadlines, and all judgements, in one order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import attrs
import trio

from lanspread.doctor import (
    firewall,
    folders,
    interfaces,
    multicast,
    ports,
    running,
    system,
    versions,
    way,
    way_judgement,
)
from lanspread.doctor.findings import Finding, fault
from lanspread.doctor.folders import Folder
from lanspread.doctor.interfaces import OwnAddress
from lanspread.doctor.mdns_socket import Tried, try_multicast
from lanspread.doctor.multicast import Stranger
from lanspread.doctor.probing import Probe, aside
from lanspread.doctor.running import NotRunning, Running, RunningPeer
from lanspread.doctor.udp_probe import has_route
from lanspread.doctor.wanted import Wanted
from lanspread.doctor.way import Way
from lanspread.doctor.way_judgement import Us
from lanspread.platform import RealEntropy, RealSuspendClock, RealThreads, RealWallClock
from lanspread.transport.mdns import choose_interfaces
from lanspread.transport.udp import UdpNetwork

# For everything together; what is not ready then is told as not looked at.
TOTAL_S = 9.5
# Beyond the way's own deadline, which tells what was found by then.
_WAY_S = way.WITHIN_S + 0.5
_QUICK_S = 3.0
_MULTICAST_S = 4.0
_MAX_INTERFACES = 16

T = TypeVar("T")
AskRunning = Callable[[], Awaitable[RunningPeer]]


async def examine(wanted: Wanted, ask_running: AskRunning) -> list[Finding]:
    """Look at everything and judge it. Ends within 10 s, whatever the network does.

    `ask_running` asks the API of the peer that runs on the state folder. Nothing on the machine is
    changed, and with loopback interfaces alone nothing leaves it. Cancellation leaves nothing.
    """
    wall, steady = RealWallClock(), RealSuspendClock()
    began = wall.now(), steady.now()
    probes = _Probes(wanted, ask_running)
    with trio.move_on_after(TOTAL_S):
        async with trio.open_nursery() as nursery:
            for probe in probes.every:
                nursery.start_soon(probe)
    ended = wall.now()
    findings = _settings(wanted) + probes.judge()
    findings += _clock(began, ended, steady.now())
    return findings


def _settings(wanted: Wanted) -> list[Finding]:
    if not wanted.trouble:
        return []
    remedy = "mend the setting; until then `run` does not start, and defaults are looked at here"
    return [fault("settings", "settings", wanted.trouble, remedy)]


def _clock(began: tuple[datetime, float], now: datetime, steady_s: float) -> list[Finding]:
    return system.judge_clock(now, (now - began[0]).total_seconds(), steady_s - began[1])


@attrs.frozen
class _Heard:
    """What multicast brought, and whether there is a way to those who are not near."""

    tried: tuple[Tried, ...]
    beyond: tuple[Stranger, ...]


class _Probes:
    """What is looked at, and what is made of it when all is there."""

    def __init__(self, wanted: Wanted, ask_running: AskRunning) -> None:
        self._wanted = wanted
        self._network = UdpNetwork(RealThreads())
        self._versions = _quick(versions.CHECK, versions.look_at_versions)
        self._own = _quick(interfaces.CHECK, interfaces.look_at_interfaces)
        self._running = Probe(running.CHECK, _QUICK_S, ask_running)
        self._heard = Probe(multicast.CHECK, _MULTICAST_S, self._listen)
        self._ports = _quick(ports.CHECK, lambda: ports.look_at_ports(wanted))
        self._firewalls = _quick(firewall.CHECK, firewall.look_at_firewalls)
        self._udp = _quick("buffers", system.look_at_udp)
        self._watches = _quick("watches", system.look_at_watches)
        self._state = _quick(folders.CHECK, lambda: folders.look_at_folder("state", wanted.state))
        self._games = Probe(folders.CHECK, 2 * _QUICK_S, self._look_at_games)
        self._way = Probe("peer way", _WAY_S, self._walk)
        self.every: tuple[Callable[[], Awaitable[None]], ...] = (
            self._versions.run, self._own.run, self._running.run, self._heard.run, self._ports.run,
            self._firewalls.run, self._udp.run, self._watches.run, self._state.run,
            self._games.run, self._way.run,
        )  # fmt: skip

    async def _listen(self) -> _Heard:
        if not self._wanted.mdns:
            return _Heard((), ())
        own = await aside(interfaces.look_at_interfaces)
        chosen = self._wanted.interfaces or choose_interfaces([one.local for one in own])
        names = {one.host: one.interface for one in own}
        tried: list[Tried] = []

        async def one(host: str) -> None:
            tried.append(await try_multicast(host, names[host]))

        async with trio.open_nursery() as nursery:
            for host in [host for host in chosen if host in names][:_MAX_INTERFACES]:
                nursery.start_soon(one, host)
        tried.sort(key=lambda one: one.host)
        far = multicast.strangers(tried, own)
        beyond = tuple(Stranger(host, peer_id, has_route(host)) for host, peer_id in far)
        return _Heard(tuple(tried), beyond)

    async def _look_at_games(self) -> tuple[Folder, ...]:
        # A running peer may share from another folder than the settings name.
        await self._running.ended.wait()
        path = folders.games_folder(self._wanted, self._peer)
        return () if path is None else (await aside(folders.look_at_folder, "games", path),)

    async def _walk(self) -> tuple[Way, ...]:
        if self._wanted.peer is None:
            return ()
        return (await way.walk(self._wanted, self._wanted.peer, self._network, RealEntropy()),)

    @property
    def _peer(self) -> RunningPeer:
        return self._running.result or NotRunning()

    # -- judging -----------------------------------------------------------------------------------

    def judge(self) -> list[Finding]:
        wanted = self._wanted
        return [
            *self._versions.judge(versions.judge_versions),
            *self._own.judge(lambda own: interfaces.judge_interfaces(own, wanted.interfaces)),
            *self._heard.judge(self._judge_heard),
            *self._ports.judge(lambda found: ports.judge_ports(found, self._peer)),
            *self._firewalls.judge(
                lambda found: firewall.judge_firewalls(
                    found, ports.ports_of_peers(wanted, self._peer)
                )
            ),
            *self._udp.judge(system.judge_udp),
            *system.judge_open_files(system.open_file_limit()),
            *self._games.judge(self._judge_games),
            *self._state.judge(lambda folder: folders.judge_folder(folder, self._peer)),
            *self._watches.judge(lambda found: system.judge_watches(found, self._game_folders)),
            *self._running.judge(running.judge_running),
            *self._way.judge(self._judge_way),
        ]

    def _judge_heard(self, heard: _Heard) -> list[Finding]:
        if not self._wanted.mdns:
            return multicast.judge_no_mdns()
        return multicast.judge_multicast(
            heard.tried, self._own.result or (), heard.beyond, self._own_peer_id
        )

    def _judge_games(self, found: Sequence[Folder]) -> list[Finding]:
        if not found:
            return folders.judge_no_games()
        return [finding for one in found for finding in folders.judge_folder(one, self._peer)]

    def _judge_way(self, found: Sequence[Way]) -> list[Finding]:
        own: Sequence[OwnAddress] = self._own.result or ()
        heard = self._heard.result if self._wanted.mdns else None
        us = Us(
            own=own,
            peer_id=self._own_peer_id,
            heard=None if heard is None else multicast.heard_peers(heard.tried),
        )
        return [finding for one in found for finding in way_judgement.judge_way(one, us)]

    @property
    def _own_peer_id(self) -> str | None:
        return self._peer.peer_id if isinstance(self._peer, Running) else None

    @property
    def _game_folders(self) -> int:
        return sum(folder.games for folder in self._games.result or ())


def _quick(check: str, look: Callable[[], T]) -> Probe[T]:
    return Probe(check, _QUICK_S, lambda: aside(look))
