"""The side of mDNS that lives in zeroconf's own thread and its asyncio loop.

Nothing of trio is touched here but `Inbox.wake`, which is `TrioToken.run_sync_soon`. Calls from
trio's side are `Responder`'s methods; those that could block are made in a `Job`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Generic, TypeVar

from zeroconf import ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

from lanspread import limits
from lanspread.transport import addresses, udp
from lanspread.transport.dns_records import RawRecord

T = TypeVar("T")

_MAX_QUESTIONS = 32
_QUESTION_MS = 1_500
# What a newer record replaced stays in the cache for a second (RFC 6762, section 10.2).
_SETTLED_S = 1.5


class Inbox:
    """What the responder heard, last state per name; filled by its thread, emptied by trio's.

    Holds at most `limits.DISCOVERY_QUEUE` names. What does not fit is counted, and `take` says
    that something was missed, so that the browse can be repeated.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._records: dict[str, RawRecord | None] = {}
        self._missed = False
        self.overflowed = 0

    def put(self, name: str, record: RawRecord | None) -> None:
        """`None` means withdrawn. Called in the responder's thread."""
        with self._lock:
            self._records.pop(name, None)
            if len(self._records) >= limits.DISCOVERY_QUEUE:
                # Any one of them, so that repeating a browse brings others through each time.
                del self._records[secrets.choice(list(self._records))]
                self.overflowed += 1
                self._missed = True
            self._records[name] = record
        self._wake()

    def take(self) -> tuple[dict[str, RawRecord | None], bool]:
        """Everything that waits, and whether something was missed since the last call."""
        with self._lock:
            taken, missed = self._records, self._missed
            self._records, self._missed = {}, False
            return taken, missed


