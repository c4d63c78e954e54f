"""Whatever happens on the LAN: soon after the last disturbance every view is right again.

The state machine decides what can happen, and notes it; at its end the steps are carried out by
whole peers on a virtual LAN with 5 % loss. A failure prints the steps and the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.conftest import SOAK
from tests.model import steps as s
from tests.model.scenario import run
from tests.model.world import World

PEERS = 5
GAMES = ("chess", "doom", "quake", "Zork")
VERSIONS = ("1.0", "2.0", "10.0-final")
WAITS = (0.05, 0.5, 3.0, 20.0, 60.0)
SLEEPS = (5.0, 40.0, 120.0)

numbers = st.integers(0, PEERS - 1)


class LanMachine(RuleBasedStateMachine):
    """Each rule is one thing that can happen now."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World.of(PEERS)
        self.steps: list[s.Step] = []
        self.seed = 0

    @initialize(seed=st.integers(0, 2**32 - 1))
    def choose_seed(self, seed: int) -> None:
        self.seed = seed

    def note(self, step: s.Step) -> None:
        self.world.apply(step)
        self.steps.append(step)

    def _pick(self, chosen: int, fits: Callable[[int], bool]) -> int | None:
        """The first peer from `chosen` on that fits."""
        order = [(chosen + offset) % PEERS for offset in range(PEERS)]
        return next((number for number in order if fits(number)), None)

    @rule(peer=numbers, game=st.sampled_from(GAMES), version=st.sampled_from(VERSIONS))
    def put_game(self, peer: int, game: str, version: str) -> None:
        self.note(s.PutGame(peer, game, version))

    @precondition(lambda self: any(peer.games for peer in self.world.peers))
    @rule(peer=numbers, which=st.integers(0, len(GAMES) - 1))
    def remove_game(self, peer: int, which: int) -> None:
        found = self._pick(peer, lambda number: bool(self.world.peers[number].games))
        assert found is not None
        games = sorted(self.world.peers[found].games)
        self.note(s.RemoveGame(found, games[which % len(games)]))

    @rule(peer=numbers, how=st.sampled_from([s.Crash, s.Stop]))
    def leave(self, peer: int, how: type[s.Crash] | type[s.Stop]) -> None:
        found = self._pick(peer, lambda number: not self.world.is_off(number))
        if found is not None:
            self.note(how(found))

    @precondition(lambda self: any(not peer.running for peer in self.world.peers))
    @rule(peer=numbers)
    def start(self, peer: int) -> None:
        found = self._pick(peer, self.world.is_off)
        assert found is not None
        self.note(s.Start(found))

    @rule(peer=numbers, crash=st.booleans())
    def restart_quickly(self, peer: int, crash: bool) -> None:
        if not self.world.is_off(peer):
            self.note(s.Crash(peer) if crash else s.Stop(peer))
            self.note(s.Start(peer))

    @precondition(lambda self: any(not peer.running for peer in self.world.peers))
    @rule(peer=numbers, what=st.sampled_from([s.Wipe, s.Forget, s.Save, s.Rewind]))
    def change_state(
        self, peer: int, what: type[s.Wipe] | type[s.Forget] | type[s.Save] | type[s.Rewind]
    ) -> None:
        found = self._pick(peer, self.world.is_off)
        assert found is not None
        if what is not s.Rewind or self.world.peers[found].saved is not None:
            self.note(what(found))

    @rule(peer=numbers, games=st.tuples(*2 * [st.sampled_from(GAMES)]), rewind=st.booleans())
    def grow_again(self, peer: int, games: tuple[str, str], rewind: bool) -> None:
        """One change, seen by all; then its state is as before, and another change is made."""
        if self.world.is_off(peer):
            return
        for step in (
            *((s.Stop(peer), s.Save(peer), s.Start(peer)) if rewind else ()),
            s.PutGame(peer, games[0], f"{len(self.steps)}"),
            s.Wait(3.0),
            s.Stop(peer),
            s.Rewind(peer) if rewind else s.Forget(peer),
            s.Start(peer),
            s.PutGame(peer, games[1], f"{len(self.steps)}.b"),
        ):
            self.note(step)

    @precondition(lambda self: sum(not peer.running for peer in self.world.peers) >= 2)
    @rule(peer=numbers)
    def clone(self, peer: int) -> None:
        source = self._pick(peer, self.world.is_off)
        assert source is not None
        found = self._pick(source + 1, self.world.is_off)
        assert found is not None
        self.note(s.Clone(found, source))

    @precondition(lambda self: bool(self.world.clones()))
    @rule()
    def renew_a_clone(self) -> None:
        number = self.world.clones()[0]
        if not self.world.is_off(number):
            self.note(s.Stop(number))
        self.note(s.Renew(number))

    @rule(side=st.frozensets(numbers, min_size=1, max_size=PEERS - 1))
    def partition(self, side: frozenset[int]) -> None:
        self.note(s.Partition(side))

    @precondition(lambda self: self.world.split)
    @rule()
    def heal(self) -> None:
        self.note(s.Heal())

    @rule(sender=numbers, receiver=numbers)
    def block_or_unblock(self, sender: int, receiver: int) -> None:
        if sender != receiver:
            blocked = (sender, receiver) in self.world.blocked
            self.note(s.Unblock(sender, receiver) if blocked else s.Block(sender, receiver))

    @rule(peer=numbers)
    def pull_or_plug_in(self, peer: int) -> None:
        plugged_in = self.world.peers[peer].plugged_in
        self.note(s.Unplug(peer) if plugged_in else s.PlugIn(peer))

    @rule(peer=numbers)
    def renumber(self, peer: int) -> None:
        self.note(s.Renumber(peer))

    @rule(peer=numbers, seconds=st.sampled_from(SLEEPS))
    def sleep(self, peer: int, seconds: float) -> None:
        self.note(s.Sleep(peer, seconds))

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: float) -> None:
        self.note(s.Wait(seconds))

    def teardown(self) -> None:
        run(self.steps, peers=PEERS, seed=self.seed)


