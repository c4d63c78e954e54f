"""Who is next where several share one thing: even by amount, not by how often one asks. Pure.

Start-time fair queuing (Goyal, Vin, Cheng: "Start-time Fair Queuing", 1996): each key has a tag,
how much it has had while others waited; the least goes first. A key that comes anew begins where
the others are: it neither waits for what it did not ask for nor is owed anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")

# Keys that had their share and ask for nothing now: of more, those that owe nothing are forgotten.
_MAX_IDLE = 64


@attrs.define(eq=False)
class Entry(Generic[T]):
    """`item` waits for `amount` in the name of `key`."""

    key: Hashable
    amount: float
    item: T


@attrs.define(eq=False)
class _Line(Generic[T]):
    """What one key waits for, first come first served, and the tag of the first."""

    tag: float
    entries: deque[Entry[T]] = attrs.Factory(deque)


class FairQueue(Generic[T]):
    """Entries in fair order. All methods return at once and take time in the number of keys."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line[T]] = {}
        # Keys of which nothing waits, with the tag that their next entry gets.
        self._idle: dict[Hashable, float] = {}
        self._now = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry[T]]:
        return (entry for line in self._lines.values() for entry in line.entries)

    def add(self, key: Hashable, amount: float, item: T) -> Entry[T]:
        """Put something at the end of its key's line."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(max(self._now, self._idle.pop(key, 0.0)))
        entry = Entry(key, amount, item)
        line.entries.append(entry)
        self._count += 1
        return entry

    def remove(self, entry: Entry[T]) -> None:
        """Take out something that waits no more, without its amount."""
        line = self._lines[entry.key]
        line.entries.remove(entry)
        self._count -= 1
        self._close_if_empty(entry.key, line)

    def first(self, may: Callable[[Entry[T]], bool] | None = None) -> Entry[T] | None:
        """What is next, of those that may; None if there is none."""
        best: _Line[T] | None = None
        for line in self._lines.values():
            if (best is None or line.tag < best.tag) and (may is None or may(line.entries[0])):
                best = line
        return None if best is None else best.entries[0]

    def take(self, entry: Entry[T]) -> None:
        """Give the first of a line what it waits for: its key has had that much more."""
        line = self._lines[entry.key]
        taken = line.entries.popleft()
        assert taken is entry, "only the first of a line can be taken"
        self._count -= 1
        self._now = max(self._now, line.tag)
        line.tag += entry.amount
        self._close_if_empty(entry.key, line)

    def _close_if_empty(self, key: Hashable, line: _Line[T]) -> None:
        if line.entries:
            return
        del self._lines[key]
        if not self._lines:
            # Nobody waits, so nobody was held up: the accounts are closed.
            self._idle.clear()
            self._now = 0.0
            return
        self._idle[key] = line.tag
        if len(self._idle) > _MAX_IDLE:
            self._idle = {key: tag for key, tag in self._idle.items() if tag > self._now}
