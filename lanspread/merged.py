"""The games of everybody as one library: what is here and what connected peers offer.

What it is put together from is the parts' own; this asks them all at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from lanspread.errors import Code, LanspreadError
from lanspread.events import GameFiles
from lanspread.fs.catalog import Catalog
from lanspread.fs.covers import Covers
from lanspread.fs.library import Library
from lanspread.model import GameSummary, fold_id
from lanspread.operations.registry import Operations
from lanspread.sync.directory import Directory
from lanspread.sync.merge import count_games, merge_games
from lanspread.sync.sessions import Sessions
from lanspread.transfer.detail import RemoteManifests, describe
from lanspread.transfer.variants import Offer
from lanspread.views import GameDetail, GameView, OperationView


@attrs.frozen(eq=False, kw_only=True)
class MergedLibrary:
    """All games that can be shown; everything but `detail` returns at once."""

    library: Library
    covers: Covers
    directory: Directory
    sessions: Sessions
    operations: Operations
    catalog: Catalog

    def games(self, ids: Iterable[str] | None = None) -> tuple[GameView, ...]:
        """All of them, by name; with `ids` those of these that there are."""
        return tuple(
            merge_games(
                self.library.games,
                self.directory.connected(),
                self.catalog,
                self._operation_of,
                self._fetched(),
                self.covers.url,
                None if ids is None else frozenset(map(fold_id, ids)),
            )
        )

    def count(self) -> int:
        """How many `games` would list."""
        return count_games(
            self.library.games, self.directory.connected(), self.catalog, self._fetched()
        )

    def offers(self, game_id: str) -> list[Offer]:
        """Who has a game and can be asked for it now."""
        key = fold_id(game_id)
        offers = []
        for record in self.directory.connected():
            summary = record.offers.get(key)
            session = self.sessions.get(record.peer_id)
            if summary is not None and session is not None:
                host = session.connection.remote_address.host
                offers.append(Offer(record.peer_id, host, summary))
        return offers

    async def detail(self, game_id: str, remote: RemoteManifests) -> tuple[GameDetail, GameFiles]:
        """A game with its files and variants, and the event that tells of them.

        Raises `LanspreadError` if there is none.
        """
        view = next(iter(self.games((game_id,))), None)
        if view is None:
            raise LanspreadError(
                Code.NOT_FOUND, f"there is no game {game_id!r}", "see `lanspread games`"
            )
        return await describe(
            view,
            self.library.games.get(fold_id(view.id)),
            self.offers(view.id),
            self.catalog.expected_version(view.id),
            remote,
        )

    def _fetched(self) -> list[GameSummary]:
        """What is being fetched, as it was offered."""
        return [op.offered for op in self.operations.all() if op.offered is not None]

    def _operation_of(self, game_id: str) -> OperationView | None:
        operation = self.operations.get(game_id)
        return operation.view() if operation is not None else None
