"""The event hub: numbers without gaps, bounded queues, progress that never comes late."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.errors import Code, LanspreadError
from lanspread.eventhub import (
    EventHub,
    PublishedEvent,
    SubscriberTooSlow,
    Subscription,
    SubscriptionClosed,
)
from lanspread.events import (
    DownloadPaused,
    GameFiles,
    LibraryUpdated,
    PeerConnected,
    PeerEvent,
    UpdateProgress,
)
from tests.api.fake import FixedClock, a_peer, begin, finished, progress, warning


def new_hub() -> EventHub:
    return EventHub("here", FixedClock())


async def drain(subscription: Subscription) -> list[PublishedEvent]:
    """Everything that is waiting."""
    events: list[PublishedEvent] = []
    with trio.move_on_after(0.01):
        while True:
            events += await subscription.next_batch()
    return events


async def test_numbers_rise_by_one_and_times_are_utc(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    with hub.subscribe(None) as subscription:
        for number in range(600):
            hub.publish(warning(number))
        events = await drain(subscription)
    assert [event.seq for event in events] == list(range(1, 601))
    assert hub.seq == 600
    assert events[0].time == "2025-02-03T04:05:06.789Z"
    assert events[0].data == {"code": "test", "message": "0", "remedy": ""}


async def test_a_peers_fields_stand_beside_the_events(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    features: dict[str, object] = {"x": [1]}
    with hub.subscribe(None) as subscription:
        hub.publish(PeerConnected(peer=a_peer(features=features)))
        features["x"] = "changed afterwards"
        (event,) = await drain(subscription)
    assert event.data["state"] == "connected"
    assert event.data["addresses"] == ["127.0.0.1:7373"]
    assert event.data["features"] == {"x": [1]}


async def test_optional_fields_are_left_out(autojump_clock: trio.testing.MockClock) -> None:
    hub = new_hub()
    with hub.subscribe(None) as subscription:
        hub.publish(DownloadPaused(operation_id="o", id="g", reason="user"))
        hub.publish(DownloadPaused(operation_id="o", id="g", reason="disk_full", needed_bytes=5))
        first, second = await drain(subscription)
    assert "needed_bytes" not in first.data
    assert second.data["needed_bytes"] == 5


async def test_progress_is_the_last_value_of_each_operation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    with hub.subscribe(None) as subscription:
        for operation in ("a", "b"):
            hub.publish(begin(operation))
            for done in range(10):
                hub.publish(progress(operation, done))
        events = await drain(subscription)
    assert [event.seq for event in events] == [1, 2, None, None]
    assert {event.data["operation_id"]: event.data["done_bytes"] for event in events[2:]} == {
        "a": 9,
        "b": 9,
    }


async def test_overflow_cuts_off_and_says_so(autojump_clock: trio.testing.MockClock) -> None:
    hub = new_hub()
    slow, other = hub.subscribe(None), hub.subscribe(None)
    for number in range(limits.CLIENT_QUEUE):
        hub.publish(warning(number))
    assert len(await drain(other)) == limits.CLIENT_QUEUE
    hub.publish(finished("a"))
    assert slow.overflowed
    await slow.wait_overflowed()
    with pytest.raises(SubscriberTooSlow):
        await slow.next_batch()
    assert hub.subscribers == 1
    assert [event.type for event in await drain(other)] == ["download.finished"]


async def test_progress_never_overflows(autojump_clock: trio.testing.MockClock) -> None:
    hub = new_hub()
    with hub.subscribe(None) as subscription:
        for number in range(limits.CLIENT_QUEUE * 3):
            hub.publish(progress("a", number))
        assert len(await drain(subscription)) == 1


async def test_closing_wakes_the_reader(autojump_clock: trio.testing.MockClock) -> None:
    hub = new_hub()
    subscription = hub.subscribe(None)

    async def read() -> None:
        with pytest.raises(SubscriptionClosed):
            await subscription.next_batch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        subscription.close()
    assert hub.subscribers == 0


@pytest.mark.parametrize(
    ("instance", "seq"), [("other", 5), ("here", 6), ("here", -1), ("here", 10**30)]
)
def test_what_was_never_here_needs_a_resync(instance: str, seq: int) -> None:
    hub = new_hub()
    for number in range(5):
        hub.publish(warning(number))
    with pytest.raises(LanspreadError) as caught:
        hub.subscribe((instance, seq))
    assert caught.value.code is Code.RESYNC_REQUIRED
    assert hub.subscribers == 0


async def test_history_is_bounded_and_whole(autojump_clock: trio.testing.MockClock) -> None:
    hub = new_hub()
    for number in range(limits.EVENT_HISTORY + 10):
        hub.publish(warning(number))
    assert limits.EVENT_HISTORY >= 1_000
    with pytest.raises(LanspreadError):
        hub.subscribe(("here", 9))
    with hub.subscribe(("here", 10)) as subscription:
        hub.publish(warning(0))
        seqs = [event.seq for event in await drain(subscription)]
    assert seqs == list(range(11, limits.EVENT_HISTORY + 12))


# -- memory ---------------------------------------------------------------------------------------


def whole_change(turn: int, games: int = 40_000) -> LibraryUpdated:
    """A peer's library that was replaced whole: 20,000 games went, 20,000 came, with long ids."""
    ids = tuple(f"\U0001f3ae{turn}/{number}/".ljust(64, "x") for number in range(games))
    return LibraryUpdated(peer_id="p" * 36, games=ids, rev=turn)


