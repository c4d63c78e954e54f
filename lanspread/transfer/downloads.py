"""All downloads: starting, cancelling, and turning their ends into events.

One task per download in the nursery of `open_downloads`; at most one operation per game.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from lanspread.errors import Code, LanspreadError, causes
from lanspread.events import (
    DownloadBegin,
    DownloadCancelled,
    DownloadFailed,
    DownloadFinished,
    OperationEvent,
)
from lanspread.fs.errors import (
    FolderNotEmpty,
    FsError,
    InTheWay,
    NoSpace,
    NotHere,
    UnsafePath,
)
from lanspread.fs.library import Library
from lanspread.fs.local_game import LocalGame
from lanspread.fs.transaction import DownloadTransaction
from lanspread.model import fold_id, version_key
from lanspread.transfer.access import GameAccess, GameBusy
from lanspread.transfer.download import Download, DownloadContext
from lanspread.transfer.operation import Operation, new_operation_id
from lanspread.transfer.reference import Reference
from lanspread.transfer.variants import Variant, choose, group
from lanspread.views import OperationKind

_log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class DownloadRules:
    """What the rest of the peer decides of downloads, and what it is told.

    `settle` is awaited before a terminal event, so that the state which the event announces can be
    seen; `operations_changed` is called when an operation came or went.
    """

    expected_version: Callable[[str], str | None]
    allows: Callable[[str], bool]
    settle: Callable[[], Awaitable[object]]
    operations_changed: Callable[[], None]


class Downloads:
    """The downloads of this peer. Made by `open_downloads`."""

    def __init__(
        self,
        context: DownloadContext,
        library: Library,
        access: GameAccess,
        rules: DownloadRules,
        nursery: trio.Nursery,
    ) -> None:
        self._context = context
        self._library = library
        self._access = access
        self._nursery = nursery
        self._rules = rules
        self._running: dict[str, Operation] = {}
        self._held_back = False

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """No download begins inside the block. Raises `LanspreadError` (busy) while one runs."""
        if self._running or self._held_back:
            raise LanspreadError(
                Code.BUSY, "something is being done with a game", "wait for it, or cancel it"
            )
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False

    def get(self, game_id: str) -> Operation | None:
        """The operation on a game, if one is active."""
        return self._running.get(fold_id(game_id))

    def all(self) -> list[Operation]:
        return list(self._running.values())

    def start(self, game_id: str, variant: str | None) -> str:
        """Begin, or join, the download of a game; returns the operation's id.

        A game that is current already finishes at once, with nothing fetched. Raises
        `LanspreadError` where it is clear at once that nothing can be fetched.
        """
        running = self.get(game_id)
        if running is not None:
            return running.id
        if self._held_back:
            raise LanspreadError(
                Code.BUSY, "the games folder is being changed", "try again in a moment"
            )
        if not self._rules.allows(game_id):
            raise LanspreadError(
                Code.NOT_AVAILABLE, f"{game_id} is not in the catalog", "add it to the catalog"
            )
        local = self._library.games.get(fold_id(game_id))
        variants = group(self._context.offers(game_id))
        expected = self._rules.expected_version(game_id)
        chosen = choose(variants, named=variant, expected_version=expected)
        current = local is not None and _is_current(local, chosen, variant, expected)
        if chosen is None and not current:
            raise _nothing_offered(game_id, variants, variant)
        # The folder that is there gives the name; a new one takes that of the offer.
        name = local.id if local is not None else _offered_id(chosen, game_id)
        offered = chosen.offers[0].summary if chosen is not None else None
        operation_id = new_operation_id(self._context.entropy)
        operation = Operation(operation_id, name, OperationKind.DOWNLOAD, offered)
        self._running[fold_id(name)] = operation
        self._rules.operations_changed()
        self._nursery.start_soon(self._run, operation, None if current else chosen, local)
        return operation.id

    def cancel(self, game_id: str) -> str:
        """Cancel the game's download; returns its id. Raises `LanspreadError` if there is none."""
        operation = self.get(game_id)
        if operation is None:
            raise LanspreadError(
                Code.NOT_FOUND, f"nothing is being done with {game_id}", "see `lanspread status`"
            )
        operation.cancel()
        return operation.id

    # -- one download -----------------------------------------------------------------------------

    async def _run(
        self, operation: Operation, variant: Variant | None, local: LocalGame | None
    ) -> None:
        began = trio.current_time()
        end: OperationEvent | None = None
        try:
            try:
                with operation.scope:
                    if variant is None:
                        assert local is not None
                        end = self._already_there(operation, local)
                    else:
                        end = await self._download(operation, variant, began)
            except* Exception as group_:
                found = causes(group_)
                for other in found[1:]:
                    _log.warning("another error ended the same download", why=str(other))
                end = _failure(operation, found[0])
            if operation.scope.cancelled_caught:
                end = DownloadCancelled(operation_id=operation.id, id=operation.game_id)
            if variant is not None:
                # However it ended: what is on the disk now is seen before the end is told.
                with contextlib.suppress(NotHere):
                    await self._library.rescan(operation.game_id)
        finally:
            # Not awaited: the state is consistent here also when everything is being cancelled.
            del self._running[fold_id(operation.game_id)]
            self._rules.operations_changed()
        await self._rules.settle()
        if end is not None:
            self._context.publish(end)

    def _already_there(self, operation: Operation, local: LocalGame) -> OperationEvent:
        self._context.publish(
            DownloadBegin(
                operation_id=operation.id,
                id=operation.game_id,
                version=local.version,
                total_bytes=0,
                sources=(),
            )
        )
        return DownloadFinished(
            operation_id=operation.id,
            id=operation.game_id,
            version=local.version,
            bytes_fetched=0,
            seconds=0.0,
        )

    async def _download(
        self, operation: Operation, variant: Variant, began: float
    ) -> OperationEvent:
        game_id = operation.game_id
        operation.total_bytes = variant.size
        self._context.publish(
            DownloadBegin(
                operation_id=operation.id,
                id=game_id,
                version=variant.version,
                total_bytes=variant.size,
                sources=variant.peers,
            )
        )
        download = Download(self._context, operation, variant)
        reference = await download.find_reference()
        with self._library.hold(game_id):
            async with self._access.writing(game_id):
                await self._transact(download, game_id, reference)
        return DownloadFinished(
            operation_id=operation.id,
            id=game_id,
            version=reference.version,
            bytes_fetched=download.bytes_fetched,
            seconds=trio.current_time() - began,
        )

    async def _transact(self, download: Download, game_id: str, reference: Reference) -> None:
        run = self._context.threads.run
        folder = await run(self._library.make_game, game_id)
        transaction: DownloadTransaction | None = None
        try:
            # In a thread: it checks the manifest once more, and that can be a large one.
            transaction = await run(
                DownloadTransaction, folder, reference.manifest, reference.block_bytes
            )
            try:
                await run(transaction.check)
            except (OSError, FsError):
                # Nothing was begun: the folder that was made for it goes again.
                await run(self._library.drop_if_empty, game_id)
                raise
            await run(transaction.begin)
            await download.fetch(reference, transaction)
            stamps = await run(
                transaction.commit, reference.sentinel, reference.digests, reference.version
            )
            if reference.block_bytes == self._library.block_bytes:
                # Digests of other blocks are none of ours; the game is hashed in the background.
                self._library.store_digests(game_id, stamps)
        finally:
            if transaction is not None:
                transaction.close()
            folder.close()


