"""The index is written from what a game was when its row was taken, and never by the event loop."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

import attrs

from lanspread.fs.saver import MakeRow, Saver
from lanspread.platform import RealThreads
from lanspread.seams import FileStamp, IndexKey

KEY = IndexKey("/games", 1, 1024)


@attrs.define
class Rows:
    """An index that keeps its rows in memory."""

    rows: dict[str, bytes] = attrs.field(factory=dict)

    def load(self, key: IndexKey, games: Collection[str] | None = None) -> dict[str, bytes]:
        return {game: row for game, row in self.rows.items() if games is None or game in games}

    def store(self, key: IndexKey, rows: Mapping[str, bytes | None]) -> None:
        for game, row in rows.items():
            if row is None:
                self.rows.pop(game, None)
            else:
                self.rows[game] = row

    def close(self) -> None:
        pass


@attrs.define
class Library:
    """What rows are made of; notes which thread makes them."""

    rows: dict[str, bytes]
    made_by: set[int] = attrs.field(factory=set)

    def row_of(self, game: str) -> MakeRow | None:
        row = self.rows.get(game)
        if row is None:
            return None

        def make() -> bytes:
            self.made_by.add(threading.get_ident())
            assert row is not None
            return row

        return make


def a_saver(rows: dict[str, bytes]) -> tuple[Saver, Rows, Library]:
    index, library = Rows(), Library(rows)
    return Saver(index, KEY, RealThreads(), library.row_of), index, library


async def test_rows_are_made_in_threads() -> None:
    saver, index, library = a_saver({"a": b"1", "b": b"2"})
    for game in ("a", "b", "nothing to keep"):
        saver.touch(game)
    await saver.flush()
    assert index.rows == {"a": b"1", "b": b"2"}
    assert library.made_by
    assert threading.get_ident() not in library.made_by


async def test_what_was_frozen_is_found_before_it_is_written() -> None:
    saver, index, library = a_saver({"a": b"1", "b": b"2"})
    index.rows = {"a": b"old", "c": b"3"}
    saver.touch("a")
    saver.touch("b")
    saver.freeze()
    library.rows.clear()
    assert await saver.load(["a", "c"]) == {"a": b"1", "c": b"3"}
    assert await saver.load(None) == {"a": b"1", "b": b"2", "c": b"3"}
    assert threading.get_ident() not in library.made_by
    saver.keep_only(frozenset(["a"]))
    await saver.flush()
    assert index.rows == {"a": b"1"}


def test_a_stamp_is_looked_up_without_a_call_into_python() -> None:
    # Tens of thousands of them are, several times, after every walk of a large game.
    assert FileStamp.__hash__ is tuple.__hash__
    assert FileStamp.__eq__ is tuple.__eq__
