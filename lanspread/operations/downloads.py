"""All downloads: when one may begin, and which go on by themselves.

Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import structlog
import trio

from lanspread.errors import Code, LanspreadError
from lanspread.events import DownloadBegin, DownloadFinished, OperationEvent
from lanspread.fs.download.records import Plan, PlanState, read_plan
from lanspread.fs.errors import FsError
from lanspread.fs.kept import kept_bytes
from lanspread.fs.library import Library
from lanspread.fs.local_game import LocalGame
from lanspread.fs.paths import shown
from lanspread.model import GameSummary, fold_id, version_key
from lanspread.operations.fetching import Fetching, FetchingParts, Wish
from lanspread.operations.performing import Performer
from lanspread.operations.registry import nothing_done_with
from lanspread.sync.bell import Bell
from lanspread.transfer.access import GameAccess
from lanspread.transfer.operation import Operation, new_operation_id
from lanspread.transfer.sources import DownloadContext
from lanspread.transfer.variants import Offer, Variant, choose, group
from lanspread.views import OperationKind

_log = structlog.get_logger(__name__)

# How soon an unfinished download is looked at again whose game was busy.
_AGAIN_S = 2.0


@attrs.frozen(kw_only=True)
class DownloadRules:
    """What the catalog says: the one version that may be fetched, and which games may."""

    expected_version: Callable[[str], str | None]
    allows: Callable[[str], bool]


@attrs.frozen(kw_only=True)
class PlannedDownload:
    """What a download would do: fetch `wish`, or nothing if the game is `current`."""

    game_id: str
    wish: Wish | None
    current: LocalGame | None
    offered: GameSummary | None


UpdateBy = Callable[[PlannedDownload], str]


class Downloads:
    """The downloads of this peer. `run` is to be running while it is used."""

    def __init__(
        self,
        context: DownloadContext,
        performer: Performer,
        library: Library,
        access: GameAccess,
        rules: DownloadRules,
        library_changed: Bell,
    ) -> None:
        """`library_changed` rings whenever games came or went."""
        self._context = context
        self._performer = performer
        self._library = library
        self._rules = rules
        self._parts = FetchingParts(
            context=context, library=library, access=access, choose=self._default
        )
        self._running: dict[str, Fetching] = {}
        self._library_changed = library_changed

    # -- what is asked for -------------------------------------------------------------------------

    def start(self, game_id: str, variant: str | None, files: Sequence[str] | None = None) -> str:
        """Begin, or join, the download of a game, or of some `files`; returns the operation's id.

        A game that is current already finishes at once, with nothing fetched. Raises
        `LanspreadError` where it is clear at once that nothing can be fetched.
        """
        running = self._performer.operations.joined(game_id, OperationKind.DOWNLOAD)
        if running is not None:
            return running.id
        return self._start(self.plan(game_id, variant, files))

    def plan(
        self,
        game_id: str,
        variant: str | None,
        files: Sequence[str] | None = None,
        *,
        update: bool = False,
    ) -> PlannedDownload:
        """What would be fetched, as a part of an `update` or for itself.

        Raises `LanspreadError` where it is clear that nothing can be.
        """
        if not self._rules.allows(game_id):
            raise LanspreadError(
                Code.NOT_AVAILABLE, f"{game_id} is not in the catalog", "add it to the catalog"
            )
        local = self._library.games.get(fold_id(game_id))
        if local is None:
            refuse_withheld(self._library, game_id)
        variants = group(self._context.offers(game_id))
        expected = self._rules.expected_version(game_id)
        chosen = choose(variants, named=variant, expected_version=expected)
        if files is not None and local is not None and local.downloaded:
            current = _has_selection(local, chosen, variant, files)
        else:
            current = local is not None and _is_current(local, chosen, variant, expected)
        if chosen is None and not current:
            raise _nothing_offered(game_id, variants, variant)
        # The folder that is there gives the name; a new one takes that of the offer.
        name = local.id if local is not None else _offered_id(chosen, game_id)
        wish = None
        if chosen is not None:
            selection = None if files is None else tuple(files)
            named = variant is not None
            wish = Wish(variant=chosen, named=named, selection=selection, update=update)
        return PlannedDownload(
            game_id=name,
            wish=wish,
            current=local if current else None,
            offered=chosen.offers[0].summary if chosen is not None else None,
        )

    def pause(self, game_id: str) -> str:
        """Pause the download of a game; returns the operation's id. Raises `LanspreadError`.

        It stays an active operation, paused after a restart too, until it is resumed or cancelled.
        """
        operation, fetching = self._fetching(game_id)
        fetching.pause()
        return operation.id

    def resume(self, game_id: str) -> str:
        """Go on with a download that was paused; returns the operation's id."""
        operation, fetching = self._fetching(game_id)
        fetching.resume()
        return operation.id

    def _fetching(self, game_id: str) -> tuple[Operation, Fetching]:
        operation = self._performer.operations.get(game_id)
        fetching = self._running.get(fold_id(game_id))
        if operation is None:
            raise nothing_done_with(game_id)
        if fetching is None:
            raise LanspreadError(
                Code.BUSY,
                f"{shown(operation.game_id)} is busy: {operation.kind} is under way, and only a "
                "download can be paused or resumed",
                "wait for it, or cancel it",
            )
        return operation, fetching

    def is_offered(self, game_id: str) -> bool:
        """Whether a connected peer has the game."""
        return bool(self._context.offers(game_id))

    # -- what goes on by itself --------------------------------------------------------------------

    async def run(self, update_by: UpdateBy) -> None:
        """Go on with what is unfinished: at the start, and whenever the games folder is another or
        is there again. Until cancelled.

        `update_by` begins an update whose download is that, and may raise `LanspreadError`.
        """
        before: tuple[str, bool] | None = None
        while True:
            changed = self._library_changed.next()
            now = (self._library.games_dir, self._library.is_present)
            again_s = math.inf
            if now == before or not self._library.is_present or await self._go_on(update_by):
                before = now
            else:
                again_s = _AGAIN_S
            with trio.move_on_after(again_s):
                await changed.wait()

    async def _go_on(self, update_by: UpdateBy) -> bool:
        """Begin again what the plans of unfinished downloads say; paused ones come back paused.

        A download whose sources are not there yet waits for them. False if something else is being
        done with one of the games.
        """
        all_begun = True
        for game in tuple(self._library.games.values()):
            if not game.unfinished or not self._rules.allows(game.id):
                continue
            try:
                plan, kept = await self._context.threads.run(self._read_plan, game.id)
            except (OSError, FsError) as error:
                _log.warning("a plan cannot be read", game=game.id, why=str(error))
                continue
            if plan is None or plan.state in (PlanState.STOPPED, PlanState.SELECTED):
                continue
            try:
                kind = OperationKind.UPDATE if plan.update else OperationKind.DOWNLOAD
                if self._performer.operations.joined(game.id, kind) is None:
                    begin = update_by if plan.update else self._start
                    begin(_planned(game.id, plan, kept))
            except LanspreadError:
                all_begun = False
        return all_begun

    def _read_plan(self, game_id: str) -> tuple[Plan | None, int]:
        """The plan, if there is one, and how many bytes of what it fetches are there."""
        with self._library.open_game(game_id) as folder:
            plan = read_plan(folder)
            return plan, 0 if plan is None else kept_bytes(folder, plan)

    # -- performing --------------------------------------------------------------------------------

    def _start(self, planned: PlannedDownload) -> str:
        operation = Operation(
            new_operation_id(self._context.entropy),
            planned.game_id,
            OperationKind.DOWNLOAD,
            planned.offered,
        )

        async def work(operation: Operation) -> OperationEvent:
            return await self.perform(operation, planned)

        return self._performer.start(operation, work)

    async def perform(self, operation: Operation, planned: PlannedDownload) -> OperationEvent:
        """Fetch what was planned, as (a part of) an operation; returns its last event."""
        if planned.current is not None:
            await trio.lowlevel.checkpoint()
            return self._already_there(operation, planned.current)
        assert planned.wish is not None
        fetching = Fetching(self._parts, operation, planned.wish)
        key = fold_id(operation.game_id)
        self._running[key] = fetching
        try:
            return await fetching.run()
        finally:
            del self._running[key]

    def _default(self, game_id: str, offers: Sequence[Offer]) -> Variant | None:
        """Which of these is fetched if none was named."""
        expected = self._rules.expected_version(game_id)
        return choose(group(offers), named=None, expected_version=expected)

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


