"""Virtual mDNS: records reach the other hosts after a delay, and are no proof of life.

Like the real thing, a host that vanishes withdraws nothing: its record stays listed for a long
time, late joiners are told of it, and only then it is gone. A record that was not heard while the
network was split is heard once it is whole again.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from lanspread.seams import Advertisement, Found, Gone

if TYPE_CHECKING:
    from lanspread.testing.host import VirtualHost
    from lanspread.testing.lan import VirtualLan


# When a record is told again, after the first time: with loss, one of these comes through.
_REPEATS_S = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)


@attrs.frozen(kw_only=True)
class Multicast:
    """What mDNS is like: times in seconds, `loss` a probability per record, telling and listener.

    A lost record is told again after 1, 3, 7, … 63 seconds, a lost goodbye never. `stale_s` is how
    long the record of a host that vanished stays listed; real caches keep it for 19 minutes or
    more.
    """

    delay_s: float = 0.1
    jitter_s: float = 0.0
    loss: float = 0.0
    stale_s: float = 1_200.0


@attrs.define(eq=False)
class _Record:
    """One advertisement. `orphaned`: its host was switched off, so nobody answers for it."""

    host: VirtualHost
    advert: Advertisement
    orphaned: bool = False


class VirtualDiscoverySession:
    """`DiscoverySession` of one peer."""

    def __init__(self, multicast: VirtualMulticast, record: _Record) -> None:
        self._multicast = multicast
        self._record = record
        # Last event per record: a reader that stands still costs one entry a record, not a queue.
        self._events: dict[_Record, Found | Gone] = {}
        self._known: dict[_Record, Advertisement] = {}
        self._ready = trio.Event()

    @property
    def host(self) -> VirtualHost:
        return self._record.host

    async def update(self, advert: Advertisement) -> None:
        await trio.lowlevel.checkpoint()
        self._record.advert = advert
        if not self._record.orphaned:
            self._multicast.announce(self._record)

    async def next_event(self) -> Found | Gone:
        await trio.lowlevel.checkpoint()
        while not self._events:
            self._ready = trio.Event()
            await self._ready.wait()
        return self._events.pop(next(iter(self._events)))

    def hear(self, record: _Record) -> None:
        """The record as it is now reached this host."""
        if record is self._record or self._known.get(record) == record.advert:
            return
        self._known[record] = record.advert
        self._put(record, Found(record.advert))

    def hear_goodbye(self, record: _Record) -> None:
        advert = self._known.pop(record, None)
        if advert is not None:
            self._put(record, Gone(advert.peer_id))

    def _put(self, record: _Record, event: Found | Gone) -> None:
        self._events.pop(record, None)
        self._events[record] = event
        self._ready.set()


class VirtualMulticast:
    """The multicast group of a virtual LAN: who advertises, who listens."""

    def __init__(self, lan: VirtualLan, settings: Multicast) -> None:
        self.settings = settings
        self._lan = lan
        self._records: list[_Record] = []
        self._sessions: list[VirtualDiscoverySession] = []
        self._random = lan.random_source("mdns")

    def join(self, record: _Record) -> VirtualDiscoverySession:
        session = VirtualDiscoverySession(self, record)
        self._records.append(record)
        self._sessions.append(session)
        self.announce(record)
        # Answers to the question that a newcomer asks.
        for other in self._records:
            self._announce_to(session, other)
        return session

    def leave(self, session: VirtualDiscoverySession, record: _Record) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
        # A host that is off says no goodbye: the record stays until it is stale.
        if not record.orphaned:
            self._records.remove(record)
            for other in self._sessions:
                if self._lan.reachable(record.host, other.host) and not self._is_lost():
                    self._later(functools.partial(self._goodbye, other, record))

    def announce(self, record: _Record) -> None:
        """Tell everyone about one record, after the delay."""
        for session in self._sessions:
            self._announce_to(session, record)

    def refresh(self) -> None:
        """Tell everyone about everything, as queries do sooner or later."""
        for record in self._records:
            self.announce(record)

    def forget_host(self, host: VirtualHost) -> None:
        """The host is off: nobody answers for its records and it hears nothing more."""
        for record in self._records:
            if record.host is host and not record.orphaned:
                record.orphaned = True
                self._lan.call_at(
                    trio.current_time() + self.settings.stale_s,
                    functools.partial(self._expire, record),
                )
        self._sessions = [session for session in self._sessions if session.host is not host]

    def _announce_to(self, session: VirtualDiscoverySession, record: _Record) -> None:
        self._later(functools.partial(self._tell, session, record))
        if self.settings.loss:
            for after in _REPEATS_S:
                self._later(functools.partial(self._tell, session, record), after)

    def _tell(self, session: VirtualDiscoverySession, record: _Record) -> None:
        if session not in self._sessions or record not in self._records or self._is_lost():
            return
        # A stale record is in everyone's cache, so it does not take its host to tell of it.
        if record.orphaned or self._lan.reachable(record.host, session.host):
            session.hear(record)

    def _goodbye(self, session: VirtualDiscoverySession, record: _Record) -> None:
        if session in self._sessions and self._lan.reachable(record.host, session.host):
            session.hear_goodbye(record)

    def _expire(self, record: _Record) -> None:
        self._records.remove(record)
        for session in self._sessions:
            session.hear_goodbye(record)

    def _is_lost(self) -> bool:
        return bool(self.settings.loss) and self._random.random() < self.settings.loss

    def _later(self, call: functools.partial[None], after: float = 0.0) -> None:
        settings = self.settings
        if settings.jitter_s:
            after += self._random.uniform(0.0, settings.jitter_s)
        self._lan.call_at(trio.current_time() + settings.delay_s + after, call)


class VirtualMdns:
    """`Discovery` of one virtual host."""

    def __init__(self, multicast: VirtualMulticast, host: VirtualHost) -> None:
        self._multicast = multicast
        self._host = host

    @asynccontextmanager
    async def open(self, advert: Advertisement) -> AsyncIterator[VirtualDiscoverySession]:
        await trio.lowlevel.checkpoint()
        record = _Record(self._host, advert)
        session = self._multicast.join(record)
        try:
            yield session
        finally:
            self._multicast.leave(session, record)
