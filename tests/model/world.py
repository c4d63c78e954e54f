"""The model of a LAN: which steps make sense, and what must be true in the end. Pure."""

from __future__ import annotations

import attrs

from tests.model import steps as s


@attrs.define
class PeerModel:
    """One peer. `identity` is a number that two peers share only while one is a clone."""

    identity: int
    games: dict[str, str] = attrs.Factory(dict)
    running: bool = True
    plugged_in: bool = True
    # The identity of the copy that was made of its state, None without one.
    saved: int | None = None


@attrs.define
class World:
    """What the steps so far have made of the LAN."""

    peers: list[PeerModel]
    split: bool = False
    blocked: set[tuple[int, int]] = attrs.Factory(set)
    _identities: int = 0

    @classmethod
    def of(cls, count: int) -> World:
        return cls([PeerModel(identity) for identity in range(count)], identities=count)

    def is_off(self, number: int) -> bool:
        return not self.peers[number].running

    def is_clone(self, number: int) -> bool:
        """Whether another peer has the same identity."""
        mine = self.peers[number].identity
        return any(
            peer.identity == mine for other, peer in enumerate(self.peers) if other != number
        )

    def clones(self) -> list[int]:
        """Who has to get another identity so that all differ."""
        seen: set[int] = set()
        twice = []
        for number, peer in enumerate(self.peers):
            if peer.identity in seen:
                twice.append(number)
            seen.add(peer.identity)
        return twice

    def apply(self, step: s.Step) -> None:
        match step:
            case s.PutGame():
                self.peers[step.peer].games[step.game] = step.version
            case s.RemoveGame():
                del self.peers[step.peer].games[step.game]
            case s.Crash() | s.Stop():
                self.peers[step.peer].running = False
            case s.Start():
                self.peers[step.peer].running = True
            case s.Wipe():
                self.peers[step.peer].identity = self._new_identity()
            case s.Save():
                self.peers[step.peer].saved = self.peers[step.peer].identity
            case s.Rewind():
                saved = self.peers[step.peer].saved
                assert saved is not None
                self.peers[step.peer].identity = saved
            case s.Clone():
                self.peers[step.peer].identity = self.peers[step.source].identity
            case s.Renew():
                self.peers[step.peer].identity = self._new_identity()
                self.peers[step.peer].running = True
            case s.Partition():
                self.split = True
            case s.Heal():
                self.split = False
            case s.Block():
                self.blocked.add((step.sender, step.receiver))
            case s.Unblock():
                self.blocked.discard((step.sender, step.receiver))
            case s.Unplug():
                self.peers[step.peer].plugged_in = False
            case s.PlugIn():
                self.peers[step.peer].plugged_in = True
            case s.Forget() | s.Renumber() | s.Sleep() | s.Wait():
                pass
            case _:
                raise AssertionError(step)

    def calm(self) -> list[s.Step]:
        """The steps after which nothing is disturbed any more."""
        found: list[s.Step] = [s.Heal()] if self.split else []
        found += [s.Unblock(*pair) for pair in sorted(self.blocked)]
        found += [s.PlugIn(n) for n, peer in enumerate(self.peers) if not peer.plugged_in]
        for number in self.clones():
            if self.peers[number].running:
                found.append(s.Stop(number))
            found.append(s.Renew(number))
        return found

    def _new_identity(self) -> int:
        self._identities += 1
        return self._identities
