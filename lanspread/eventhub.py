"""From the runtime to its front-ends: numbered events, kept for a while, to bounded subscribers.

State events are gapless: `seq` rises by exactly one, and a subscriber that cannot keep up is cut
off rather than shown a gap. Progress events are last-value-wins: they carry no number, replace one
another while they wait, and never come after a later state event of their operation.
Everything here is synchronous but `next_batch`. Source: docs/api.md, "Events".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from lanspread import limits
from lanspread.errors import Code, LanspreadError
from lanspread.events import PeerEvent, event_data
from lanspread.seams import WallClock

# Fields written `name?` in docs/api.md: left out where there is nothing to say.
_OPTIONAL_FIELDS = frozenset({"needed_bytes"})
# How many ended operations are remembered, so that a late progress event of one is recognised.
_ENDED_KEPT = 1_024
_BATCH_EVENTS = 256


class SubscriberTooSlow(Exception):
    """The subscriber's queue is full; it has to be cut off, for events are not left out."""


class SubscriptionClosed(Exception):
    """`close` was called on the subscription."""


@attrs.frozen(kw_only=True)
class PublishedEvent:
    """An event as front-ends see it. `seq` is None for progress, `time` is UTC in ISO 8601."""

    seq: int | None
    time: str
    type: str
    data: dict[str, Any]


class Subscription:
    """One subscriber's queue. Leaving the block ends it; no event is queued afterwards."""

    def __init__(self, hub: EventHub, replay: list[PublishedEvent]) -> None:
        self._hub = hub
        self._replay = deque(replay)
        self._events: deque[PublishedEvent] = deque()
        self._progress: dict[tuple[str, str], PublishedEvent] = {}
        self._ready = trio.Event()
        self._overflow = trio.Event()
        self._closed = False
        if replay:
            self._ready.set()

    @property
    def overflowed(self) -> bool:
        """Whether the queue was full when a state event came: nothing more will be delivered."""
        return self._overflow.is_set()

    async def wait_overflowed(self) -> None:
        """Wait until `overflowed`."""
        await self._overflow.wait()

    async def next_batch(self) -> list[PublishedEvent]:
        """Wait for events; state events in order, then the latest progress of each operation.

        Raises `SubscriberTooSlow` once overflowed, `SubscriptionClosed` once closed. Cancellation
        loses nothing.
        """
        await self._ready.wait()
        if self._closed:
            raise SubscriptionClosed
        if self.overflowed:
            raise SubscriberTooSlow
        batch: list[PublishedEvent] = []
        for queue in (self._replay, self._events):
            while queue and len(batch) < _BATCH_EVENTS:
                batch.append(queue.popleft())
        # Progress waits for the state events before it, or it would overtake its own `begin`.
        if not self._replay and not self._events:
            batch.extend(self._progress.values())
            self._progress.clear()
            self._ready = trio.Event()
        return batch

    def close(self) -> None:
        """End it. Whoever waits in `next_batch` gets `SubscriptionClosed`."""
        self._closed = True
        self._hub._subscriptions.discard(self)
        self._ready.set()

    def _put(self, event: PublishedEvent, operation_id: str | None) -> None:
        if event.seq is None:
            self._progress[event.type, operation_id or ""] = event
        elif len(self._events) >= limits.CLIENT_QUEUE:
            self._drop_all()
        else:
            if operation_id is not None:
                self._drop_progress(operation_id)
            self._events.append(event)
        self._ready.set()

    def _drop_progress(self, operation_id: str) -> None:
        for key in [key for key in self._progress if key[1] == operation_id]:
            del self._progress[key]

    def _drop_all(self) -> None:
        self._replay.clear()
        self._events.clear()
        self._progress.clear()
        self._overflow.set()
        self._hub._subscriptions.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class EventHub:
    """Numbers events, keeps the last `limits.EVENT_HISTORY`, and hands them to subscribers.

    `instance` names this run of the peer: numbers of another run mean nothing here.
    """

    def __init__(self, instance: str, wall_clock: WallClock) -> None:
        self.instance = instance
        self._wall_clock = wall_clock
        self._seq = 0
        self._history: deque[PublishedEvent] = deque()
        self._names_kept = 0
        self._subscriptions: set[Subscription] = set()
        self._ended: dict[str, None] = {}

    @property
    def seq(self) -> int:
        """The number of the last state event; 0 before the first."""
        return self._seq

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def publish(self, event: PeerEvent) -> None:
        """Hand an event to all subscribers. Never waits.

        A progress event of an operation that has ended is left out.
        """
        data = _plain(event)
        operation_id = getattr(event, "operation_id", None)
        if event.is_progress:
            if operation_id in self._ended:
                return
            seq = None
        else:
            self._seq += 1
            seq = self._seq
        published = PublishedEvent(
            seq=seq, time=_iso(self._wall_clock), type=event.event_type, data=data
        )
        if seq is not None:
            self._remember(published)
        if event.is_terminal and operation_id is not None:
            self._remember_ended(operation_id)
        for subscription in tuple(self._subscriptions):
            subscription._put(published, operation_id)

    def subscribe(self, since: tuple[str, int] | None) -> Subscription:
        """Open a subscription, from now or from just after `since` = (instance, seq).

        Synchronous, so that a snapshot taken before the next await belongs to `seq`.
        Raises `LanspreadError` (`resync_required`) for another instance, a number that was never
        given out, or one older than what is kept.
        """
        replay: list[PublishedEvent] = []
        if since is not None:
            replay = self._since(*since)
        subscription = Subscription(self, replay)
        self._subscriptions.add(subscription)
        return subscription

    def _since(self, instance: str, seq: int) -> list[PublishedEvent]:
        missed = self._seq - seq
        if instance != self.instance or not 0 <= missed <= len(self._history):
            raise LanspreadError(
                Code.RESYNC_REQUIRED,
                "the events since then are not known here",
                "subscribe without `since` and start from the snapshot",
            )
        return list(self._history)[len(self._history) - missed :]

    def _remember(self, event: PublishedEvent) -> None:
        """Keep the event for replay; of events that name very many games, fewer are kept."""
        if len(self._history) == limits.EVENT_HISTORY:
            self._names_kept -= _names_in(self._history.popleft())
        self._history.append(event)
        self._names_kept += _names_in(event)
        while self._names_kept > limits.MAX_REMOTE_GAMES and len(self._history) > 1:
            self._names_kept -= _names_in(self._history.popleft())

    def _remember_ended(self, operation_id: str) -> None:
        self._ended[operation_id] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]


