"""Carrying steps out on a virtual LAN, and the invariant: views equal the libraries they are of."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import trio
from trio.testing import MockClock

from lanspread.fs.state import LIBRARY_FILE
from lanspread.model import GameSummary
from lanspread.testing import Link, VirtualLan, VirtualPeer, open_virtual_lan
from tests.model import steps as s
from tests.model.world import World

LINK = Link(latency_s=0.001, jitter_s=0.002, loss=0.05, duplication=0.01, reordering=0.02)
# Within this time after the last disturbance everything is right again. A peer that was away for
# long is dialed rarely: that is the largest part of it.
CONVERGED_S = 120.0


class Scenario:
    """The peers of one run."""

    def __init__(self, lan: VirtualLan, count: int) -> None:
        self.lan = lan
        self.peers = [lan.add_peer(f"p{number}") for number in range(count)]
        self.world = World.of(count)

    async def perform(self, step: s.Step) -> None:
        self.world.apply(step)
        match step:
            case s.PutGame():
                files = {"data.eti": 1_000 + len(step.version)}
                self.peers[step.peer].put_game(step.game, files, version=step.version)
            case s.RemoveGame():
                self.peers[step.peer].remove_game(step.game)
            case s.Crash():
                await self.peers[step.peer].crash()
            case s.Stop():
                await self.peers[step.peer].stop()
            case s.Start():
                await self.peers[step.peer].start()
            case s.Renew():
                await self.peers[step.peer].start(new_identity=True)
            case s.Wipe() | s.Forget() | s.Save() | s.Rewind() | s.Clone():
                self._change_state(step)
            case s.Wait():
                await trio.sleep(step.seconds)
            case s.Sleep():
                await self.peers[step.peer].host.sleep_machine(step.seconds)
            case _:
                self._disturb(step)

    def _change_state(self, step: s.Wipe | s.Forget | s.Save | s.Rewind | s.Clone) -> None:
        peer = self.peers[step.peer]
        saved = peer.state.with_name("saved")
        match step:
            case s.Wipe():
                peer.wipe_state()
            case s.Forget():
                (peer.state / LIBRARY_FILE).unlink()
            case s.Save():
                shutil.rmtree(saved, ignore_errors=True)
                shutil.copytree(peer.state, saved)
            case s.Rewind():
                peer.wipe_state()
                shutil.copytree(saved, peer.state)
            case s.Clone():
                peer.wipe_state()
                shutil.copytree(self.peers[step.source].state, peer.state)

    def _disturb(self, step: s.Step) -> None:
        hosts = [peer.host for peer in self.peers]
        match step:
            case s.Partition():
                self.lan.partition([hosts[number] for number in sorted(step.side)])
            case s.Heal():
                self.lan.heal()
            case s.Block():
                self.lan.block(hosts[step.sender], hosts[step.receiver])
            case s.Unblock():
                self.lan.unblock(hosts[step.sender], hosts[step.receiver])
            case s.Unplug():
                hosts[step.peer].unplug()
            case s.PlugIn():
                hosts[step.peer].plug_in()
            case s.Renumber():
                hosts[step.peer].change_addresses()
            case _:
                raise AssertionError(step)

    # -- the invariant ----------------------------------------------------------------------------

    def wrong(self) -> list[str]:
        """Where a view is not what it is of; empty if all is well."""
        running = [peer for peer in self.peers if peer.is_running]
        found = []
        for peer, model in zip(self.peers, self.world.peers, strict=True):
            if peer.is_running and on_disk(peer) != model.games:
                found.append(f"{peer.name} has {on_disk(peer)}, not {model.games}")
            elif peer.is_running and told(peer) != model.games:
                found.append(f"{peer.name} tells {told(peer)}, not {model.games}")
        for viewer in running:
            others = {peer.peer_id: peer for peer in running if peer is not viewer}
            if viewer.connected() != others.keys():
                found.append(f"{viewer.name} is connected to {viewer.connected()}")
            for peer_id, peer in others.items():
                if seen(viewer, peer_id) != published(peer):
                    found.append(
                        f"{viewer.name} sees {seen(viewer, peer_id)} of {peer.name},"
                        f" which has {published(peer)}"
                    )
        return found

    async def converge(self) -> float:
        """Wait until all is right, at most `CONVERGED_S`; returns how long it took."""
        began = trio.current_time()
        while found := self.wrong():
            assert trio.current_time() - began < CONVERGED_S, "\n".join(found)
            await trio.sleep(0.5)
        return trio.current_time() - began


def on_disk(peer: VirtualPeer) -> dict[str, str]:
    """What the peer says it has: versions by game."""
    return {game.id: game.version for game in peer.peer.library.games.values()}


def told(peer: VirtualPeer) -> dict[str, str]:
    """What the peer tells others: versions by game."""
    return {game.id: game.eti_version for game in peer.peer.published.games.values()}


def published(peer: VirtualPeer) -> dict[str, GameSummary]:
    return dict(peer.peer.published.games)


def seen(viewer: VirtualPeer, peer_id: str) -> dict[str, GameSummary]:
    record = viewer.peer.directory.get(peer_id)
    return {} if record is None else {game.id: game for game in record.offers.values()}


async def play(steps: Sequence[s.Step], *, peers: int, seed: int) -> float:
    """Carry the steps out, end every disturbance, and hold the invariant to its time.

    Returns how long it took after the last disturbance, in virtual seconds.
    """
    async with open_virtual_lan(seed=seed, link=LINK) as lan:
        scenario = Scenario(lan, peers)
        for peer in scenario.peers:
            await peer.start()
        for step in steps:
            await scenario.perform(step)
        for step in scenario.world.calm():
            await scenario.perform(step)
        return await scenario.converge()


def run(steps: Sequence[s.Step], *, peers: int, seed: int) -> float:
    """`play` in a trio of its own, in virtual time."""

    async def main() -> float:
        return await play(steps, peers=peers, seed=seed)

    return trio.run(main, clock=MockClock(autojump_threshold=0))
