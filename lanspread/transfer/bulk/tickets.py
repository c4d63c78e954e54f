"""Tickets: who may bring a lane, once. Pure.

A ticket is given out on a session and is worth one lane of that session. Its id says, in clear,
which ticket a connection is about; only its secret, sent inside TLS to the listener that gave it
out, spends it. Source: docs/protocol.md, "Lanes".
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Hashable

import attrs

from lanspread import limits
from lanspread.seams import Entropy

ID_BYTES = 16
SECRET_BYTES = 32


class TooManyLanes(Exception):
    """The session, or its host, has all the tickets and lanes that it may have, or all have."""


@attrs.frozen(eq=False)
class Ticket:
    """One permission. `holder` is whose it is, `host` where that is, `expires_at` a time of
    `trio.current_time()`."""

    id: bytes
    secret: bytes = attrs.field(repr=False)
    holder: Hashable
    host: str
    expires_at: float


class TicketBook:
    """The tickets that are out. A ticket counts against its holder until it is dropped."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._unspent: dict[bytes, Ticket] = {}
        self._held: Counter[Hashable] = Counter()
        self._hosts: Counter[str] = Counter()

    def issue(self, holder: Hashable, host: str, now: float) -> Ticket:
        """A new ticket. Raises `TooManyLanes`.

        Sessions cost a host little; descriptors, of which each lane has one, are few.
        """
        if (
            self._held[holder] >= limits.MAX_LANES_PER_SESSION
            or self._hosts[host] >= limits.MAX_LANES_PER_HOST
            or self._hosts.total() >= limits.MAX_LANES
        ):
            raise TooManyLanes
        self._held[holder] += 1
        self._hosts[host] += 1
        ticket = Ticket(
            self._entropy.token_bytes(ID_BYTES),
            self._entropy.token_bytes(SECRET_BYTES),
            holder,
            host,
            now + limits.LANE_TICKET_S,
        )
        self._unspent[ticket.id] = ticket
        return ticket

    def find(self, ticket_id: bytes, now: float) -> Ticket | None:
        """The ticket of this id, if it could be spent now. Spends nothing."""
        ticket = self._unspent.get(ticket_id)
        return ticket if ticket is not None and now < ticket.expires_at else None

    def spend(self, ticket: Ticket, secret_untrusted: bytes, now: float) -> bool:
        """Whether the ticket is worth a lane, which it is only this once.

        A wrong secret spends nothing: whoever saw the id go by must not be able to spoil it.
        """
        if self.find(ticket.id, now) is not ticket:
            return False
        if not hmac.compare_digest(ticket.secret, secret_untrusted):
            return False
        del self._unspent[ticket.id]
        return True

    def drop(self, ticket: Ticket) -> None:
        """Ticket and lane are done with. To be called once for each that was issued."""
        self._unspent.pop(ticket.id, None)
        # What comes to nothing is left out.
        self._held -= Counter([ticket.holder])
        self._hosts -= Counter([ticket.host])