class Responder:
    """A zeroconf instance that browses. Making one and `close` block; the rest does not."""

    def __init__(self, interfaces: Sequence[str], inbox: Inbox) -> None:
        """Raises `OSError` if the sockets cannot be opened."""
        self._inbox = inbox
        self._own: frozenset[str] = frozenset()
        self._questions: set[asyncio.Task[None]] = set()
        self._settling: dict[str, asyncio.TimerHandle] = {}
        self._browser: AsyncServiceBrowser | None = None
        try:
            self._zeroconf = Zeroconf(interfaces=list(interfaces), use_asyncio=False)
        except (RuntimeError, ValueError) as error:
            raise OSError(f"mDNS cannot use {', '.join(interfaces)}: {error}") from error

    def close(self) -> None:
        """Withdraw all records (goodbye) and end the thread. Blocks for about 0.3 s."""
        with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError, RuntimeError):
            self.submit(self._stop_browsing()).result(1.0)
        self._zeroconf.close()

    # -- coroutines for the responder's loop; `submit` runs them there --------------------------

    def submit(self, call: Coroutine[object, object, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine in the responder's loop, without waiting for it."""
        loop = self._zeroconf.loop
        if loop is None or loop.is_closed():
            call.close()
            raise RuntimeError("the responder is closed")
        return asyncio.run_coroutine_threadsafe(call, loop)

    async def announce(self, records: Mapping[str, RawRecord], before: frozenset[str]) -> None:
        """Make `records` what is advertised, where `before` was."""
        self._own = frozenset(records) | before
        for name in before - records.keys():
            stale = self._zeroconf.registry.async_get_info_name(name.lower())
            if stale is not None:
                await (await self._zeroconf.async_unregister_service(stale))
        sent = []
        for name, record in records.items():
            info = _info_of(name, record)
            if name in before:
                sent.append(await self._zeroconf.async_update_service(info))
            else:
                # Names are unique by themselves, so nothing is gained by probing for them first.
                sent.append(
                    await self._zeroconf.async_register_service(info, cooperating_responders=True)
                )
        for announcement in sent:
            await announcement

    async def browse(self) -> None:
        """Begin to browse, or begin again: then everything known is told once more."""
        await self._stop_browsing()
        self._browser = AsyncServiceBrowser(
            self._zeroconf, limits.SERVICE_TYPE, handlers=[self._changed]
        )

    async def use_interfaces(self, interfaces: Sequence[str]) -> None:
        """Move to other interfaces; nothing is advertised after that.

        The records of before name the addresses of before: announced on the new interfaces, they
        would stand beside the true ones in every cache (RFC 6762, section 10.2: within a second,
        a newer record does not replace an older one).
        """
        registry = self._zeroconf.registry
        registry.async_remove(registry.async_get_service_infos())
        await self._zeroconf.async_update_interfaces(list(interfaces))

    async def _stop_browsing(self) -> None:
        for question in self._questions:
            question.cancel()
        for look in self._settling.values():
            look.cancel()
        self._settling.clear()
        if self._browser is not None:
            await self._browser.async_cancel()
            self._browser = None

    # -- what the browser says ------------------------------------------------------------------

    def _changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if name in self._own:
            return
        if state_change is ServiceStateChange.Removed:
            self._inbox.put(name, None)
            return
        if state_change is ServiceStateChange.Updated:
            self._look_again(zeroconf, name)
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            self._inbox.put(name, _raw_of(info))
        elif len(self._questions) < _MAX_QUESTIONS:
            # Bounded: names without records behind them cost their sender more than us.
            question = asyncio.ensure_future(self._ask(info))
            self._questions.add(question)
            question.add_done_callback(self._questions.discard)

    def _look_again(self, zeroconf: Zeroconf, name: str) -> None:
        """A peer that moved has its old address too for a moment; nobody tells when that ends."""
        waiting = self._settling.pop(name, None)
        if waiting is not None:
            waiting.cancel()
        elif len(self._settling) >= limits.DISCOVERY_QUEUE:
            return

        def look() -> None:
            del self._settling[name]
            info = AsyncServiceInfo(limits.SERVICE_TYPE, name)
            if info.load_from_cache(zeroconf):
                self._inbox.put(name, _raw_of(info))

        loop = asyncio.get_running_loop()
        self._settling[name] = loop.call_later(_SETTLED_S, look)

    async def _ask(self, info: AsyncServiceInfo) -> None:
        if await info.async_request(self._zeroconf, _QUESTION_MS):
            self._inbox.put(info.name, _raw_of(info))


def _info_of(name: str, record: RawRecord) -> ServiceInfo:
    label = name.removesuffix(f".{limits.SERVICE_TYPE}")
    return ServiceInfo(
        limits.SERVICE_TYPE,
        name,
        port=record.port,
        properties=dict(record.txt),
        server=f"{label}.local.",
        parsed_addresses=list(record.hosts),
    )


def _raw_of(info: ServiceInfo) -> RawRecord:
    # Sixteen at most: an answer may carry hundreds of addresses, and eight are used.
    hosts = info.parsed_scoped_addresses()[: 2 * limits.MAX_ADDRESSES_PER_PEER]
    named = tuple(addresses.named_scope(host, udp.interface_name) for host in hosts)
    return RawRecord(info.port or 0, dict(info.properties), named)


class Job(Generic[T]):
    """One blocking call in a daemon thread of its own, so that it can be left behind.

    A responder that hangs must not hold up the end of the process; `Threads` always waits.
    """

    def __init__(self, call: Callable[[], T], undo: Callable[[T], object] | None = None) -> None:
        """`undo` gets the result if it comes after `abandon`."""
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._abandoned = False
        self._result: list[T] = []
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="lanspread-mdns", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Block until it is done, but not longer than this."""
        return self._done.wait(seconds)

    def result(self) -> T:
        """What the call returned, once `wait` said so. Raises what the call raised."""
        if self._error is not None:
            raise self._error
        return self._result[0]

    def abandon(self) -> bool:
        """Nobody will take the result: False if it is there already and is the caller's."""
        with self._lock:
            self._abandoned = not self._done.is_set()
            return self._abandoned

    def _run(self) -> None:
        try:
            result = [self._call()]
            error = None
        except Exception as caught:
            result, error = [], caught
        with self._lock:
            self._result, self._error = result, error
            self._done.set()
            unwanted = self._abandoned
        if unwanted and self._undo is not None:
            for value in result:
                self._undo(value)
