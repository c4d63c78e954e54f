"""All downloads: when one may begin, and what it goes through.

Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from lanspread.errors import Code, LanspreadError
from lanspread.events import DownloadBegin, DownloadFinished, OperationEvent
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.errors import FsError
from lanspread.fs.library import Library
from lanspread.fs.local_game import LocalGame
from lanspread.model import GameSummary, fold_id, version_key
from lanspread.operations.performing import Performer
from lanspread.transfer.access import GameAccess
from lanspread.transfer.download import Download, DownloadContext
from lanspread.transfer.operation import Operation, new_operation_id
from lanspread.transfer.reference import Reference
from lanspread.transfer.variants import Variant, choose, group
from lanspread.views import OperationKind


@attrs.frozen(kw_only=True)
class DownloadRules:
    """What the catalog says: the one version that may be fetched, and which games may."""

    expected_version: Callable[[str], str | None]
    allows: Callable[[str], bool]


@attrs.frozen
class PlannedDownload:
    """What a download would do: fetch `chosen`, or nothing if the game is `current`."""

    game_id: str
    chosen: Variant | None
    current: LocalGame | None
    offered: GameSummary | None


class Downloads:
    """The downloads of this peer."""

    def __init__(
        self,
        context: DownloadContext,
        performer: Performer,
        library: Library,
        access: GameAccess,
        rules: DownloadRules,
    ) -> None:
        self._context = context
        self._performer = performer
        self._library = library
        self._access = access
        self._rules = rules

    def start(self, game_id: str, variant: str | None) -> str:
        """Begin, or join, the download of a game; returns the operation's id.

        A game that is current already finishes at once, with nothing fetched. Raises
        `LanspreadError` where it is clear at once that nothing can be fetched.
        """
        running = self._performer.operations.joined(game_id, OperationKind.DOWNLOAD)
        if running is not None:
            return running.id
        planned = self.plan(game_id, variant)
        operation = Operation(
            new_operation_id(self._context.entropy),
            planned.game_id,
            OperationKind.DOWNLOAD,
            planned.offered,
        )

        async def work(operation: Operation) -> OperationEvent:
            return await self.perform(operation, planned)

        return self._performer.start(operation, work)

    def plan(self, game_id: str, variant: str | None) -> PlannedDownload:
        """What would be fetched. Raises `LanspreadError` where it is clear that nothing can be."""
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
        return PlannedDownload(name, chosen, local if current else None, offered)

    def is_offered(self, game_id: str) -> bool:
        """Whether a connected peer has the game."""
        return bool(self._context.offers(game_id))

    async def perform(self, operation: Operation, planned: PlannedDownload) -> OperationEvent:
        """Fetch what was planned, as (a part of) an operation; returns its last event."""
        if planned.current is not None:
            return self._already_there(operation, planned.current)
        assert planned.chosen is not None
        return await self._download(operation, planned.chosen)

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

    async def _download(self, operation: Operation, variant: Variant) -> OperationEvent:
        began = trio.current_time()
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
