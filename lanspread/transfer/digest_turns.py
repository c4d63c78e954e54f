"""How much hashing others can make us do. To ask costs a packet, to hash a game minutes of a disk.

Source: ARCHITECTURE.md, "Serving".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from lanspread import limits
from lanspread.sync.fair import FairSlots

# Hosts that are remembered; of more, those that asked least recently are forgotten.
_MAX_HOSTS = 1_024


class TooManyAsked(Exception):
    """A host has asked for more games than it may while they are not done."""


class DigestTurns:
    """Turns to have a game hashed: few at once, fairly by host, and no host asks for ever more.

    What a host asked for counts against it until it is done, or for `limits.DIGESTS_ASKED_S`:
    who breaks off and asks for the next game gains nothing.
    """

    def __init__(self) -> None:
        self._slots = FairSlots(limits.MAX_DIGESTED_GAMES)
        # Host to game and when it was asked for last.
        self._asked: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()

    @asynccontextmanager
    async def take(self, host: str, game_id: str) -> AsyncIterator[None]:
        """Hash the game inside the block, once it is its turn. Raises `TooManyAsked`.

        Left without an error, it is done. Cancelled waiting takes no turn.
        """
        self._note(host, game_id)
        async with self._slots.take(host):
            yield
        asked = self._asked.get(host)
        if asked is not None:
            asked.pop(game_id, None)

    def _note(self, host: str, game_id: str) -> None:
        now = trio.current_time()
        asked = self._asked.setdefault(host, OrderedDict())
        self._asked.move_to_end(host)
        while asked and next(iter(asked.values())) <= now - limits.DIGESTS_ASKED_S:
            asked.popitem(last=False)
        if game_id not in asked and len(asked) >= limits.MAX_DIGESTS_ASKED_PER_HOST:
            raise TooManyAsked(host)
        asked[game_id] = now
        asked.move_to_end(game_id)
        while len(self._asked) > _MAX_HOSTS:
            self._asked.popitem(last=False)