def _offered_id(chosen: Variant | None, game_id: str) -> str:
    return chosen.offers[0].summary.id if chosen is not None else game_id


def _is_current(
    local: LocalGame, chosen: Variant | None, named: str | None, expected: str | None
) -> bool:
    """Whether what is here is what would be fetched."""
    if not local.downloaded:
        return False
    if named is not None:
        wanted = named.strip().lower()
        hashes = {value.hex() for value in (local.content_hash, local.manifest_hash) if value}
        return wanted in hashes and (chosen is None or _same_content(local, chosen))
    ours = version_key(local.version)
    if expected is not None:
        return ours == version_key(expected)
    return chosen is None or ours >= version_key(chosen.version)


def _same_content(local: LocalGame, chosen: Variant) -> bool:
    if local.content_hash is None or chosen.content_hash is None:
        return local.manifest_hash == chosen.manifest_hash
    return local.content_hash == chosen.content_hash


def _nothing_offered(game_id: str, variants: list[Variant], named: str | None) -> LanspreadError:
    if named is not None and variants:
        return LanspreadError(
            Code.NOT_AVAILABLE,
            f"no peer offers that variant of {game_id}",
            "see the variants with game.get",
        )
    if variants:
        return LanspreadError(
            Code.NOT_AVAILABLE,
            f"the version of {game_id} that the catalog expects is not offered",
            "wait for a peer that has it, or change the catalog",
        )
    return LanspreadError(
        Code.NOT_FOUND, f"no connected peer offers {game_id}", "see `lanspread games`"
    )


def _failure(operation: Operation, error: BaseException) -> DownloadFailed:
    code, remedy = Code.IO_ERROR, "see the log of this peer"
    match error:
        case LanspreadError():
            code, remedy = error.code, error.remedy
        case FolderNotEmpty():
            code = Code.FOLDER_NOT_EMPTY
            remedy = "move these files away, or choose another games folder"
        case InTheWay():
            code, remedy = Code.FOLDER_NOT_EMPTY, "move it away and try again"
        case UnsafePath():
            code, remedy = Code.UNSAFE_PATH, "ask its owner to rename it; nothing was written"
        case NoSpace():
            code, remedy = Code.NO_SPACE, "free some space and try again"
        case NotHere():
            remedy = "check that the games folder is there and can be written"
        case GameBusy():
            code, remedy = Code.BUSY, "try again when the other operation is done"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            code, remedy = Code.NO_SPACE, "free some space and try again"
        case OSError(errno=errno.EROFS):
            code, remedy = Code.READ_ONLY, "make the games folder writable"
        case OSError(errno=errno.EACCES | errno.EPERM):
            code, remedy = Code.READ_ONLY, "give this program the right to write there"
        case OSError() | FsError():
            pass
        case _:
            # A fault of ours: it ends this download, not the program.
            code = Code.INTERNAL
            _log.error("a download hit a fault of the program", exc_info=error)
    _log.warning("a download failed", game=operation.game_id, why=str(error))
    return DownloadFailed(
        operation_id=operation.id,
        id=operation.game_id,
        code=code,
        message=str(error) or type(error).__name__,
        remedy=remedy,
    )


@asynccontextmanager
async def open_downloads(
    context: DownloadContext, library: Library, access: GameAccess, rules: DownloadRules
) -> AsyncIterator[Downloads]:
    """Run downloads until the block is left; those that run are cancelled then, without an event.

    What they have written stays, verified, and without a sentinel.
    """
    async with trio.open_nursery() as nursery:
        yield Downloads(context, library, access, rules, nursery)
        nursery.cancel_scope.cancel()
