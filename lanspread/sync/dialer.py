"""Dialing: turning hints (mDNS, `--peer`, `connect`) into sessions, and trying again.

One task per target, owned by the nursery of `open_dialer`. A target that mDNS named lives as long
as the directory remembers the peer. Source: ARCHITECTURE.md, "Dialing".
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.config import parse_host_port
from lanspread.errors import Code, LanspreadError
from lanspread.seams import Address, Advertisement, DiscoverySession, Found, Network
from lanspread.sync.attempt import DialError, Rank, first_to_greet, make_slots
from lanspread.sync.backoff import Backoff
from lanspread.sync.errors import HandshakeFailed, HandshakeFault
from lanspread.sync.session import Session
from lanspread.sync.sessions import Sessions
from lanspread.transport import ConnectFailed
from lanspread.transport.addresses import take_in_turns
from lanspread.views import PeerState

_log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class Target:
    """Somebody to stay connected to: a peer_id that mDNS named, or an address a person gave.

    `advert` is the record that was heard last; cancelling `scope` ends the target's task. A peer
    that neither named is a target `until` it is back, and no longer than that time.
    """

    peer_id: str | None
    static: str | None
    backoff: Backoff
    advert: Advertisement | None = None
    dialed_at: float = 0.0
    until: float = math.inf
    doubted: Session | None = None
    poked: trio.Event = attrs.Factory(trio.Event)
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)


class Dialer:
    """Keeps sessions to all targets. Made by `open_dialer`."""

    def __init__(
        self,
        our_peer_id: str,
        sessions: Sessions,
        network: Network,
        rng: random.Random,
        nursery: trio.Nursery,
    ) -> None:
        self._our_peer_id = our_peer_id
        self._sessions = sessions
        self._directory = sessions.directory
        self._network = network
        self._rng = rng
        self._nursery = nursery
        self._targets: dict[str, Target] = {}
        self._slots = make_slots()
        self._own_checked: set[tuple[Address, ...]] = set()
        self._directory.when_forgotten(self._drop)
        self._round_at = -math.inf
        sessions.when_suspected(self._look_for)
        sessions.when_found(self._try_others)

    @property
    def targets(self) -> int:
        """How many are being dialed, or waited for to be dialed again."""
        return len(self._targets)

    # -- what is to be dialed ---------------------------------------------------------------------

    def add_static(self, address: str, peer_id: str | None = None) -> None:
        """Stay connected to whoever answers at `HOST:PORT`; `peer_id` is who did just now."""
        named = sum(target.static is not None for target in self._targets.values())
        if address in self._targets or named >= limits.MAX_STATIC_PEERS:
            return
        backoff = Backoff(persistent=True)
        backoff.reset(trio.current_time())
        self._start(address, Target(peer_id, address, backoff))

    async def connect(self, address: str) -> str:
        """Dial `HOST:PORT` once; from then on stay connected to it. Returns the peer_id.

        Raises `LanspreadError` that says what was wrong.
        """
        try:
            parse_host_port(address)
        except ValueError as error:
            raise LanspreadError(
                Code.NOT_FOUND, str(error), "give an address such as 192.168.1.20:7373"
            ) from error
        try:
            session = await self._dial_static(address, Rank.ASKED)
        except HandshakeFailed as error:
            raise _explain(address, error) from error
        except (ConnectFailed, OSError) as error:
            detail = str(error).removeprefix(f"{address}: ")
            raise LanspreadError(
                Code.NOT_FOUND,
                f"nobody answers at {address}: {detail}",
                "check the address, that lanspread runs there, and its firewall (UDP)",
            ) from error
        self.add_static(address, session.peer_id)
        return session.peer_id

    def take_hint(self, advert: Advertisement) -> None:
        """Take an mDNS record: note it, and dial if it says something new."""
        if advert.peer_id == self._our_peer_id:
            self._check_own(advert)
            return
        now = trio.current_time()
        record = self._directory.hint(
            advert.peer_id, advert.addresses, advert.hostname, advert.library_rev, now
        )
        if record is None:
            return
        target = self._targets.get(advert.peer_id)
        is_news = target is None or says_something_new(target.advert, advert)
        if is_news and not record.connected:
            record.proto_ver = advert.proto_ver
        if advert.proto_ver != limits.PROTOCOL_VERSION:
            if not record.connected:
                self._drop(advert.peer_id)
                self._directory.set_state(advert.peer_id, PeerState.INCOMPATIBLE)
        elif target is None:
            self._start(advert.peer_id, Target(advert.peer_id, None, Backoff(), advert))
        else:
            target.advert, target.until = advert, math.inf
            if is_news:
                self._poke(target)
        session = self._sessions.get(advert.peer_id)
        if is_news and session is not None:
            # It moved, or was started again: the session may be to where it no longer is.
            session.check()
        self._sessions.news.changed(advert.peer_id)

    def drop_hint(self, peer_id: str) -> None:
        """The mDNS record was withdrawn. No session ends by it; who was never met is forgotten."""
        target = self._targets.get(peer_id)
        if target is not None:
            target.advert = None
        self._directory.withdraw(peer_id)
        self._sessions.news.changed(peer_id)

    def wake(self) -> None:
        """This machine slept or moved: what failed before may work now."""
        for target in self._targets.values():
            self._poke(target)

    def _try_others(self) -> None:
        """Somebody who was out of reach is back: so may others be, after a split of the network."""
        now = trio.current_time()
        if now - self._round_at >= limits.DIAL_ROUND_S:
            self._round_at = now
            for target in self._targets.values():
                target.poked.set()

    def _poke(self, target: Target) -> None:
        target.backoff.reset(trio.current_time())
        target.poked.set()

    def _look_for(self, peer_id: str) -> None:
        """Its session may be over. Somebody has to dial, and nobody else may know where to."""
        targets = self._targets.values()
        missed = sum(target.until < math.inf for target in targets)
        if missed >= limits.MAX_SESSIONS or any(one.peer_id == peer_id for one in targets):
            return
        until = trio.current_time() + limits.DIAL_KNOWN_FOR_S
        self._start(peer_id, Target(peer_id, None, Backoff(), until=until))

    def _check_own(self, advert: Advertisement) -> None:
        """A record with our own peer_id is a clone if somebody else answers there."""
        if advert.addresses in self._own_checked or len(self._own_checked) > 64:
            return
        self._own_checked.add(advert.addresses)
        self._nursery.start_soon(self._dial_own, advert.addresses)

    async def _dial_own(self, addresses: tuple[Address, ...]) -> None:
        for address in addresses:
            try:
                async with self._slots[Rank.FRESH].one():
                    await self._sessions.dial(address, None)
            except (HandshakeFailed, ConnectFailed, OSError):
                continue

    def _start(self, key: str, target: Target) -> None:
        self._targets[key] = target
        self._nursery.start_soon(self._pursue, key, target)

    def _drop(self, key: str) -> None:
        target = self._targets.pop(key, None)
        if target is not None:
            target.scope.cancel()

    # -- dialing ----------------------------------------------------------------------------------

    async def _pursue(self, key: str, target: Target) -> None:
        """Stay connected to one target until it is dropped, or is found to be this peer."""
        with target.scope:
            if target.peer_id is not None and self._our_peer_id > target.peer_id:
                await trio.sleep(limits.DIAL_YIELD_S)
            session: Session | None = None
            while True:
                session = await self._last_session(target, session)
                now = trio.current_time()
                if now >= target.until or (target.until < math.inf and self._is_back(target)):
                    break
                if session is not None:
                    lived_s = now - session.link.greeted_at
                    target.poked = trio.Event()
                    await self._pause(target, target.backoff.ended(lived_s, now, self._rng))
                    session = None
                    continue
                target.dialed_at, target.poked = now, trio.Event()
                try:
                    session = await self._dial(target)
                    target.peer_id = session.peer_id
                    if session.suspect:
                        raise OSError("only the session in doubt is left")
                    target.backoff.connected()
                except (HandshakeFailed, ConnectFailed, OSError) as error:
                    if isinstance(error, HandshakeFailed) and error.kind is HandshakeFault.SELF:
                        break
                    self._note(target, error)
                    now = trio.current_time()
                    await self._pause(target, target.backoff.failed(now, self._rng))
        if self._targets.get(key) is target:
            del self._targets[key]

    async def _last_session(self, target: Target, session: Session | None) -> Session | None:
        """Wait until there is none that can be relied on.

        Returns the one that ended last, `session` if none came. A suspect one has not ended: it is
        dialed beside at once, and what was made stays if it turns out to work after all.
        """
        while target.peer_id is not None:
            rung = self._sessions.changed.next()
            current = self._sessions.get(target.peer_id)
            if current is None:
                break
            if current.suspect:
                self._doubt(target, current)
                return None
            if target.until < math.inf:
                break
            session = current
            await rung.wait()
        return session

    def _doubt(self, target: Target, session: Session) -> None:
        """A session that was good for long may be over: dial as eagerly as if it were."""
        now = trio.current_time()
        if target.doubted is not session and now - session.link.greeted_at >= (
            limits.SESSION_PROVEN_S
        ):
            target.backoff.reset(now)
        target.doubted = session

    def _is_back(self, target: Target) -> bool:
        session = self._sessions.get(target.peer_id or "")
        return session is not None and not session.suspect

    async def _pause(self, target: Target, until: float) -> None:
        """Wait for the next attempt; something new that is heard shortens that to a second."""
        with trio.move_on_at(until):
            await target.poked.wait()
            await trio.sleep_until(target.dialed_at + limits.DIAL_BACKOFF_FIRST_S)

    async def _dial(self, target: Target) -> Session:
        if target.static is not None:
            return await self._dial_static(target.static, Rank.NAMED, target.peer_id)
        peer_id = target.peer_id
        assert peer_id is not None
        record = self._directory.get(peer_id)
        if record is None or not record.addresses:
            raise OSError("no address is known")
        if target.until < math.inf:
            rank = Rank.MISSED
        elif record.last_seen is not None:
            rank = Rank.NAMED
        else:
            rank = Rank.FAILED if record.failures else Rank.FRESH
        async with self._slots[rank].one(urgent=record.has_news):
            self._show(peer_id, PeerState.CONNECTING)
            return await first_to_greet(
                lambda address: self._sessions.dial(address, peer_id), record.to_dial
            )

    async def _dial_static(self, text: str, rank: Rank, peer_id: str | None = None) -> Session:
        """Whoever answers there; or `peer_id`, who did last, where it said that it listens."""
        host, port = parse_host_port(text)
        record = self._directory.get(peer_id) if peer_id is not None else None
        async with self._slots[rank].one(urgent=True):
            try:
                named = await self._network.resolve(host, port)
            except OSError:
                if record is None or not record.to_dial:
                    raise
                named = []
            known = [a for a in (record.to_dial if record else ()) if a not in named]
            return await first_to_greet(
                lambda address: self._sessions.dial(address, peer_id if address in known else None),
                take_in_turns((named, known), limits.MAX_ADDRESSES_PER_PEER),
            )

    # -- states -----------------------------------------------------------------------------------

    def _note(self, target: Target, error: DialError) -> None:
        """Show what came of a dial that brought no session."""
        _log.debug(
            "no session came of a dial", target=target.static or target.peer_id, why=str(error)
        )
        record = self._directory.get(target.peer_id) if target.peer_id is not None else None
        if record is None:
            return
        record.failures += 1
        if record.connected:
            return
        kind = error.kind if isinstance(error, HandshakeFailed) else None
        if kind is HandshakeFault.INCOMPATIBLE:
            if record.proto_ver == limits.PROTOCOL_VERSION:
                # It speaks another one, and did not say which.
                record.proto_ver = None
            self._show(record.peer_id, PeerState.INCOMPATIBLE)
        elif kind is HandshakeFault.REFUSED:
            self._show(record.peer_id, PeerState.REFUSED)
        elif record.state is PeerState.CONNECTING:
            met = record.last_seen is not None
            self._show(record.peer_id, PeerState.LOST if met else PeerState.DISCOVERED)

    def _show(self, peer_id: str, state: PeerState) -> None:
        record = self._directory.get(peer_id)
        if record is not None and not record.connected:
            self._directory.set_state(peer_id, state)
            self._sessions.news.changed(peer_id)


def says_something_new(before: Advertisement | None, advert: Advertisement) -> bool:
    """Whether a record is a reason to dial although nobody answered so far.

    Another start, version or address is; another revision is not: a record stays in the caches of
    others long after its peer, and no count of what it has makes it answer.
    """
    return (
        before is None
        or advert.proto_ver != before.proto_ver
        or advert.start != before.start
        or not set(advert.addresses) <= set(before.addresses)
    )


def _explain(address: str, error: HandshakeFailed) -> LanspreadError:
    match error.kind:
        case HandshakeFault.INCOMPATIBLE:
            return LanspreadError(
                Code.INCOMPATIBLE,
                f"{address} is not compatible: {error.reason}",
                "bring both machines to the same version of lanspread",
            )
        case HandshakeFault.SELF:
            return LanspreadError(
                Code.REFUSED, f"{address} is this peer itself", "give another machine's address"
            )
        case HandshakeFault.CLONE:
            return LanspreadError(
                Code.REFUSED,
                f"{address} has the same identity as this peer",
                "start one of the two with --new-identity",
            )
        case HandshakeFault.REPLACED:
            return LanspreadError(
                Code.BUSY, f"{address} said that it is connected, and is not", "try again"
            )
        case _:
            return LanspreadError(
                Code.REFUSED,
                f"{address} refused: {error.reason}",
                f"see what `lanspread doctor --peer {address}` says",
            )


async def follow_discovery(discovery: DiscoverySession, dialer: Dialer) -> None:
    """Hand every record to the dialer until cancelled."""
    while True:
        event = await discovery.next_event()
        if isinstance(event, Found):
            dialer.take_hint(event.advert)
        else:
            dialer.drop_hint(event.peer_id)


@asynccontextmanager
async def open_dialer(
    our_peer_id: str, sessions: Sessions, network: Network, rng: random.Random
) -> AsyncIterator[Dialer]:
    """Dial until the block is left; dials in progress are cancelled then."""
    async with trio.open_nursery() as nursery:
        yield Dialer(our_peer_id, sessions, network, rng, nursery)
        nursery.cancel_scope.cancel()
