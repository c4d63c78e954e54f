"""From the runtime to its front-ends: numbered events, kept for a while, to bounded subscribers.

State events are gapless: `seq` rises by exactly one, and a subscriber that cannot keep up is cut
off rather than shown a gap. Progress events are last-value-wins: they carry no number, replace one
another while they wait, and never come after a later state event of their operation.
Everything here is synchronous but `next_batch`. Source: docs/api.md, "Events".
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from lanspread import limits
from lanspread.errors import Code, LanspreadError
from lanspread.events import GameFiles, LibraryUpdated, PeerEvent, event_data
from lanspread.seams import WallClock

# Fields written `name?` in docs/api.md: left out where there is nothing to say.
_OPTIONAL_FIELDS = frozenset({"needed_bytes", "files_omitted", "kept_omitted"})
# How many ended operations are remembered, so that a late progress event of one is recognised.
_ENDED_KEPT = 1_024
_BATCH_EVENTS = 256
# What an event takes beside its data: the object, its time, its place in a queue.
_EVENT_BYTES = 256


class SubscriberTooSlow(Exception):
    """The subscriber's queue is full; it has to be cut off, for events are not left out."""


class SubscriptionClosed(Exception):
    """`close` was called on the subscription."""


@attrs.frozen(kw_only=True)
class PublishedEvent:
    """An event as front-ends see it. `seq` is None for progress, `time` is UTC in ISO 8601.

    `cost` is about what it takes in memory, in bytes.
    """

    seq: int | None
    time: str
    type: str
    data: dict[str, Any]
    cost: int = attrs.field(default=0, eq=False)


class Subscription:
    """One subscriber's queue. Leaving the block ends it; no event is queued afterwards."""

    def __init__(self, hub: EventHub, replay: list[PublishedEvent]) -> None:
        self._hub = hub
        self._replay = deque(replay)
        self._events: deque[PublishedEvent] = deque()
        self._waiting_bytes = 0
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
        while self._replay and len(batch) < _BATCH_EVENTS:
            batch.append(self._replay.popleft())
        while self._events and len(batch) < _BATCH_EVENTS:
            batch.append(self._events.popleft())
            self._waiting_bytes -= batch[-1].cost
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
        elif self._has_room_for(event):
            if operation_id is not None:
                self._drop_progress(operation_id)
            self._events.append(event)
            self._waiting_bytes += event.cost
        else:
            self._drop_all()
        self._ready.set()

    def _has_room_for(self, event: PublishedEvent) -> bool:
        # A single event is taken whatever its size: somebody asked for it.
        fits = self._waiting_bytes + event.cost <= limits.EVENT_HISTORY_BYTES
        return len(self._events) < limits.CLIENT_QUEUE and (fits or not self._events)

    def _drop_progress(self, operation_id: str) -> None:
        for key in [key for key in self._progress if key[1] == operation_id]:
            del self._progress[key]

    def _drop_all(self) -> None:
        self._replay.clear()
        self._events.clear()
        self._waiting_bytes = 0
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
    """Numbers events, keeps the last ones for replay, and hands them to subscribers.

    Kept are `limits.EVENT_HISTORY` events, fewer if they would take more memory than
    `limits.EVENT_HISTORY_BYTES`: then many of them are large. `instance` names this run of the
    peer: numbers of another run mean nothing here.
    """

    def __init__(self, instance: str, wall_clock: WallClock) -> None:
        self.instance = instance
        self._wall_clock = wall_clock
        self._seq = 0
        self._history: deque[PublishedEvent] = deque()
        self._history_bytes = 0
        self._subscriptions: set[Subscription] = set()
        # By area too: what begins as a download may go on as an update.
        self._ended: dict[tuple[str, str | None], None] = {}

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

        A progress event of an operation that has ended is left out. A `library.updated` of very
        many games becomes several.
        """
        if isinstance(event, LibraryUpdated) and len(event.games) > limits.MAX_IDS_PER_EVENT:
            for start in range(0, len(event.games), limits.MAX_IDS_PER_EVENT):
                ids = event.games[start : start + limits.MAX_IDS_PER_EVENT]
                self._publish(attrs.evolve(event, games=ids))
        else:
            self._publish(event)

    def _publish(self, event: PeerEvent) -> None:
        operation_id = getattr(event, "operation_id", None)
        ended = (event.event_type.partition(".")[0], operation_id)
        if event.is_progress and ended in self._ended:
            return
        data = _plain(event)
        seq = None
        if not event.is_progress:
            self._seq += 1
            seq = self._seq
        published = PublishedEvent(
            seq=seq,
            time=_iso(self._wall_clock),
            type=event.event_type,
            data=data,
            cost=_EVENT_BYTES + _cost(data),
        )
        if seq is not None:
            self._remember(published)
        if event.is_terminal and operation_id is not None:
            self._remember_ended(ended)
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
        """Keep the event for replay."""
        event = _kept_form(event)
        self._history.append(event)
        self._history_bytes += event.cost
        while (
            len(self._history) > limits.EVENT_HISTORY
            or self._history_bytes > limits.EVENT_HISTORY_BYTES
        ):
            self._history_bytes -= self._history.popleft().cost

    def _remember_ended(self, ended: tuple[str, str | None]) -> None:
        self._ended[ended] = None
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]


def _kept_form(event: PublishedEvent) -> PublishedEvent:
    """What is kept of an event: a very long list of files is replaced by its length.

    Whoever reads about it later asks for the game again; others keep their thousand events.
    """
    if event.type != GameFiles.event_type or event.cost <= limits.MAX_EVENT_KEPT_BYTES:
        return event
    data = {**event.data, "files": [], "files_omitted": len(event.data["files"])}
    return attrs.evolve(event, data=data, cost=_EVENT_BYTES + _cost(data))


def _cost(value: Any) -> int:
    """About how many bytes a plain value takes in memory."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum([sys.getsizeof(key) + _cost(item) for key, item in value.items()])
    if isinstance(value, list):
        return size + sum([_cost(item) for item in value])
    return size


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
            return _text(str(value))
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


def _text(text: str) -> str:
    """The same text, not a copy; one that no encoding can carry with ? for what is wrong in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _iso(clock: WallClock) -> str:
    return clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
