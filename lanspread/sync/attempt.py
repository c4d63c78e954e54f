"""One attempt to reach somebody: how many at a time, and which of several addresses.

Source: ARCHITECTURE.md, "Dialing"; the staggered start is that of RFC 8305.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from lanspread import limits
from lanspread.seams import Address
from lanspread.sync.errors import HandshakeFailed, HandshakeFault
from lanspread.sync.session import Session
from lanspread.transport import ConnectFailed

# What a dial that came to nothing raises.
DialError = HandshakeFailed | ConnectFailed | OSError

# The peer itself has spoken: its other addresses would say the same.
_FINAL = frozenset(
    {
        HandshakeFault.SELF,
        HandshakeFault.CLONE,
        HandshakeFault.INCOMPATIBLE,
        HandshakeFault.REFUSED,
        HandshakeFault.REPLACED,
    }
)


class Rank(enum.Enum):
    """Who is dialed. Each rank has slots of its own, so that none waits for one below it."""

    ASKED = "a person waits for it"
    NAMED = "a person named it, or there was a session with it"
    MISSED = "its session may be over, and nobody named it"
    FRESH = "mDNS spoke of it, and it was not tried yet"
    FAILED = "mDNS spoke of it, and it was tried in vain"


class Slots:
    """So many at a time; of those that wait, the urgent ones first, then who came first."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._urgent: dict[trio.Event, None] = {}
        self._others: dict[trio.Event, None] = {}

    @asynccontextmanager
    async def one(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Hold a slot for the block. Cancelled while waiting, it holds none."""
        await trio.lowlevel.checkpoint()
        if self._free:
            self._free -= 1
        else:
            await self._wait(self._urgent if urgent else self._others)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, queue: dict[trio.Event, None]) -> None:
        mine = trio.Event()
        queue[mine] = None
        try:
            await mine.wait()
        except BaseException:
            if mine.is_set():
                # It was handed over at this very moment.
                self._pass_on()
            queue.pop(mine, None)
            raise

    def _pass_on(self) -> None:
        for queue in (self._urgent, self._others):
            if queue:
                event = next(iter(queue))
                del queue[event]
                event.set()
                return
        self._free += 1


def make_slots() -> dict[Rank, Slots]:
    """How many are dialed at a time."""
    return {rank: Slots(limits.MAX_DIALS_AT_ONCE) for rank in Rank}


async def first_to_greet(
    dial: Callable[[Address], Awaitable[Session]], addresses: Sequence[Address]
) -> Session:
    """Dial the addresses of one peer, each a little later than the one before it.

    The next one begins after `limits.DIAL_STAGGER_S`, or when all before it failed. The first
    session wins and the other dials are cancelled. Raises the `DialError` that says most.
    """
    sessions: list[Session] = []
    failures: list[DialError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            sessions.append(await dial(address))
        except (HandshakeFailed, ConnectFailed, OSError) as error:
            failures.append(error)
            failed.set()
            if not is_final(error):
                return
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for address in addresses[: limits.MAX_ADDRESSES_PER_PEER]:
            failed = trio.Event()
            nursery.start_soon(attempt, address, failed)
            with trio.move_on_after(limits.DIAL_STAGGER_S):
                await failed.wait()
    if sessions:
        return sessions[0]
    raise max(failures, key=_says, default=OSError("the name has no address"))


def is_final(error: DialError) -> bool:
    """Whether the peer itself ended the attempt, so that no other address is worth trying."""
    return isinstance(error, HandshakeFailed) and error.kind in _FINAL


def _says(error: DialError) -> tuple[bool, bool]:
    return is_final(error), isinstance(error, HandshakeFailed)
