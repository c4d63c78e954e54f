"""Install, update, uninstall, remove: what is done with the files of a game on this disk.

What happens on the disk, in which order, is `fs.install`'s and docs/recovery.md's; this says when
one may begin, what front-ends hear of it, and that nothing else touches the game meanwhile. What
fails or is cancelled is put right by the walk that ends every operation.
Source: ARCHITECTURE.md, "Operations".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, TypeVar

import trio

from lanspread import events, limits
from lanspread.errors import Code, LanspreadError
from lanspread.events import ChangeBegin, ChangeProgress, OperationEvent
from lanspread.fs.archives import open_archive
from lanspread.fs.install.install import install
from lanspread.fs.install.remove import remove
from lanspread.fs.install.staging import Installed
from lanspread.fs.install.uninstall import uninstall
from lanspread.fs.install.unpack import Opener
from lanspread.fs.install.update import Found, look, update
from lanspread.fs.local_game import LocalGame
from lanspread.fs.paths import is_root_archive, shown
from lanspread.fs.progress import Watch
from lanspread.fs.stoppable import StoppableWatch, run_stoppable
from lanspread.model import GameSummary, fold_id, version_key
from lanspread.operations.downloads import Downloads, PlannedDownload, refuse_withheld
from lanspread.operations.performing import Performer, Work
from lanspread.seams import Entropy, Folder, Threads
from lanspread.transfer.access import GameAccess
from lanspread.transfer.operation import Operation, RateMeter, new_operation_id
from lanspread.views import OperationKind

T = TypeVar("T")

_BEGIN: dict[OperationKind, type[ChangeBegin]] = {
    OperationKind.INSTALL: events.InstallBegin,
    OperationKind.UPDATE: events.UpdateBegin,
    OperationKind.UNINSTALL: events.UninstallBegin,
    OperationKind.REMOVE: events.RemoveBegin,
}
_PROGRESS: dict[OperationKind, type[ChangeProgress]] = {
    OperationKind.INSTALL: events.InstallProgress,
    OperationKind.UPDATE: events.UpdateProgress,
    OperationKind.UNINSTALL: events.UninstallProgress,
    OperationKind.REMOVE: events.RemoveProgress,
}


class LocalOperations:
    """The operations on games that are on this disk.

    Each method begins one, or joins the one that runs, and returns its id. All raise
    `LanspreadError` where it is clear at once that nothing can be done: `busy`, `not_found`,
    `not_available`, `in_use`.
    """

    def __init__(
        self,
        performer: Performer,
        access: GameAccess,
        threads: Threads,
        entropy: Entropy,
        downloads: Downloads,
    ) -> None:
        self._performer = performer
        self._library = performer.library
        self._publish = performer.publish
        self._access = access
        self._threads = threads
        self._entropy = entropy
        self._downloads = downloads

    # -- what can be asked for ---------------------------------------------------------------------

    def install(self, game_id: str) -> str:
        """Unpack a game's archives into `local/`; if an older version is there it is updated."""
        running = self._performer.operations.joined(game_id, OperationKind.INSTALL)
        if running is not None:
            return running.id
        local = self._here(game_id)
        if not local.downloaded:
            raise _not_downloaded(local.id)
        return self._start(local.id, OperationKind.INSTALL, self._install)

    def update(self, game_id: str) -> str:
        """Fetch the newest version if it is missing; then, if the game is installed, have it in
        `local/`, with what the user made or changed there."""
        running = self._performer.operations.joined(game_id, OperationKind.UPDATE)
        if running is not None:
            return running.id
        local = self._library.games.get(fold_id(game_id))
        try:
            planned = self._downloads.plan(game_id, None, update=True)
        except LanspreadError:
            if local is None or not local.downloaded:
                raise
            # What is here is the newest that can be had.
            return self._start(local.id, OperationKind.UPDATE, self._update)
        return self.update_by(planned)

    def update_by(self, planned: PlannedDownload) -> str:
        """Fetch what was planned, then go on as `update` does. None may run on the game."""

        async def work(operation: Operation) -> OperationEvent:
            if planned.current is None:
                await self._performer.part(
                    operation, OperationKind.DOWNLOAD, self._downloads.perform(operation, planned)
                )
            return await self._update(operation)

        return self._start(planned.game_id, OperationKind.UPDATE, work, planned.offered)

    def uninstall(self, game_id: str) -> str:
        """Remove `local/` whole, saves included."""
        running = self._performer.operations.joined(game_id, OperationKind.UNINSTALL)
        if running is not None:
            return running.id
        local = self._here(game_id)
        if not local.installed:
            raise LanspreadError(
                Code.NOT_AVAILABLE, f"{shown(local.id)} is not installed", "see `lanspread games`"
            )
        return self._start(local.id, OperationKind.UNINSTALL, self._uninstall)

    def remove(self, game_id: str, *, force: bool) -> str:
        """Remove the downloaded files, those of an unfinished download too; never `local/`."""
        running = self._performer.operations.joined(game_id, OperationKind.REMOVE)
        if running is not None:
            return running.id
        local = self._here(game_id)
        if not (local.downloaded or local.unfinished or (force and local.stamps)):
            raise _not_downloaded(local.id)
        if not force and self._access.readers(local.id):
            raise LanspreadError(
                Code.IN_USE,
                f"{shown(local.id)} is being fetched by others",
                "wait until they have it, or use force",
            )

        async def work(operation: Operation) -> OperationEvent:
            return await self._remove(operation, force=force)

        return self._start(local.id, OperationKind.REMOVE, work)

    def install_downloaded(self, operation: Operation) -> None:
        """Install, or update, a game whose download has just succeeded: for those who want that
        without being asked. Does nothing where there is nothing to install."""
        if operation.kind is not OperationKind.DOWNLOAD:
            return
        local = self._library.games.get(fold_id(operation.game_id))
        if local is None or not local.downloaded or _is_installed(local):
            return
        if not any(is_root_archive(entry.path) for entry in local.manifest.files):
            return
        if self._performer.operations.get(local.id) is not None:
            return
        if local.installed:
            self._start(local.id, OperationKind.UPDATE, self._update)
        else:
            self._start(local.id, OperationKind.INSTALL, self._install)

    # -- what they do ------------------------------------------------------------------------------

    async def _install(self, operation: Operation) -> OperationEvent:
        began = trio.current_time()
        await self._begin(operation)
        found = await self._look(operation.game_id)
        installed = Installed(version=found.version, changed=False)
        if not found.is_current:
            installed = await self._change(
                operation, lambda folder, watch: install(folder, _opener(watch), watch)
            )
        return events.InstallFinished(
            operation_id=operation.id,
            id=operation.game_id,
            version=installed.version,
            seconds=trio.current_time() - began,
        )

    async def _update(self, operation: Operation) -> OperationEvent:
        began = trio.current_time()
        await self._begin(operation)
        found = await self._look(operation.game_id)
        updated = Installed(version=found.version, changed=False)
        if found.is_installed and not found.is_current:
            updated = await self._change(
                operation, lambda folder, watch: update(folder, _opener(watch), watch)
            )
        return events.UpdateFinished(
            operation_id=operation.id,
            id=operation.game_id,
            version=updated.version,
            seconds=trio.current_time() - began,
            **_told(updated.kept),
        )

    async def _uninstall(self, operation: Operation) -> OperationEvent:
        began = trio.current_time()
        await self._begin(operation)
        done = await self._change(operation, uninstall, last=True)
        return events.UninstallFinished(
            operation_id=operation.id,
            id=operation.game_id,
            version=done.version,
            seconds=trio.current_time() - began,
        )

    async def _remove(self, operation: Operation, *, force: bool) -> OperationEvent:
        began = trio.current_time()
        local = await self._begin(operation)
        done = await self._change(
            operation, lambda folder, watch: remove(folder, forced=force, watch=watch), last=True
        )
        return events.RemoveFinished(
            operation_id=operation.id,
            id=operation.game_id,
            version=local.version,
            seconds=trio.current_time() - began,
            **_told(done.kept),
        )

    # -- how they do it ----------------------------------------------------------------------------

    def _here(self, game_id: str) -> LocalGame:
        local = self._library.games.get(fold_id(game_id))
        if local is not None:
            return local
        refuse_withheld(self._library, game_id)
        if self._downloads.is_offered(game_id):
            raise _not_downloaded(game_id)
        raise LanspreadError(
            Code.NOT_FOUND, f"there is no game {shown(game_id)}", "see `lanspread games`"
        )

    def _start(
        self, game_id: str, kind: OperationKind, work: Work, offered: GameSummary | None = None
    ) -> str:
        operation = Operation(new_operation_id(self._entropy), game_id, kind, offered)
        return self._performer.start(operation, work)

    async def _begin(self, operation: Operation) -> LocalGame:
        """Say that the change begins; returns the game as it is then."""
        local = self._here(operation.game_id)
        # In a thread: the index may have to be asked for very many files.
        total = await self._threads.run(_about, local, operation.kind)
        operation.done_bytes, operation.total_bytes = 0, total
        self._publish(
            _BEGIN[operation.kind](
                operation_id=operation.id,
                id=operation.game_id,
                version=_version_meant(local, operation.kind),
                total_bytes=operation.total_bytes,
            )
        )
        return local

    async def _look(self, game_id: str) -> Found:
        """What is on the disk now, which the library may not have seen yet.

        Where there is nothing to do, nobody who fetches the game is disturbed.
        """

        def work() -> Found:
            with self._library.open_game(game_id) as folder:
                return look(folder)

        return await self._threads.run(work)

    async def _change(
        self, operation: Operation, call: Callable[[Folder, Watch], T], *, last: bool = False
    ) -> T:
        """Run `call` on the game's folder in a thread: nobody reads or walks the game meanwhile.

        `last`: the game's folder goes too if `call` left nothing in it. Cancelled, `call` stops at
        its next step, and is waited for.
        """
        library, game_id = self._library, operation.game_id
        watch = StoppableWatch()

        def work(watch: Watch) -> T:
            with library.open_game(game_id) as folder:
                result = call(folder, watch)
            if last:
                library.drop_if_empty(game_id)
            return result

        with library.hold(game_id):
            async with self._access.writing(game_id):
                # Beside the operation: a cancellation is to come from the work alone, which knows
                # whether it was done by then.
                reporting = trio.CancelScope()
                self._performer.nursery.start_soon(self._report, operation, watch, reporting)
                try:
                    result = await run_stoppable(self._threads, work, watch)
                finally:
                    reporting.cancel()
        operation.done_bytes = operation.total_bytes
        return result

    async def _report(
        self, operation: Operation, watch: StoppableWatch, scope: trio.CancelScope
    ) -> None:
        """Tell how far the thread is, twice a second, until `scope` is cancelled."""
        meter = RateMeter()
        meter.add(trio.current_time(), 0)
        with scope:
            while True:
                await trio.sleep(limits.PROGRESS_INTERVAL_S)
                self._tell(operation, watch, meter)

    def _tell(self, operation: Operation, watch: StoppableWatch, meter: RateMeter) -> None:
        # What begins with an estimate learns how much it is when the archives are open.
        total = watch.total_bytes or operation.total_bytes
        done = min(watch.done_bytes, total)
        operation.done_bytes, operation.total_bytes = done, total
        rate = meter.add(trio.current_time(), done)
        self._publish(
            _PROGRESS[operation.kind](
                operation_id=operation.id,
                id=operation.game_id,
                done_bytes=done,
                total_bytes=total,
                rate=rate,
                eta_s=(total - done) / rate if rate > 0 else None,
            )
        )


