"""The real `Discovery`: mDNS through zeroconf, which runs on a thread of its own.

What it hears crosses into trio through one bounded inbox; what it is told crosses by futures. A
machine without a network, or with another program on the port, is no error: it is tried again.
Source: ARCHITECTURE.md, "Discovery".
"""

from __future__ import annotations

import concurrent.futures
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
import trio

from lanspread import limits
from lanspread.seams import Advertisement, Found, Gone, LocalAddress, Threads
from lanspread.transport import addresses, udp
from lanspread.transport.dns_records import (
    RawRecord,
    RecordTable,
    by_port,
    instance_label,
    txt_of,
)
from lanspread.transport.mdns_responder import Inbox, Job, Responder

_log = structlog.get_logger(__name__)

CLOSE_S = 0.5
_POLL_S = 0.1
_RETRY_S = 10.0
_INTERFACES_EVERY_S = 4.0
# RFC 6762: no more than one announcement a second (8.4), and one that comes within a second of
# another does not replace it in the caches of others (10.2).
_ANNOUNCE_EVERY_S = 1.1
_BROWSE_AGAIN_FIRST_S = 1.0
_BROWSE_AGAIN_MAX_S = 60.0


class MdnsDiscovery:
    """`Discovery` on the machine's network.

    `interfaces` are IP addresses to use and no others (`["127.0.0.1"]` keeps everything on the
    machine); empty: all but VPN and container interfaces, followed as they come and go.
    """

    def __init__(self, threads: Threads, interfaces: Sequence[str]) -> None:
        self._threads = threads
        self._interfaces = tuple(interfaces)

    @asynccontextmanager
    async def open(self, advert: Advertisement) -> AsyncIterator[MdnsSession]:
        """Advertise and browse until the block is left; leaving withdraws the record.

        Returns at once; sockets are opened in the background. Leaving takes at most 0.7 s, and
        usually 0.3 s, in which the goodbye is sent.
        """
        session = MdnsSession(self._threads, self._interfaces, advert)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            yield session
            nursery.cancel_scope.cancel()


