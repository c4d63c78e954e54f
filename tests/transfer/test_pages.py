"""Manifests and digests in pages: everything once, no page too large, none made before its time."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from typing import cast

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs.local_game import GameFiles, LocalGame
from lanspread.model import FileEntry, Manifest, block_count
from lanspread.sync import codec
from lanspread.sync import messages as m
from lanspread.sync.exchange import ReadyPage, Responder
from lanspread.sync.fair import FairSlots
from lanspread.transfer.pages import (
    MAX_ROWS_A_PAGE,
    FirstPages,
    digest_pages,
    manifest_pages,
    number_of,
)
from lanspread.transport import Stream
from lanspread.transport.framing import FrameReader, frame

BLOCK = limits.BLOCK_BYTES


def a_game(files: tuple[FileEntry, ...], *, hashed: bool = True, block: int = BLOCK) -> LocalGame:
    blocks = sum(block_count(entry.size, block) for entry in files)
    digests = tuple(os.urandom(32) for _ in range(blocks)) if hashed else None
    return LocalGame(
        id="quake",
        version="1.0",
        downloaded=True,
        installed=False,
        installed_version=None,
        unfinished=False,
        size=sum(entry.size for entry in files),
        manifest_hash=b"m" * 32,
        content_hash=b"c" * 32 if hashed else None,
        problem=None,
        files=GameFiles(Manifest(files), (), digests),
    )


def held_by(work: Callable[[], object]) -> int:
    """Bytes that are held while the result of `work` is."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        held = tracemalloc.get_traced_memory()[0] - before
        del result
        return held
    finally:
        tracemalloc.stop()


def begun(pages: Iterator[m.Page]) -> Iterator[m.Page]:
    """An answer whose first page was sent, and whose next was not asked for."""
    assert next(pages).more
    return pages


SIZES = st.lists(st.integers(0, 20_000), max_size=60)


@given(SIZES, st.booleans(), st.integers(1, 2_000))
def test_a_manifest_is_the_same_in_pages(sizes: list[int], hashed: bool, page_bytes: int) -> None:
    files = tuple(FileEntry(f"{number:03}", size) for number, size in enumerate(sizes))
    game = a_game(files, hashed=hashed, block=1_024)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PAGE_BYTES", page_bytes)
        pages = list(manifest_pages(game, 1_024))
    assert [page.page for page in pages] == list(range(len(pages)))
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert all(page.files for page in pages) or not files
    rows = [row for page in pages for row in page.files]
    assert [(path, size) for path, size, _ in rows] == [(f.path, f.size) for f in files]
    assert {page.file_count for page in pages} == {len(files)}
    if hashed:
        assert b"".join(known or b"" for *_, known in rows) == b"".join(game.digests or ())
    else:
        assert all(known is None for *_, known in rows)
    for page in pages:
        # A single row may be larger than the page was meant to be.
        size = sum(len(path.encode()) + len(known or b"") + 16 for path, _, known in page.files)
        assert size <= page_bytes or len(page.files) == 1


@pytest.mark.parametrize("hashed", [True, False])
def test_pages_of_a_large_game_fit_a_frame(hashed: bool) -> None:
    files = tuple(
        FileEntry(f"{number:06}" + "x" * (number % 200), 4_096) for number in range(20_000)
    )
    pages = list(manifest_pages(a_game(files, hashed=hashed), BLOCK))
    assert len(pages) > 3
    for page in pages:
        codec.decode(codec.encode(page))
        assert len(codec.encode(page)) <= limits.MAX_MESSAGE_BYTES


def test_a_page_is_some_milliseconds_of_an_event_loop() -> None:
    # What a page costs to make and to decode goes with its rows, and a short name makes many fit.
    files = tuple(FileEntry(f"{number:05}", 1) for number in range(5_000))
    pages = list(manifest_pages(a_game(files, hashed=False), BLOCK))
    assert sum(len(page.files) for page in pages) == len(files)
    assert max(len(page.files) for page in pages) == MAX_ROWS_A_PAGE
    assert MAX_ROWS_A_PAGE <= 1_024


