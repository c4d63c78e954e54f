"""Tickets: good once, for a while, for their holder; never more than their holder may have."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from lanspread import limits
from lanspread.testing.entropy import SeededEntropy
from lanspread.transfer.bulk.tickets import Ticket, TicketBook, TooManyLanes

HOLDERS = st.sampled_from(["anna", "bert", "carl"])


class TicketLife(RuleBasedStateMachine):
    """The book against a plain account of what was given out, spent and dropped."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.book = TicketBook(SeededEntropy("tickets"))
        self.now = 0.0
        self.out: dict[Ticket, bool] = {}

    def held(self, holder: str) -> int:
        return sum(ticket.holder == holder for ticket in self.out)

    def good(self, ticket: Ticket) -> bool:
        spent = self.out.get(ticket, True)
        return not spent and self.now < ticket.expires_at

    @rule(seconds=st.floats(0, limits.LANE_TICKET_S))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(holder=HOLDERS, target=tickets)
    def issue(self, holder: str) -> Ticket | None:
        if self.held(holder) == limits.MAX_LANES_PER_SESSION:
            with pytest.raises(TooManyLanes):
                self.book.issue(holder, "10.0.0.1", self.now)
            return None
        ticket = self.book.issue(holder, "10.0.0.1", self.now)
        assert all(ticket.id != other.id for other in self.out)
        self.out[ticket] = False
        return ticket

    @rule(ticket=tickets, right=st.booleans())
    def spend(self, ticket: Ticket | None, right: bool) -> None:
        if ticket is None:
            return
        expected = right and self.good(ticket)
        secret = ticket.secret if right else ticket.secret[:-1] + b"\0\0"
        assert self.book.spend(ticket, secret, self.now) is expected
        if expected:
            self.out[ticket] = True

    @rule(ticket=consumes(tickets))
    def drop(self, ticket: Ticket | None) -> None:
        if ticket is not None:
            self.book.drop(ticket)
            del self.out[ticket]
            assert not self.book.spend(ticket, ticket.secret, self.now)

    @invariant()
    def only_good_ones_are_found(self) -> None:
        for ticket in self.out:
            assert (self.book.find(ticket.id, self.now) is ticket) is self.good(ticket)


TestTicketLife = TicketLife.TestCase


def test_a_ticket_does_not_show_its_secret() -> None:
    ticket = TicketBook(SeededEntropy("tickets")).issue("anna", "10.0.0.1", 0.0)
    assert ticket.secret.hex() not in repr(ticket)
    assert repr(ticket.secret) not in repr(ticket)


def test_sessions_of_one_host_and_all_together_have_so_many() -> None:
    book = TicketBook(SeededEntropy("tickets"))
    held = [book.issue(number, "10.0.0.1", 0.0) for number in range(limits.MAX_LANES_PER_HOST)]
    with pytest.raises(TooManyLanes):
        book.issue("one more", "10.0.0.1", 0.0)
    for number in range(limits.MAX_LANES - limits.MAX_LANES_PER_HOST):
        held.append(book.issue(("others", number), f"10.0.1.{number % 100}", 0.0))
    with pytest.raises(TooManyLanes):
        book.issue("one more", "10.0.0.2", 0.0)
    for ticket in held:
        book.drop(ticket)
    book.issue("one more", "10.0.0.1", 0.0)
