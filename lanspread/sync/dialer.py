"""Dialing: turning hints (mDNS, `--peer`, `connect`) into sessions, and trying again.

One task per target, owned by the nursery of `open_dialer`. Source: ARCHITECTURE.md, "Dialing".
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.config import parse_host_port
from lanspread.errors import Code, LanspreadError
from lanspread.events import PeerDiscovered, PeerEvent
from lanspread.seams import Address, Advertisement, DiscoverySession, Found, Network
from lanspread.sync.backoff import Backoff
from lanspread.sync.bell import Bell
from lanspread.sync.directory import PeerRecord
from lanspread.sync.errors import HandshakeFailed, HandshakeFault
from lanspread.sync.sessions import Sessions
from lanspread.transport import ConnectFailed
from lanspread.views import PeerState, PeerView

_log = structlog.get_logger(__name__)


@attrs.define(eq=False)
class Target:
    """Somebody to stay connected to: a peer_id that mDNS named, or an address a person gave."""

    peer_id: str | None
    static: str | None
    backoff: Backoff
    poked: trio.Event = attrs.Factory(trio.Event)

    def poke(self) -> None:
        """Try again now: something new was heard."""
        self.poked.set()


class Dialer:
    """Keeps sessions to all targets. Made by `open_dialer`."""

    def __init__(
        self,
        our_peer_id: str,
        sessions: Sessions,
        network: Network,
        rng: random.Random,
        publish: Callable[[PeerEvent], None],
        view: Callable[[PeerRecord], PeerView],
        nursery: trio.Nursery,
    ) -> None:
        self._our_peer_id = our_peer_id
        self._sessions = sessions
        self._network = network
        self._rng = rng
        self._publish = publish
        self._view = view
        self._nursery = nursery
        self._targets: dict[str, Target] = {}
        self._dials = trio.CapacityLimiter(limits.MAX_DIALS_AT_ONCE)
        self._own_checked: set[tuple[Address, ...]] = set()
        self.idle = Bell()

    # -- what is to be dialed ---------------------------------------------------------------------

    def add_static(self, address: str) -> None:
        """Stay connected to whoever answers at `HOST:PORT`."""
        if address in self._targets or len(self._targets) >= 2 * limits.MAX_STATIC_PEERS:
            return
        backoff = Backoff(persistent=True)
        backoff.reset(trio.current_time())
        self._start(address, Target(None, address, backoff))

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
            peer_id = await self._dial_static(address)
        except HandshakeFailed as error:
            if error.kind is HandshakeFault.REPLACED:
                raise LanspreadError(Code.BUSY, "a connection came meanwhile", "") from error
            raise _explain(address, error) from error
        except (ConnectFailed, OSError) as error:
            raise LanspreadError(
                Code.NOT_FOUND,
                f"nobody answers at {address}: {error}",
                "check the address, that lanspread runs there, and its firewall (UDP)",
            ) from error
        self.add_static(address)
        return peer_id

    def take_hint(self, advert: Advertisement) -> None:
        """Take an mDNS record: note it, and dial if it says something new."""
        if advert.peer_id == self._our_peer_id:
            self._check_own(advert)
            return
        directory = self._sessions.directory
        before = directory.get(advert.peer_id)
        was_known = before is not None
        old_hint = (before.hinted, before.hinted_rev) if before is not None else None
        record = directory.hint(
            advert.peer_id, advert.addresses, advert.hostname, advert.library_rev
        )
        if record is None:
            return
        compatible = advert.proto_ver == limits.PROTOCOL_VERSION
        if not record.connected:
            record.proto_ver = advert.proto_ver
            if not compatible:
                directory.set_state(advert.peer_id, PeerState.INCOMPATIBLE)
        if not was_known:
            self._publish(PeerDiscovered(peer=self._view(record)))
        if not compatible:
            return
        target = self._targets.get(advert.peer_id)
        if target is None:
            self._start(advert.peer_id, Target(advert.peer_id, None, Backoff()))
        elif old_hint != (record.hinted, record.hinted_rev):
            target.backoff.reset(trio.current_time())
            target.poke()

    def _check_own(self, advert: Advertisement) -> None:
        """A record with our own peer_id is a clone if somebody else answers there."""
        if advert.addresses in self._own_checked or len(self._own_checked) > 64:
            return
        self._own_checked.add(advert.addresses)
        self._nursery.start_soon(self._dial_own, advert.addresses)

    async def _dial_own(self, addresses: tuple[Address, ...]) -> None:
        for address in addresses:
            try:
                await self._dial_one(address, None)
            except (HandshakeFailed, ConnectFailed, OSError):
                continue

    def _start(self, key: str, target: Target) -> None:
        self._targets[key] = target
        self._nursery.start_soon(self._pursue, key, target)

    # -- dialing ----------------------------------------------------------------------------------

    async def _pursue(self, key: str, target: Target) -> None:
        """Stay connected to one target until it is forgotten."""
        if target.peer_id is not None and self._our_peer_id > target.peer_id:
            await trio.sleep(limits.DIAL_YIELD_S)
        while True:
            await self._while_connected(target)
            target.poked = trio.Event()
            try:
                if target.static is not None:
                    target.peer_id = await self._dial_static(target.static)
                else:
                    assert target.peer_id is not None
                    await self._dial_peer(target.peer_id)
                target.backoff.reset(trio.current_time())
                continue
            except HandshakeFailed as error:
                if error.kind is HandshakeFault.SELF:
                    self._targets.pop(key, None)
                    return
                if error.kind is HandshakeFault.REPLACED:
                    await trio.sleep(limits.DIAL_YIELD_S)
                    continue
                self._note(target, error)
            except (ConnectFailed, OSError) as error:
                _log.debug("dial failed", target=key, why=str(error))
                self._set_state(target, connecting=False)
            at = target.backoff.failed(trio.current_time(), self._rng)
            with trio.move_on_at(at):
                await target.poked.wait()

    async def _while_connected(self, target: Target) -> None:
        while True:
            rung = self._sessions.changed.next()
            if target.peer_id is None or self._sessions.get(target.peer_id) is None:
                return
            target.backoff.reset(trio.current_time())
            await rung.wait()
            target.backoff.reset(trio.current_time())

    async def _dial_static(self, text: str) -> str:
        host, port = parse_host_port(text)
        addresses = await self._network.resolve(host, port)
        return await self._dial_any(addresses, None)

    async def _dial_peer(self, peer_id: str) -> None:
        record = self._sessions.directory.get(peer_id)
        if record is None or not record.addresses:
            raise OSError("no address is known")
        self._set_state_of(peer_id, PeerState.CONNECTING)
        await self._dial_any(list(record.addresses), peer_id)

    async def _dial_any(self, addresses: list[Address], peer_id: str | None) -> str:
        """Try addresses in order; the error is that of the last, or the clearest."""
        failure: HandshakeFailed | ConnectFailed | OSError = OSError("the name has no address")
        for address in addresses[: limits.MAX_ADDRESSES_PER_PEER]:
            try:
                return await self._dial_one(address, peer_id)
            except HandshakeFailed as error:
                if error.kind in (HandshakeFault.REPLACED, HandshakeFault.SELF):
                    raise
                failure = error
            except (ConnectFailed, OSError) as error:
                failure = failure if isinstance(failure, HandshakeFailed) else error
        raise failure

    async def _dial_one(self, address: Address, peer_id: str | None) -> str:
        async with self._dials:
            with trio.move_on_after(limits.DIAL_TIMEOUT_S + limits.HELLO_TIMEOUT_S):
                session = await self._sessions.dial(address, peer_id)
                return session.peer_id
        raise OSError(f"{address} went silent during the handshake")

    # -- states -----------------------------------------------------------------------------------

    def _note(self, target: Target, error: HandshakeFailed) -> None:
        state = {
            HandshakeFault.INCOMPATIBLE: PeerState.INCOMPATIBLE,
            HandshakeFault.REFUSED: PeerState.REFUSED,
        }.get(error.kind)
        if target.peer_id is not None and state is not None:
            self._set_state_of(target.peer_id, state)
        else:
            self._set_state(target, connecting=False)
        _log.info("no session came of a dial", peer=target.peer_id, why=error.reason)

    def _set_state(self, target: Target, *, connecting: bool) -> None:
        if target.peer_id is None:
            return
        record = self._sessions.directory.get(target.peer_id)
        if record is not None and record.state is PeerState.CONNECTING and not connecting:
            seen = record.last_seen is not None
            self._set_state_of(target.peer_id, PeerState.LOST if seen else PeerState.DISCOVERED)

    def _set_state_of(self, peer_id: str, state: PeerState) -> None:
        record = self._sessions.directory.get(peer_id)
        if record is not None and not record.connected:
            self._sessions.directory.set_state(peer_id, state)


def _explain(address: str, error: HandshakeFailed) -> LanspreadError:
    match error.kind:
        case HandshakeFault.INCOMPATIBLE:
            return LanspreadError(
                Code.INCOMPATIBLE,
                f"{address} is not compatible: {error.reason}",
                "bring both machines to the same version of lanspread",
            )
        case HandshakeFault.SELF:
            return LanspreadError(Code.REFUSED, f"{address} is this peer itself", "")
        case HandshakeFault.CLONE:
            return LanspreadError(
                Code.REFUSED,
                f"{address} has the same identity as this peer",
                "start one of the two with --new-identity",
            )
        case _:
            return LanspreadError(Code.REFUSED, f"{address} refused: {error.reason}", "")


async def follow_discovery(discovery: DiscoverySession, dialer: Dialer) -> None:
    """Hand every record to the dialer until cancelled. Withdrawn records end no session."""
    while True:
        event = await discovery.next_event()
        if isinstance(event, Found):
            dialer.take_hint(event.advert)


@asynccontextmanager
async def open_dialer(
    our_peer_id: str,
    sessions: Sessions,
    network: Network,
    rng: random.Random,
    publish: Callable[[PeerEvent], None],
    view: Callable[[PeerRecord], PeerView],
) -> AsyncIterator[Dialer]:
    """Dial until the block is left; dials in progress are cancelled then."""
    async with trio.open_nursery() as nursery:
        yield Dialer(our_peer_id, sessions, network, rng, publish, view, nursery)
        nursery.cancel_scope.cancel()