def _planned(game_id: str, plan: Plan, kept: int) -> PlannedDownload:
    """An unfinished download as its plan has it; nobody need offer it now."""
    variant = Variant(
        version=plan.version,
        manifest_hash=plan.manifest_hash,
        content_hash=plan.content_hash,
        size=plan.total_bytes,
        offers=(),
    )
    wish = Wish(
        variant=variant,
        named=plan.named,
        selection=plan.selection,
        update=plan.update,
        resumed=True,
        paused=plan.state is PlanState.PAUSED,
        kept_bytes=kept,
    )
    return PlannedDownload(game_id=game_id, wish=wish, current=None, offered=None)


def _has_selection(
    local: LocalGame, chosen: Variant | None, named: str | None, files: Sequence[str]
) -> bool:
    """A selection of a game that is complete here. Raises `LanspreadError`: its sentinel stays."""
    wanted = named is None or _is_named(local, named)
    if not wanted or (chosen is not None and not _same_content(local, chosen)):
        raise LanspreadError(
            Code.NOT_AVAILABLE,
            f"{shown(local.id)} is here in another variant",
            "download the whole game, or remove it first",
        )
    there = {entry.path for entry in local.manifest.files}
    strange = sorted(set(files) - there)
    if strange:
        raise LanspreadError(
            Code.NOT_FOUND, f"the game has no file {shown(strange[0])}", "see its files: game.get"
        )
    return True


def _is_named(local: LocalGame, named: str) -> bool:
    """Whether what is here has this hash."""
    hashes = {value.hex() for value in (local.content_hash, local.manifest_hash) if value}
    return named.strip().lower() in hashes


def _offered_id(chosen: Variant | None, game_id: str) -> str:
    return chosen.offers[0].summary.id if chosen is not None else game_id


def _is_current(
    local: LocalGame, chosen: Variant | None, named: str | None, expected: str | None
) -> bool:
    """Whether what is here is what would be fetched."""
    if not local.downloaded:
        return False
    if named is not None:
        return _is_named(local, named) and (chosen is None or _same_content(local, chosen))
    ours = version_key(local.version)
    if expected is not None:
        return ours == version_key(expected)
    return chosen is None or ours >= version_key(chosen.version)


def _same_content(local: LocalGame, chosen: Variant) -> bool:
    return chosen.is_content_of(local.manifest_hash, local.content_hash)


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


def refuse_withheld(library: Library, game_id: str) -> None:
    """Raises `LanspreadError` if several folders name the game."""
    if library.is_withheld(game_id):
        raise LanspreadError(
            Code.NOT_AVAILABLE,
            f"several folders here name the game {shown(game_id)}, so it is left out",
            "they differ only in case or Unicode form: rename or remove all of them but one",
        )