def _names_in(event: PublishedEvent) -> int:
    """How many game IDs an event carries: a peer decides over that, and over how often."""
    games = event.data.get("games")
    return len(games) if isinstance(games, list) else 0


def _plain(event: PeerEvent) -> dict[str, Any]:
    """The event's data as plain values, a copy that later changes do not reach."""
    data = event_data(event)
    return {
        name: json_value(value)
        for name, value in data.items()
        if value is not None or name not in _OPTIONAL_FIELDS
    }


def json_value(value: object, depth: int = 16) -> Any:
    """A value as JSON can carry it, a copy; never fails.

    What a peer sent may hold integers, texts and types that JSON encoders refuse: a number beyond
    64 bits becomes a text, bytes become hex, what is nested deeper than `depth` becomes null.
    """
    match value:
        case None | bool():
            return value
        case str():
            return str(value).encode("utf-8", "replace").decode()
        case int():
            return int(value) if -(2**63) <= value < 2**63 else str(value)
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return value.hex()
    if depth == 0:
        return None
    kind = type(value)
    if attrs.has(kind):
        return {
            field.name: json_value(getattr(value, field.name), depth - 1)
            for field in attrs.fields(kind)
        }
    if isinstance(value, Mapping):
        return {json_value(str(key)): json_value(item, depth - 1) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [json_value(item, depth - 1) for item in value]
    return json_value(str(value))


def _iso(clock: WallClock) -> str:
    return clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
