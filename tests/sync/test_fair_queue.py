"""The fair queue: shares even by amount, whoever asks how often; nothing lost, nothing doubled."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lanspread.sync.fair_queue import Entry, FairQueue

AMOUNTS = st.integers(1, 1_000)


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(AMOUNTS, min_size=1, max_size=4), min_size=2
    ),
    st.integers(1, 400),
)
def test_keys_that_always_wait_get_the_same(amounts: dict[str, list[int]], turns: int) -> None:
    """However large what each asks for is, and however many entries each has waiting."""
    queue: FairQueue[int] = FairQueue()
    had: Counter[str] = Counter()
    for key, of_key in amounts.items():
        for amount in of_key:
            queue.add(key, amount, amount)
    for _ in range(turns):
        entry = queue.first()
        assert entry is not None
        # Asked again before it is taken, as one who sends and comes back for more.
        queue.add(entry.key, entry.item, entry.item)
        queue.take(entry)
        had[str(entry.key)] += entry.item
    largest = max(max(of_key) for of_key in amounts.values())
    assert max(had.values()) - min(had[key] for key in amounts) <= 2 * largest


@given(st.integers(0, 50), AMOUNTS)
def test_who_comes_later_waits_no_longer_than_the_others(before: int, amount: int) -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(before + 2):
        queue.add("early", amount, "early")
    for _ in range(before):
        entry = queue.first()
        assert entry is not None
        queue.take(entry)
    queue.add("late", amount, "late")
    order = []
    while (entry := queue.first()) is not None:
        queue.take(entry)
        order.append(entry.item)
    # At once or after one other, and no second time before the other: nothing was saved up.
    assert "late" in order[:2]
    assert len(order) == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), AMOUNTS, st.booleans()), max_size=40), st.data())
def test_everything_is_taken_or_removed_once(
    steps: list[tuple[str, int, bool]], data: st.DataObject
) -> None:
    queue: FairQueue[int] = FairQueue()
    waiting: list[Entry[int]] = []
    for number, (key, amount, leave) in enumerate(steps):
        waiting.append(queue.add(key, amount, number))
        if leave:
            gone = data.draw(st.sampled_from(waiting))
            waiting.remove(gone)
            queue.remove(gone)
        assert len(queue) == len(waiting)
        assert {entry.item for entry in queue} == {entry.item for entry in waiting}
    seen = []
    while (entry := queue.first()) is not None:
        queue.take(entry)
        seen.append(entry)
    # Each key's own stay in their order.
    for key in "abc":
        of_key = [entry for entry in seen if entry.key == key]
        assert of_key == [entry for entry in waiting if entry.key == key]
    assert len(queue) == 0


def test_who_may_not_is_passed_over() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("a", 1, "a")
    queue.add("b", 1, "b")
    entry = queue.first(lambda found: found.key != "a")
    assert entry is not None
    assert entry.item == "b"
    assert queue.first(lambda found: False) is None