def files_of(count: int) -> GameFiles:
    files = tuple({"path": f"folder/{number:06}.dat", "size": number} for number in range(count))
    return GameFiles(id="quake", files=files, left_out=("them",))


def growth(work: Callable[[], None]) -> int:
    """Bytes that are held after `work` and were not before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


async def test_a_large_change_comes_in_several_events(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    change = whole_change(7, games=2_001)
    with hub.subscribe(None) as subscription:
        hub.publish(change)
        hub.publish(warning(0))
        events = await drain(subscription)
    *parts, last = events
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [len(event.data["games"]) for event in parts] == [1_000, 1_000, 1]
    assert {(event.data["peer_id"], event.data["rev"]) for event in parts} == {("p" * 36, 7)}
    assert tuple(id for event in parts for id in event.data["games"]) == change.games
    assert last.type == "warning"
    with hub.subscribe(("here", 1)) as later:
        assert await drain(later) == events[1:]


def test_the_history_of_large_events_is_bounded_in_bytes() -> None:
    hub = new_hub()

    def work() -> None:
        for turn in range(6):
            hub.publish(whole_change(turn))

    # Six of these are 80 MB; what is kept is at most half more than its estimate.
    assert growth(work) < 1.5 * limits.EVENT_HISTORY_BYTES
    # And not much less than it could be.
    assert len(hub._history) > 80
    hub.subscribe(("here", hub.seq - len(hub._history)))
    with pytest.raises(LanspreadError):
        hub.subscribe(("here", hub.seq - len(hub._history) - 1))


async def test_very_long_lists_of_files_are_sent_but_not_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    for number in range(1_000):
        hub.publish(warning(number, padding=1_000))

    def work() -> None:
        for _ in range(3):
            hub.publish(files_of(15_000))

    with hub.subscribe(None) as subscription:
        hub.publish(files_of(15_000))
        (live,) = await drain(subscription)
    assert len(live.data["files"]) == 15_000
    assert "files_omitted" not in live.data
    assert growth(work) < limits.MIB
    with hub.subscribe(("here", 0)) as later:
        events = await drain(later)
    assert [event.seq for event in events] == list(range(1, 1_005))
    assert events[-1].data == {
        "id": "quake",
        "files": [],
        "left_out": ["them"],
        "files_omitted": 15_000,
    }


async def test_a_list_of_files_of_normal_size_is_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    hub.publish(files_of(1_000))
    with hub.subscribe(("here", 0)) as later:
        (event,) = await drain(later)
    assert len(event.data["files"]) == 1_000


async def test_a_slow_subscriber_is_cut_off_by_bytes_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    slow, reading = hub.subscribe(None), hub.subscribe(None)

    def work() -> None:
        for turn in range(6):
            hub.publish(whole_change(turn))

    # One event is taken however large it is, and does not count once it was read.
    for _ in range(3):
        hub.publish(files_of(100_000))
        assert len((await drain(reading))[0].data["files"]) == 100_000
    for number in range(3):
        hub.publish(warning(number))
    assert not reading.overflowed
    assert slow.overflowed
    idle = hub.subscribe(None)
    assert growth(work) < 1.5 * limits.EVENT_HISTORY_BYTES
    assert idle.overflowed


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["begin", "progress", "end"]), st.sampled_from("abc")),
        st.just(("read", "")),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_no_order_of_things_breaks_the_order_of_events(actions: list[tuple[str, str]]) -> None:
    """Whatever is published and whenever it is read, what a front-end sees makes sense."""

    async def play() -> None:
        hub = new_hub()
        seen: list[PublishedEvent] = []
        started: set[str] = set()
        ended: set[str] = set()
        with hub.subscribe(None) as subscription:
            for count, (action, operation) in enumerate(actions):
                made: PeerEvent | None = None
                if action == "read":
                    seen += await drain(subscription)
                elif action == "begin" and operation not in started:
                    started.add(operation)
                    made = begin(operation)
                elif action == "progress" and operation in started:
                    made = progress(operation, count)
                elif action == "end" and operation in started - ended:
                    ended.add(operation)
                    made = finished(operation)
                if made is not None:
                    hub.publish(made)
            seen += await drain(subscription)
        seqs = [event.seq for event in seen if event.seq is not None]
        assert seqs == list(range(1, hub.seq + 1))
        alive: dict[str, int] = {}
        for event in seen:
            operation = event.data["operation_id"]
            if event.type == "download.begin":
                alive[operation] = -1
            elif event.type == "download.progress":
                assert event.data["done_bytes"] > alive[operation]
                alive[operation] = event.data["done_bytes"]
            else:
                del alive[operation]

    trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_an_update_goes_on_when_the_download_in_it_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = new_hub()
    with hub.subscribe(None) as subscription:
        hub.publish(finished("op"))
        hub.publish(progress("op", 5))
        hub.publish(
            UpdateProgress(
                operation_id="op", id="quake", done_bytes=1, total_bytes=2, rate=0.0, eta_s=None
            )
        )
        events = await drain(subscription)
    assert [event.type for event in events] == ["download.finished", "update.progress"]
