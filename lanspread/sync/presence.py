"""What a peer says of itself (Hello, the mDNS record), and keeping that true while it runs.

The machine may sleep or move: then all sessions are asked, the record is renewed, and dialing
begins anew. Source: docs/protocol.md, "Discovery" and "Liveness".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from lanspread import __version__, limits
from lanspread.seams import Advertisement, Discovery, DiscoverySession, Network, SuspendClock
from lanspread.sync import messages as m
from lanspread.sync.bell import Bell, wait_any
from lanspread.sync.dialer import Dialer, follow_discovery
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.sessions import Sessions
from lanspread.sync.wakeup import watch_addresses, watch_sleep
from lanspread.transport.listen import Reachable


@attrs.define(eq=False)
class Presence:
    """Who and where this peer is. `reachable` follows the machine's addresses.

    `features` is what others are told that it can do, from the next handshake on.
    """

    peer_id: str
    instance: bytes
    name: Callable[[], str]
    published: Callable[[], PublishedLibrary]
    reachable: Reachable = attrs.field(factory=lambda: Reachable(()))
    features: dict[str, object] = attrs.field(factory=lambda: {"version": __version__})
    _renewal_due: trio.Event = attrs.field(factory=trio.Event)

    def hello_body(self) -> m.HelloBody:
        """What this peer says in a handshake now."""
        library = self.published()
        known = library.may_be_told
        return m.HelloBody(
            peer_id=self.peer_id,
            instance=self.instance,
            proto_ver=limits.PROTOCOL_VERSION,
            listen_addrs=self._listen_addrs(),
            library_epoch=library.epoch if known else None,
            library_rev=library.rev if known else None,
            library_digest=library.digest if known else None,
            features=dict(self.features),
            name=self.name(),
        )

    def advertisement(self) -> Advertisement:
        """What this peer says by mDNS now."""
        return Advertisement(
            peer_id=self.peer_id,
            proto_ver=limits.PROTOCOL_VERSION,
            addresses=self.reachable.advertised,
            library_rev=self.published().rev,
            hostname=self.name(),
            start=self.instance.hex()[:6],
        )

    def renamed(self, sessions: Sessions) -> None:
        """`name` is another now: let peers and the record know."""
        self._renewal_due.set()
        sessions.tell(m.Renamed(peer_id=self.peer_id, name=self.name()))

    @asynccontextmanager
    async def watched(
        self, clock: SuspendClock, network: Network, sessions: Sessions, dialer: Dialer
    ) -> AsyncIterator[None]:
        """Notice sleep and changes of address until the block is left."""

        def on_wake(slept_s: float) -> None:
            # The others may have given us up, and we them.
            self._renewal_due.set()
            sessions.check_all(slept_s)
            dialer.wake()

        def on_move() -> None:
            # Paths may be cut, and others may be there now.
            self._renewal_due.set()
            if self.reachable.outside:
                sessions.tell(
                    m.ListenAddrs(peer_id=self.peer_id, listen_addrs=self._listen_addrs())
                )
            sessions.check_all()
            dialer.wake()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_sleep, clock, on_wake)
            nursery.start_soon(watch_addresses, network, self.reachable, on_move)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def announced(
        self, discovery: Discovery, published_changed: Bell, dialer: Dialer
    ) -> AsyncIterator[None]:
        """Advertise, and dial whom others' records name, until the block is left."""
        async with (
            discovery.open(self.advertisement()) as session,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(follow_discovery, session, dialer)
            nursery.start_soon(self._keep_record_true, session, published_changed)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def _keep_record_true(self, session: DiscoverySession, published_changed: Bell) -> None:
        """Update the record, and renew it when it may have been lost."""
        advertised = self.published().rev
        while True:
            changed = published_changed.next()
            if self.published().rev != advertised or self._renewal_due.is_set():
                advertised, self._renewal_due = self.published().rev, trio.Event()
                await session.update(self.advertisement())
            else:
                await wait_any(changed, self._renewal_due)

    def _listen_addrs(self) -> tuple[str, ...]:
        return tuple(map(str, self.reachable.advertised))
