"""What arrives for one download, counted as it comes: a chunk under a low limit takes minutes.

Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from lanspread.sync.session import Session
from lanspread.transfer.operation import SourceRates
from lanspread.transfer.ratelimit import RateLimit


class Intake:
    """The limit on what is fetched, and how much of it this download took, in bytes.

    Whatever arrives counts, also what is thrown away later.
    """

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self.total = 0
        self.rates = SourceRates(now)

    def piece(self, most: int) -> int:
        """As `RateLimit.piece`."""
        return self._limit.piece(most)

    async def take(self, amount: int, session: Session) -> None:
        """Note what came on a session, then wait as `RateLimit.take`."""
        self.total += amount
        self.rates.add(session.peer_id, amount)
        await self._limit.take(amount, session)
