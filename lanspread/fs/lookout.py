"""When to walk which game: hints of the watcher, timers, and whether the games folder is there.

It only asks for walks; walking and publishing is the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import trio

from lanspread import limits
from lanspread.fs.games_folder import GamesFolder
from lanspread.fs.local_game import LocalGame
from lanspread.fs.scan import Fingerprint, GamesListing
from lanspread.model import fold_id
from lanspread.seams import Threads

# How often the games folder is looked for: an unmounted disk sends no event.
PRESENCE_S: Final = 5.0


# Files in a game that is not walked at every hint while it is being written.
_LARGE: Final = 5_000
# Games in one hop into a thread.
_BATCH: Final = 256


class Walker(Protocol):
    """What the lookout sees of the library."""

    @property
    def games(self) -> Mapping[str, LocalGame]: ...

    async def meet(self, names: Sequence[str]) -> None:
        """Take in games that are not known."""

    def request_walk(self, game_id: str, *, later: bool = False) -> None: ...

    def looks_like(self, key: str, name: str) -> Fingerprint | None: ...

    def walked(self, key: str) -> int:
        """Lower for a game that was walked longer ago."""

    def is_held(self, key: str) -> bool: ...

    def keep_only(self, names: frozenset[str]) -> None:
        """These names, folded, are all that is in the games folder."""

    def all_gone(self) -> None: ...


class Lookout:
    """Keeps the list of games, and asks for a walk of each that may have changed."""

    def __init__(
        self,
        walker: Walker,
        folder: GamesFolder,
        threads: Threads,
        on_warning: Callable[[str, str, str], None],
    ) -> None:
        self._walker = walker
        self._folder = folder
        self._threads = threads
        self._on_warning = on_warning
        self._listing = GamesListing((), ())
        self._names: dict[str, str | None] = {}
        self._lock = trio.Lock()
        self._young: dict[str, float] = {}
        self._more_young = trio.Event()
        # Something beside the games changed: looked at with the next look for the folder.
        self._list_due = False

    async def first_listing(self) -> tuple[str, ...]:
        """The games to begin with."""
        listing = await self._threads.run(self._folder.listing)
        if listing is not None:
            self._take(listing)
        return self._listing.ids

    def name_of(self, key: str, default: str) -> str | None:
        """A game's folder; None if several folders name it, so that none is the game."""
        return self._names.get(key, default)

    def settle(self, key: str) -> None:
        """Walk a game once more when its files have had time to get their final timestamps."""
        self._young.setdefault(key, trio.current_time() + limits.SETTLE_S)
        self._more_young.set()

    async def run(self, hints: trio.MemoryReceiveChannel[frozenset[str]]) -> None:
        """Look out until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, hints)
            nursery.start_soon(self._watch_presence)
            nursery.start_soon(self._fall_back)
            nursery.start_soon(self._walk_settled)

    async def look_around(self, *, rotate: bool = False) -> None:
        """Find games that came, went or look different; `rotate` walks the one that was not
        walked for longest."""
        async with self._lock:
            met = await self._list_again()
            if met is None:
                return
            known = [
                (key, name)
                for key, name in self._names.items()
                if name is not None and name not in met and not self._walker.is_held(key)
            ]
            for at in range(0, len(known), _BATCH):
                batch = known[at : at + _BATCH]
                looks = await self._threads.run(self._folder.looks, [name for _, name in batch])
                for (key, name), look in zip(batch, looks, strict=True):
                    # One that is not known by this name is on its way already.
                    before = self._walker.looks_like(key, name)
                    now = None if look is None else look.fingerprint
                    if before is not None and now != before:
                        self._walker.request_walk(name)
            if rotate and self._listing.ids:
                self._walker.request_walk(
                    min(self._listing.ids, key=lambda name: self._walker.walked(fold_id(name)))
                )

    async def _list_again(self) -> frozenset[str] | None:
        """See which games went, and take in those that came, which are returned.

        None if there is no games folder.
        """
        listing = await self._threads.run(self._folder.listing)
        if listing is None:
            self._walker.all_gone()
            return None
        self._take(listing)
        for key, game in self._walker.games.items():
            if self._names.get(key) is None:
                self._walker.request_walk(game.id)
        strangers = [
            name
            for key, name in self._names.items()
            if name is not None and self._walker.looks_like(key, name) is None
        ]
        if strangers:
            await self._walker.meet(strangers)
        return frozenset(strangers)

    def _take(self, listing: GamesListing) -> None:
        for warning in listing.warnings:
            if warning not in self._listing.warnings:
                self._on_warning(warning.code, warning.message, warning.remedy)
        self._listing = listing
        self._names = dict.fromkeys(fold_id(name) for name in listing.withheld)
        self._names.update((fold_id(name), name) for name in listing.ids)
        self._walker.keep_only(listing.names)

    async def _follow(self, hints: trio.MemoryReceiveChannel[frozenset[str]]) -> None:
        async for names in hints:
            known = {game.id for game in self._walker.games.values()}
            for name in names & known:
                if not self._is_soon(fold_id(name)):
                    self._walker.request_walk(name)
            if "" in names:
                await self.look_around()
            elif any(self._is_news(name) for name in names - known):
                async with self._lock:
                    await self._list_again()
            else:
                self._list_due = self._list_due or not names <= known

    def _is_news(self, name: str) -> bool:
        """Whether a name that is no known game has to be looked at now.

        A download of a new game sends a hint many times a second, and its end has the game walked.
        """
        return not self._walker.is_held(fold_id(name)) and not self._is_beside(name)

    def _is_beside(self, name: str) -> bool:
        """Whether it was there and no game when it was looked at last: a log file, say, that
        changes all the time."""
        key = fold_id(name)
        return key in self._listing.names and key not in self._names

    def _is_soon(self, key: str) -> bool:
        """Whether a walk that is due soon is enough: a large game, and it is being written.

        Its folder sends hints several times a second, and a walk may take longer than that.
        """
        if key not in self._young:
            return False
        game = self._walker.games.get(key)
        return game is not None and len(game.stamps) > _LARGE

    async def _watch_presence(self) -> None:
        while True:
            await trio.sleep(PRESENCE_S)
            was_present = self._folder.is_present
            if not await self._threads.run(self._folder.look):
                self._walker.all_gone()
            elif not was_present:
                await self.look_around()
            elif self._list_due:
                self._list_due = False
                async with self._lock:
                    await self._list_again()

    async def _fall_back(self) -> None:
        while True:
            await trio.sleep(limits.FALLBACK_SCAN_S)
            await self.look_around(rotate=True)

    async def _walk_settled(self) -> None:
        while True:
            for key, due in tuple(self._young.items()):
                # In the order of their times, because all wait equally long.
                await trio.sleep_until(due)
                del self._young[key]
                game = self._walker.games.get(key)
                if game is not None:
                    self._walker.request_walk(game.id, later=True)
            if not self._young:
                self._more_young = trio.Event()
                await self._more_young.wait()
