"""When our revision rises, and that it is on the disk before anybody hears of it."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.events import LibraryUpdated, PeerEvent, Warning_
from lanspread.model import GameSummary
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.publisher import Publisher
from tests.sync.support import EPOCH, PEER, library, summary


class Disk:
    """What is kept, and the order in which things happen."""

    def __init__(self, rev: int = 5, digest: bytes | None = None) -> None:
        self.kept: tuple[int, bytes | None] = (rev, digest)
        self.games: dict[str, GameSummary] = {}
        self.happened: list[object] = []
        self.error: OSError | None = None
        self.hangs = False
        self.publisher = self.start()

    def start(self) -> Publisher:
        """As after a crash: only what is kept is known."""
        rev, digest = self.kept
        self.publisher = Publisher(
            PEER,
            PublishedLibrary.empty(EPOCH, rev),
            saved_digest=digest,
            summaries=self._summaries,
            save=self._save,
            publish=self._publish,
        )
        self.publisher.announce_by(lambda: self.happened.append(self.rev))
        return self.publisher

    @property
    def rev(self) -> int:
        return self.publisher.current.rev

    def have(self, *ids: str) -> None:
        self.games = {id: summary(id) for id in ids}

    def _summaries(self) -> Iterable[GameSummary]:
        return self.games.values()

    def _publish(self, event: PeerEvent) -> None:
        if isinstance(event, LibraryUpdated):
            self.happened.append((event.games, event.rev))
        else:
            assert isinstance(event, Warning_)
            self.happened.append(event.code)

    async def _save(self, epoch: bytes, rev: int, digest: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.kept = (rev, digest)
        self.happened.append(f"saved {rev}")
        if self.hangs:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()


async def test_it_is_saved_then_told_then_announced(autojump_clock: MockClock) -> None:
    disk = Disk()
    disk.have("quake")
    await disk.publisher.refresh()
    assert disk.happened == ["saved 6", (("quake",), 6), 6]
    assert disk.kept == (6, library(6, "quake").digest)
    await disk.publisher.refresh()
    disk.have("quake", "doom")
    await disk.publisher.refresh()
    assert disk.happened[3:] == ["saved 7", (("doom",), 7), 7]


async def test_a_start_with_what_was_saved_writes_nothing(autojump_clock: MockClock) -> None:
    disk = Disk(5, library(5, "quake").digest)
    disk.error = OSError("full")
    disk.have("quake")
    await disk.publisher.refresh()
    assert disk.happened == [(("quake",), 5), 5]
    assert disk.publisher.current.position == library(5, "quake").position


@pytest.mark.parametrize("ids", [("quake",), ()])
async def test_a_start_with_anything_else_is_a_new_revision(
    autojump_clock: MockClock, ids: tuple[str, ...]
) -> None:
    """An empty library too: it is not what the revision held before."""
    for digest in (None, library(5, "doom").digest, bytes(32)):
        disk = Disk(5, digest)
        disk.have(*ids)
        await disk.publisher.refresh()
        assert (disk.rev, disk.kept[0]) == (6, 6)


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_crash_around_saving(autojump_clock: MockClock, hangs: bool) -> None:
    """Saved and not said, or not even saved: what the next start says was never said before."""
    disk = Disk(5, library(5, "quake").digest)
    disk.have("quake")
    await disk.publisher.refresh()
    said = disk.publisher.current.position
    disk.have("quake", "doom")
    disk.hangs, disk.error = hangs, None if hangs else OSError("full")
    with trio.move_on_after(1):
        await disk.publisher.refresh()
    assert disk.publisher.current.position == said
    assert disk.kept[0] == (6 if hangs else 5)
    disk.hangs, disk.error = False, None
    disk.start()
    await disk.publisher.refresh()
    assert disk.rev == 6
    # And where the change was taken back before the start.
    disk.hangs = hangs
    disk.have("quake", "hexen")
    with trio.move_on_after(1):
        await disk.publisher.refresh()
    disk.hangs = False
    disk.have("quake", "doom")
    before = disk.rev
    disk.start()
    await disk.publisher.refresh()
    assert disk.rev >= before
    assert disk.publisher.current.digest == library(1, "quake", "doom").digest


async def test_what_cannot_be_saved_is_not_said_until_it_can(autojump_clock: MockClock) -> None:
    disk = Disk()
    disk.have("quake")
    await disk.publisher.refresh()
    disk.happened.clear()
    disk.games = {"quake": attrs.evolve(summary("quake"), size=9)}
    disk.error = OSError("full")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.publisher.run)
        disk.publisher.touch()
        await trio.sleep(60)
        assert disk.happened == ["state_not_writable"]
        disk.error = None
        await trio.sleep(limits.LIBRARY_RETRY_S + 1)
        assert disk.happened[1:] == ["saved 7", (("quake",), 7), 7]
        nursery.cancel_scope.cancel()


async def test_what_changes_all_the_time_is_told_ever_more_seldom(
    autojump_clock: MockClock,
) -> None:
    disk = Disk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.publisher.run)
        for number in range(1_000):
            disk.have(f"game-{number}")
            disk.publisher.touch()
            await trio.sleep(0.06)
        # A minute of it: at first at once, then every three seconds.
        assert disk.rev - 5 <= 60 / limits.LIBRARY_DEBOUNCE_MAX_S + 8
        await trio.sleep(limits.LIBRARY_DEBOUNCE_MAX_S + limits.LIBRARY_QUIET_S)
        assert set(disk.publisher.current.games) == {"game-999"}
        before = disk.rev
        disk.have("after a quiet time")
        disk.publisher.touch()
        await trio.sleep(limits.LIBRARY_DEBOUNCE_S + 0.01)
        assert disk.rev == before + 1
        nursery.cancel_scope.cancel()