def test_a_manifest_is_not_held_in_pages() -> None:
    files = tuple(FileEntry(f"folder/{number:06}.dat", 4_096) for number in range(50_000))
    game = a_game(files)
    # All of them are 4 MB; Python keeps some empty tuples for later.
    assert held_by(lambda: begun(manifest_pages(game, BLOCK))) < 256 * limits.KIB


def test_digests_are_not_held_in_pages() -> None:
    digests = tuple(bytes(32) for _ in range(262_144))
    assert held_by(lambda: begun(digest_pages(b"m" * 32, BLOCK, digests))) < 64 * limits.KIB
    joined = b"".join(
        cast(m.BlockDigests, page).digests for page in digest_pages(b"m" * 32, BLOCK, digests)
    )
    assert joined == b"".join(digests)


def test_the_first_page_is_made_once() -> None:
    """Asking costs a hundred bytes, making a page thousands of rows."""
    # More games than are kept, some of them of several pages.
    games = [
        attrs.evolve(
            a_game(tuple(FileEntry(f"{number:05}", 10) for number in range(rows))),
            content_hash=os.urandom(32),
        )
        for rows in (12_000, 12_000, *[100] * 18)
    ]
    kept = FirstPages()
    for game in games:
        expected = [frame(codec.encode(page)) for page in manifest_pages(game, BLOCK)]
        first = list(kept.ahead_of(game, BLOCK))
        again = list(kept.ahead_of(game, BLOCK))
        assert isinstance(first[0], ReadyPage)
        assert again[0] is first[0]
        for pages in (first, again):
            assert [
                page.frame if isinstance(page, ReadyPage) else frame(codec.encode(page))
                for page in pages
            ] == expected
    assert len(kept._ready) <= 16


def test_a_manifest_that_is_not_hashed_is_made_each_time() -> None:
    game = a_game((FileEntry("a", 1),), hashed=False)
    kept = FirstPages()
    assert list(kept.ahead_of(game, BLOCK)) == list(manifest_pages(game, BLOCK))
    assert not kept._ready


@given(st.sets(st.text(min_size=1, max_size=4), max_size=20), st.text(max_size=4))
def test_a_file_is_found_by_its_path(paths: set[str], other: str) -> None:
    paths = {path for path in paths if path.isprintable()}
    files = tuple(FileEntry(path, 1) for path in sorted(paths, key=str.encode))
    for number, entry in enumerate(files):
        assert number_of(Manifest(files), entry.path) == number
    if other.isprintable() and other not in paths:
        assert number_of(Manifest(files), other) is None


async def test_a_page_is_made_when_it_is_asked_for_and_then_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Pages wait for whoever is slow to ask as nothing at all."""
    ours, theirs = trio.testing.memory_stream_pair()
    made = 0

    def pages() -> Iterator[m.Page]:
        nonlocal made
        for number in range(3):
            made += 1
            yield m.BlockDigests(
                page=number,
                more=number < 2,
                manifest_hash=b"m" * 32,
                block_size=BLOCK,
                digests=bytes(700_000),
            )

    slots = FairSlots(1)
    responder = Responder(cast(Stream, ours), FrameReader(ours), slots, "10.0.0.1")
    reader = FrameReader(theirs)
    async with trio.open_nursery() as nursery:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            nursery.start_soon(responder.send_pages, pages())
            for number in range(3):
                assert await reader.frame() is not None
                await trio.sleep(limits.SEND_SILENCE_S / 2)
                assert (made, slots.held) == (number + 1, 0)
                assert tracemalloc.get_traced_memory()[0] - before < 100_000
                await theirs.send_all(frame(codec.encode(m.NextPage(page=number + 1))))
        finally:
            tracemalloc.stop()