TestConvergence = LanMachine.TestCase
TestConvergence.settings = settings(
    max_examples=500 if SOAK else 14, stateful_step_count=50, deadline=None
)


def random_steps(count: int, peers: int, seed: int) -> list[s.Step]:
    """Steps that make sense one after the other, from a seed."""
    rng = random.Random(seed)
    world = World.of(peers)
    chosen: list[s.Step] = []
    while len(chosen) < count:
        step = random_step(rng, world, peers)
        if step is not None:
            world.apply(step)
            chosen.append(step)
    return chosen


def random_step(rng: random.Random, world: World, peers: int) -> s.Step | None:
    """One step, None if the one that was drawn makes no sense now."""
    number = rng.randrange(peers)
    peer = world.peers[number]
    kind = rng.choices(
        [s.PutGame, s.RemoveGame, s.Crash, s.Stop, s.Start, s.Wipe, s.Partition, s.Heal, s.Unplug,
         s.PlugIn, s.Renumber, s.Sleep, s.Wait],
        [30, 8, 3, 3, 12, 1, 1, 4, 1, 5, 3, 2, 20],
    )[0]  # fmt: skip
    if kind is s.PutGame:
        return s.PutGame(number, f"game-{rng.randrange(40)}", rng.choice(VERSIONS))
    if kind is s.RemoveGame:
        return s.RemoveGame(number, rng.choice(sorted(peer.games))) if peer.games else None
    if kind in (s.Crash, s.Stop):
        return kind(number) if peer.running else None
    if kind in (s.Start, s.Wipe):
        return kind(number) if not peer.running else None
    if kind is s.Partition:
        return s.Partition(frozenset(rng.sample(range(peers), peers // 3)))
    if kind is s.Heal:
        return s.Heal() if world.split else None
    if kind in (s.Unplug, s.PlugIn):
        return kind(number) if peer.plugged_in is (kind is s.Unplug) else None
    if kind is s.Sleep:
        return s.Sleep(number, rng.choice(SLEEPS[:2]))
    if kind is s.Wait:
        return s.Wait(rng.choice(WAITS[:4]))
    return s.Renumber(number)


@pytest.mark.parametrize("seed", range(40) if SOAK else [1])
def test_twenty_peers(seed: int) -> None:
    steps = random_steps(400 if SOAK else 50, 20, seed)
    print(f"seed {seed}")
    run(steps, peers=20, seed=seed)