def _opener(watch: Watch) -> Opener:
    """To read the list of a compressed archive can take minutes: that is stopped too."""
    return lambda folder, name: open_archive(folder, name, watch)


def _is_installed(local: LocalGame) -> bool:
    """Whether what is in `local/` is, by its record, of the downloaded version."""
    version = local.installed_version
    return version is not None and version_key(version) == version_key(local.version)


class _Kept(TypedDict):
    kept: tuple[str, ...]
    kept_omitted: int | None


def _told(kept: tuple[str, ...]) -> _Kept:
    """What an event names of very many files: no client could take all of them."""
    omitted = len(kept) - limits.MAX_IDS_PER_EVENT
    return _Kept(
        kept=kept[: limits.MAX_IDS_PER_EVENT], kept_omitted=omitted if omitted > 0 else None
    )


def _about(local: LocalGame, kind: OperationKind) -> int:
    """About how many bytes there are to do."""
    match kind:
        case OperationKind.INSTALL | OperationKind.UPDATE:
            files = local.manifest.files
            return sum(entry.size for entry in files if is_root_archive(entry.path))
        case OperationKind.REMOVE:
            return local.size
        case _:
            return 0


def _version_meant(local: LocalGame, kind: OperationKind) -> str:
    if kind is OperationKind.UNINSTALL:
        return local.installed_version or ""
    return local.version


def _not_downloaded(game_id: str) -> LanspreadError:
    return LanspreadError(
        Code.NOT_AVAILABLE, f"{shown(game_id)} is not downloaded", "get the game first"
    )
