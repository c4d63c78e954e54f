"""What differs between two libraries, as a value. Pure.

`diff` makes it of encoded summaries, `LibraryDelta` carries it, `Change` is it once decoded, and
`apply_change` puts it into a draft of a view: apply(diff(a, b), a) is b, its digest included.
Source: docs/protocol.md, "Library exchange".
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from lanspread import limits
from lanspread.sync import messages as m
from lanspread.sync.remote import Draft, Position, RemoteGame

# An encoded summary has its own head in a message; the fields around all of them need some more.
_ITEM_BYTES = 5
_ITEMS_AROUND = 64


@attrs.frozen
class Diff:
    """Encoded summaries of the games that came or are different, and the ids of those gone."""

    added: tuple[bytes, ...]
    updated: tuple[bytes, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.removed)

    @property
    def fits(self) -> bool:
        """Whether a message can carry it."""
        items = len(self.added) + len(self.updated) + len(self.removed)
        if items + _ITEMS_AROUND > limits.MAX_CBOR_ITEMS:
            return False
        size = sum(map(len, self.added)) + sum(map(len, self.updated))
        size += sum(len(game_id.encode()) for game_id in self.removed)
        return size + items * _ITEM_BYTES <= limits.PAGE_BYTES


def diff(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Diff:
    """What leads from one library to another; both are encoded summaries by id."""
    return Diff(
        added=tuple(data for game_id, data in after.items() if game_id not in before),
        updated=tuple(data for game_id, data in after.items() if before.get(game_id, data) != data),
        removed=tuple(game_id for game_id in before if game_id not in after),
    )


@attrs.frozen
class Change:
    """A delta whose summaries are decoded."""

    epoch: bytes
    from_rev: int
    to_rev: int
    digest: bytes
    added: tuple[RemoteGame, ...]
    updated: tuple[RemoteGame, ...]
    removed: tuple[str, ...]


def apply_change(draft: Draft, change: Change) -> None:
    """Put a change into a draft. Raises `Contradiction`; the draft is worth nothing then.

    What is removed goes first, so that a library that is full can exchange a game for another.
    """
    for game_id in change.removed:
        draft.remove(game_id)
    for game in change.updated:
        draft.update(game)
    for game in change.added:
        draft.add(game)


def end_of(delta: m.LibraryDelta) -> Position:
    """Where the library of a delta's sender stood when it was made."""
    return Position(delta.library_epoch, delta.to_rev, delta.library_digest)


def weight_of(delta: m.LibraryDelta) -> int:
    """About what a delta takes in memory while it waits, in bytes."""
    texts = (*delta.added, *delta.updated, *delta.removed)
    return 512 + sum(len(text) + 64 for text in texts)