class MdnsSession:
    """`DiscoverySession` over one responder."""

    def __init__(
        self, threads: Threads, interfaces: tuple[str, ...], advert: Advertisement
    ) -> None:
        self._threads = threads
        self._fixed_interfaces = interfaces
        self._advert = advert
        self._advert_changed = trio.Event()
        self._asked_again = False
        self._browse_again_s = _BROWSE_AGAIN_FIRST_S
        self._start = advert.start or secrets.token_hex(3)
        token = trio.lowlevel.current_trio_token()
        self._inbox = Inbox(lambda: _run_soon(token, self._wake_reader))
        self._table = RecordTable(allow_loopback=_advertises_loopback(advert))
        self._events: dict[str, Found | Gone] = {}
        self._heard = trio.Event()
        self._missed = trio.Event()

    @property
    def overflowed(self) -> int:
        """How many records did not fit into the inbox; they are asked for again."""
        return self._inbox.overflowed

    async def update(self, advert: Advertisement) -> None:
        """Replace what is advertised: soon, and at most once a second.

        The machine's interfaces are looked at first. The same record again is announced again, and
        the network is asked again who is there.
        """
        await trio.lowlevel.checkpoint()
        if advert == self._advert:
            self._asked_again = True
            self._browse_again_s = _BROWSE_AGAIN_FIRST_S
            self._missed.set()
        self._advert = advert
        self._table.allow_loopback = _advertises_loopback(advert)
        self._advert_changed.set()

    async def next_event(self) -> Found | Gone:
        """See `DiscoverySession.next_event`. Cancellation loses nothing.

        A record with our own peer_id that is not ours is told like any other: only a cloned
        identity makes one, and the caller can find out.
        """
        await trio.lowlevel.checkpoint()
        while True:
            self._heard = trio.Event()
            self._take_inbox()
            if self._events:
                return self._events.pop(next(iter(self._events)))
            await self._heard.wait()

    def _wake_reader(self) -> None:
        self._heard.set()

    def _take_inbox(self) -> None:
        if self._events:
            # What was taken is told first, so that no more than one inbox waits here.
            return
        records, missed = self._inbox.take()
        if missed:
            self._missed.set()
        for name, record in records.items():
            told = (
                self._table.withdrawn(name) if record is None else self._table.heard(name, record)
            )
            for event in told:
                peer_id = event.peer_id if isinstance(event, Gone) else event.advert.peer_id
                self._events.pop(peer_id, None)
                self._events[peer_id] = event

    # -- the background -------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold a responder, for ever; runs as the session's only task."""
        while True:
            try:
                interfaces = await self._interfaces()
                responder = await self._open_responder(interfaces)
            except OSError as error:
                _log.warning("mdns_unavailable", error=str(error), again_in_s=_RETRY_S)
                await trio.sleep(_RETRY_S)
                continue
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_up, responder, interfaces)
                    nursery.start_soon(self._browse, responder)
            finally:
                await self._close_responder(responder)

    async def _interfaces(self) -> tuple[str, ...]:
        if self._fixed_interfaces:
            return self._fixed_interfaces
        return choose_interfaces(await self._threads.run(udp.machine_addresses, pool="discovery"))

    async def _open_responder(self, interfaces: tuple[str, ...]) -> Responder:
        job = Job(lambda: Responder(interfaces, self._inbox), undo=Responder.close)
        try:
            await self._wait(job)
        except trio.Cancelled:
            if not job.abandon():
                await self._close_responder(job.result())
            raise
        return job.result()

    async def _close_responder(self, responder: Responder) -> None:
        job = Job(responder.close)
        with trio.CancelScope(deadline=trio.current_time() + CLOSE_S, shield=True) as scope:
            await self._wait(job)
        if scope.cancelled_caught:
            job.abandon()
            _log.warning("mdns_close_slow", waited_s=CLOSE_S)

    async def _wait(self, job: Job[Responder] | Job[None]) -> None:
        # In slices, because a thread that waits cannot be cancelled.
        while not await self._threads.run(job.wait, _POLL_S, pool="discovery"):
            pass

    async def _keep_up(self, responder: Responder, interfaces: tuple[str, ...]) -> None:
        """Speak on the interfaces that there are, and there say what is true."""
        announced: dict[str, RawRecord] = {}
        while True:
            self._advert_changed = trio.Event()
            found = await self._follow_interfaces(responder, interfaces)
            if found != interfaces:
                interfaces, announced = found, {}
            records = self._records()
            if records != announced or self._asked_again:
                self._asked_again = False
                await _finish(responder, responder.announce(records, frozenset(announced)))
                announced = records
            await trio.sleep(_ANNOUNCE_EVERY_S)
            with trio.move_on_after(_INTERFACES_EVERY_S):
                await self._advert_changed.wait()

    async def _follow_interfaces(
        self, responder: Responder, current: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Cables get plugged in and networks change while we run."""
        try:
            found = await self._interfaces()
        except OSError as error:
            _log.warning("mdns_interfaces_unknown", error=str(error))
            return current
        if set(found) == set(current):
            return current
        _log.info("mdns_interfaces", interfaces=found)
        await _finish(responder, responder.use_interfaces(found))
        return found

    def _records(self) -> dict[str, RawRecord]:
        txt = {key.encode(): value.encode() for key, value in txt_of(self._advert).items()}
        records = {}
        for port, hosts in by_port(self._advert).items():
            label = instance_label(self._advert.peer_id, self._start, port)
            records[f"{label}.{limits.SERVICE_TYPE}"] = RawRecord(port, txt, hosts)
        return records

    async def _browse(self, responder: Responder) -> None:
        while True:
            await _finish(responder, responder.browse())
            await self._missed.wait()
            await trio.sleep(self._browse_again_s)
            self._missed = trio.Event()
            # Slower and slower: with more records on the network than we keep, it never ends.
            self._browse_again_s = min(2 * self._browse_again_s, _BROWSE_AGAIN_MAX_S)


async def _finish(responder: Responder, call: Coroutine[object, object, None]) -> None:
    """Run a coroutine of the responder to its end; what the network refuses is only logged.

    Cancelled, the coroutine is cancelled as well and not waited for.
    """
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()
    future = responder.submit(call)
    future.add_done_callback(lambda _: _run_soon(token, done.set))
    try:
        await done.wait()
    except trio.Cancelled:
        future.cancel()
        raise
    try:
        future.result()
    except concurrent.futures.CancelledError:
        _log.warning("mdns_call_cancelled")
    except Exception as error:
        # zeroconf's errors have no common base, and none of them may end the peer.
        _log.warning("mdns_call_failed", error=repr(error))


def _run_soon(token: trio.lowlevel.TrioToken, call: Callable[[], object]) -> None:
    """From zeroconf's thread, which may outlive trio by a moment."""
    with suppress(trio.RunFinishedError):
        token.run_sync_soon(call, idempotent=True)


def _advertises_loopback(advert: Advertisement) -> bool:
    return any(addresses.is_loopback(address.host) for address in advert.addresses)


def choose_interfaces(found: Sequence[LocalAddress]) -> tuple[str, ...]:
    """The addresses to speak mDNS on: IPv4 of real interfaces, else IPv6, else loopback.

    One family is enough to find each other; the records carry addresses of both.
    """
    near = [
        one.host for one in addresses.without_virtual(found) if not addresses.is_loopback(one.host)
    ]
    ipv4 = [host for host in near if not addresses.is_ipv6(host)]
    return tuple(ipv4 or [host for host in near if "%" in host] or ["127.0.0.1"])
