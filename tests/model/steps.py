"""What can happen on a LAN, as values: made by the model, carried out by the scenario. Pure."""

from __future__ import annotations

import attrs


@attrs.frozen
class Step:
    """Base. Peers are numbers."""


@attrs.frozen
class PutGame(Step):
    """A game is copied in, or another version over it."""

    peer: int
    game: str
    version: str


@attrs.frozen
class RemoveGame(Step):
    peer: int
    game: str


@attrs.frozen
class Crash(Step):
    peer: int


@attrs.frozen
class Stop(Step):
    """It leaves in order."""

    peer: int


@attrs.frozen
class Start(Step):
    """After a crash or a stop, with what is on its disk."""

    peer: int


@attrs.frozen
class Wipe(Step):
    """Off already, it loses its state folder: the next start is another peer."""

    peer: int


@attrs.frozen
class Forget(Step):
    """Off already, it loses what it knew of its library: the same peer in a new epoch."""

    peer: int


@attrs.frozen
class Save(Step):
    """A copy is made of the state folder of a peer that is off."""

    peer: int


@attrs.frozen
class Rewind(Step):
    """Off already, it gets the copy back: an older revision, that grows again from there."""

    peer: int


@attrs.frozen
class Clone(Step):
    """Off already, it gets a copy of the state of another that is off: one identity, twice."""

    peer: int
    source: int


@attrs.frozen
class Renew(Step):
    """A clone is started with an identity of its own."""

    peer: int


@attrs.frozen
class Partition(Step):
    """Those in `side` and the others do not reach each other."""

    side: frozenset[int]


@attrs.frozen
class Heal(Step):
    pass


@attrs.frozen
class Block(Step):
    """Nothing passes from one to another; the other way is open."""

    sender: int
    receiver: int


@attrs.frozen
class Unblock(Step):
    sender: int
    receiver: int


@attrs.frozen
class Unplug(Step):
    peer: int


@attrs.frozen
class PlugIn(Step):
    peer: int


@attrs.frozen
class Renumber(Step):
    """A new lease: other addresses, the same peer."""

    peer: int


@attrs.frozen
class Sleep(Step):
    """The machine sleeps and wakes up."""

    peer: int
    seconds: float


@attrs.frozen
class Wait(Step):
    seconds: float
