"""One download from its beginning to its end, through pauses, full disks and other variants.

It is a row of attempts. Each begins with what is on the disk, so that it does not matter why the
one before ended: paused, no space, another variant, or another process. An attempt that ends makes
a checkpoint; what is to become of the download at the next start stands in its plan.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.errors import Code, LanspreadError, causes
from lanspread.events import DownloadBegin, DownloadFinished, OperationEvent
from lanspread.fs.download.records import PlanState, set_plan_state
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import FileChanged, FsError, MovedAway, NoSpace
from lanspread.fs.library import Library
from lanspread.fs.local_game import Digests
from lanspread.fs.paths import shown
from lanspread.model import fold_id
from lanspread.transfer.access import GameAccess
from lanspread.transfer.download import Download
from lanspread.transfer.operation import Operation
from lanspread.transfer.search import Search
from lanspread.transfer.sources import REJOIN_S, DownloadContext, Sources
from lanspread.transfer.standing import Standing
from lanspread.transfer.variants import Offer, Variant

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class Wish:
    """What is to be fetched: `selection` are paths, None for all; `named`: this variant, no other.

    `resumed`: there is a plan of it on the disk, from before; `paused`: and it was paused.
    `update`: it is a part of an update, which its plan says too. `kept_bytes`: so much of it is
    there already, as far as is known without looking.
    """

    variant: Variant
    named: bool = False
    selection: tuple[str, ...] | None = None
    update: bool = False
    resumed: bool = False
    paused: bool = False
    kept_bytes: int = 0


@attrs.frozen(kw_only=True)
class FetchingParts:
    """What a download uses; `choose` says which of the offers of a game is fetched by default."""

    context: DownloadContext
    library: Library
    access: GameAccess
    choose: Callable[[str, Sequence[Offer]], Variant | None]


class _DiskFull(Exception):
    """There is no space to go on. `needed` bytes must be free, as far as that is known."""

    def __init__(self, needed: int, free: int) -> None:
        super().__init__("the disk is full")
        self.needed = needed
        self.free = free


class Fetching:
    """A download. `run` performs it; the other methods return at once."""

    def __init__(self, parts: FetchingParts, operation: Operation, wish: Wish) -> None:
        self._parts = parts
        self._context = parts.context
        self._operation = operation
        self._game_id = operation.game_id
        self._wish = wish
        self._selection = wish.selection
        self._sources = Sources(parts.context, operation, wish.variant)
        self._standing = Standing(operation, parts.context.publish)
        self._reference: Reference | None = None
        self._scope = trio.CancelScope()
        self._pausing = wish.paused
        self._resumed = trio.Event()
        # Somebody waits for an answer: what can be seen at once is an error. Later it is a pause.
        self._fresh = not wish.resumed
        self._has_plan = wish.resumed
        self._full: _DiskFull | None = None
        # The disk refused what was written: what can be read need not be on it.
        self._doubt = False
        self._stamps: Digests | None = None
        self._done = False
        self._bytes_fetched = 0

    def pause(self) -> None:
        """Stop fetching within the chunk that is under way, until `resume`."""
        if not self._pausing:
            self._pausing = True
            self._resumed = trio.Event()
            self._scope.cancel()

    def resume(self) -> None:
        """Go on, if it is paused."""
        self._pausing = False
        self._resumed.set()

    async def run(self) -> OperationEvent:
        """Fetch it; returns the event of success.

        Cancelled, or after an error, what was fetched stays. Whether it goes on by itself at the
        next start: only if the peer ends, not if the operation was cancelled or failed.
        """
        began = trio.current_time()
        self._begin()
        try:
            while not self._done:
                await self._once()
        except BaseException as error:
            if self._operation.scope.cancel_called or _is_failure(error):
                await self._keep(PlanState.STOPPED)
            raise
        return DownloadFinished(
            operation_id=self._operation.id,
            id=self._game_id,
            version=self._sources.variant.version,
            bytes_fetched=self._bytes_fetched,
            seconds=trio.current_time() - began,
        )

    def _begin(self) -> None:
        variant = self._wish.variant
        self._operation.total_bytes = variant.size
        self._operation.done_bytes = min(self._wish.kept_bytes, variant.size)
        self._context.publish(
            DownloadBegin(
                operation_id=self._operation.id,
                id=self._game_id,
                version=variant.version,
                total_bytes=variant.size,
                sources=tuple(sorted(offer.peer_id for offer in self._sources.offers())),
            )
        )

    async def _once(self) -> None:
        """One attempt, and whatever must be waited for before it."""
        if self._pausing:
            await self._stay_paused()
        try:
            with trio.CancelScope() as self._scope:
                if self._full is not None:
                    await self._wait_for_space(self._full)
                await self._attempt()
        except Exception as error:
            full = next((one for one in causes(error) if isinstance(one, _DiskFull)), None)
            if full is None:
                raise
            _log.warning("the disk is full", game=self._game_id, needed=full.needed)
            self._full = full

    # -- what it waits for -------------------------------------------------------------------------

    async def _stay_paused(self) -> None:
        # While the plan is changed it may be paused again: there is no scope to cancel then.
        while self._pausing:
            await self._keep(PlanState.PAUSED)
            self._fresh = False
            self._standing.halt("user")
            await self._resumed.wait()
            await self._keep(PlanState.RUNNING)
        self._standing.move()

    async def _wait_for_space(self, full: _DiskFull) -> None:
        """Until there is enough, or, where that is not known, for a while."""
        self._standing.halt("disk_full", max(full.needed - full.free, 1))
        while True:
            await trio.sleep(limits.DISK_FULL_CHECK_S)
            try:
                free = await self._context.threads.run(self._free_bytes)
            except (OSError, FsError) as error:
                _log.info("no look at the free space", game=self._game_id, why=str(error))
                continue
            if free >= full.needed:
                self._full = None
                return

    def _free_bytes(self) -> int:
        with self._parts.library.make_game(self._game_id) as folder:
            return folder.free_bytes()

    async def _watch_variant(self) -> None:
        """Move over to another variant when nobody has offered this one for a while."""
        alone_since: float | None = None
        while not self._wish.named:
            rung = self._context.sessions.changed.next()
            now = trio.current_time()
            if self._sources.offers():
                alone_since = None
            elif alone_since is None:
                alone_since = now
            elif now - alone_since >= limits.MOVE_OVER_S:
                other = self._parts.choose(self._game_id, self._sources.all_offers())
                if other is not None:
                    self._move_over(other)
                    return
            with trio.move_on_after(REJOIN_S):
                await rung.wait()

    def _move_over(self, variant: Variant) -> None:
        _log.info("another variant is fetched", game=self._game_id, version=variant.version)
        self._reference = None
        self._selection = self._wish.selection
        self._sources.variant = variant
        self._operation.offered = variant.offers[0].summary
        self._operation.done_bytes, self._operation.total_bytes = 0, variant.size
        self._scope.cancel()

    # -- one attempt -------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        if self._reference is None:
            search = Search(self._context, self._game_id, self._sources, self._standing)
            reference = await _beside(search.run, self._watch_variant)
            self._bytes_fetched += len(reference.sentinel)
            self._selection = _checked(self._selection, reference)
            self._reference = reference
            # The variant is known exactly now, also where no offer had a content_hash before.
            self._sources.variant = attrs.evolve(
                self._sources.variant, content_hash=reference.content_hash
            )
        with self._parts.library.hold(self._game_id):
            async with self._parts.access.writing(self._game_id):
                await self._transact(self._reference)

    async def _transact(self, reference: Reference) -> None:
        run = self._context.threads.run
        download = Download(self._context, self._operation, self._sources, self._standing)
        folder = await run(self._parts.library.make_game, self._game_id)
        transaction: DownloadTransaction | None = None
        try:
            # In a thread: it checks the manifest once more, and that can be a large one.
            transaction = await run(
                partial(
                    DownloadTransaction,
                    folder,
                    reference,
                    digests=self._known_digests(reference),
                    selection=self._selection,
                    named=self._wish.named,
                    update=self._wish.update,
                    doubt=self._doubt,
                    must_be_in_place=partial(self._parts.library.must_hold, self._game_id, folder),
                )
            )
            await self._fetch(reference, transaction, download)
        finally:
            try:
                deadline = trio.current_time() + limits.CHECKPOINT_S
                with trio.CancelScope(deadline=deadline, shield=True):
                    await run(self._leave, transaction, download)
            finally:
                if transaction is not None:
                    self._doubt = self._doubt or transaction.sync_failed
                    transaction.close()
                folder.close()
                self._take_stamps(reference)

    async def _fetch(
        self, reference: Reference, transaction: DownloadTransaction, download: Download
    ) -> None:
        run = self._context.threads.run
        numbers = reference.wanted(self._selection)
        sizes = sum(reference.manifest.files[number].size for number in numbers)
        sentinel_bytes = 0 if self._selection is not None else len(reference.sentinel)
        self._operation.total_bytes = sizes + sentinel_bytes
        await _beside(partial(self._look, transaction), download.report)
        try:
            with self._full_disk_told(transaction):
                await run(transaction.begin)
            self._fresh = False
        finally:
            self._has_plan = self._has_plan or transaction.has_begun
        if self._standing.reason == "disk_full":
            self._standing.move()
        try:
            with self._full_disk_told(transaction):
                fetch = partial(download.fetch, reference, transaction, numbers)
                await _beside(fetch, download.report, self._watch_variant)
        finally:
            self._bytes_fetched += download.bytes_fetched
        self._operation.done_bytes = self._operation.total_bytes
        with self._full_disk_told(transaction):
            await run(self._finish, transaction)

    async def _look(self, transaction: DownloadTransaction) -> None:
        """Find out what is there; touches nothing."""
        run = self._context.threads.run
        while await run(transaction.look, pool="hash"):
            self._operation.done_bytes = transaction.known_bytes
        self._operation.done_bytes = transaction.known_bytes
        try:
            await run(transaction.check)
        except NoSpace as error:
            if self._fresh:
                raise
            raise _DiskFull(error.needed, error.free) from error

    def _finish(self, transaction: DownloadTransaction) -> None:
        if self._selection is not None:
            transaction.finish_selection()
        else:
            self._stamps = transaction.commit()
        # Noted in the thread: whoever cancels now comes too late.
        self._done = True

    def _leave(self, transaction: DownloadTransaction | None, download: Download) -> None:
        """At the end of an attempt, whatever ended it."""
        try:
            if transaction is None or not transaction.has_begun:
                # Nothing was written: the folder that was made for it goes again.
                self._parts.library.drop_if_empty(self._game_id)
            elif not self._done:
                try:
                    transaction.checkpoint()
                except (FileChanged, MovedAway) as error:
                    # Of that file nothing counts, the others are as they should be; and wherever
                    # the folder is now, its plan says what is ours.
                    _log.warning("not all is as it was", game=self._game_id, why=str(error))
                transaction.put_down()
        except (OSError, FsError) as error:
            _log.warning("no last checkpoint", game=self._game_id, why=str(error))
        finally:
            # What is on the disk comes first.
            download.free_memory()

    @contextmanager
    def _full_disk_told(self, transaction: DownloadTransaction) -> Iterator[None]:
        """Say how much is missing where the disk is full."""
        try:
            yield
        except Exception as error:
            if self._fresh or not any(map(_is_full, causes(error))):
                raise
            try:
                needed, free = transaction.space()
            except OSError:
                needed, free = 0, 0
            raise _DiskFull(needed, free) from error

    # -- what is known and kept --------------------------------------------------------------------

    def _take_stamps(self, reference: Reference) -> None:
        """Have the library know the digests of what was committed."""
        if self._stamps is not None and reference.block_bytes == self._parts.library.block_bytes:
            # Digests of other blocks are none of ours; the game is hashed in the background.
            self._parts.library.store_digests(self._game_id, self._stamps)

    def _known_digests(self, reference: Reference) -> Digests:
        """What the library knows of the files that are there."""
        local = self._parts.library.games.get(fold_id(self._game_id))
        if local is None or reference.block_bytes != self._parts.library.block_bytes:
            return {}
        if local.digests is None:
            return local.files.known
        known: Digests = {}
        at = 0
        for stamp in local.stamps:
            count = -(-stamp.size // reference.block_bytes)
            known[stamp] = local.digests[at : at + count]
            at += count
        return known

    async def _keep(self, state: PlanState) -> None:
        """Say in the plan, if there is one, what is to become of it. Goes on when cancelled."""
        if not self._has_plan or self._done:
            return
        deadline = trio.current_time() + limits.CHECKPOINT_S
        with trio.CancelScope(deadline=deadline, shield=True):
            try:
                await self._context.threads.run(self._set_state, state)
            except (OSError, FsError) as error:
                _log.warning("the plan cannot be kept", game=self._game_id, why=str(error))

    def _set_state(self, state: PlanState) -> None:
        with self._parts.library.open_game(self._game_id) as folder:
            set_plan_state(folder, state)


def _checked(selection: tuple[str, ...] | None, reference: Reference) -> tuple[str, ...] | None:
    """The selection, None if it is everything. Raises `LanspreadError` for a path of no file."""
    if selection is None:
        return None
    strange = sorted(set(selection).difference(reference.numbers))
    if strange:
        raise LanspreadError(
            Code.NOT_FOUND, f"the game has no file {shown(strange[0])}", "see its files: game.get"
        )
    return None if len(set(selection)) == len(reference.numbers) else selection


def _is_failure(error: BaseException) -> bool:
    return any(isinstance(cause, Exception) for cause in causes(error))


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


async def _beside(work: Callable[[], Awaitable[T]], *others: Callable[[], Awaitable[None]]) -> T:
    """Do `work`, with the others beside it until it is done."""
    async with trio.open_nursery() as nursery:
        for other in others:
            nursery.start_soon(other)
        result = await work()
        nursery.cancel_scope.cancel()
    return result
