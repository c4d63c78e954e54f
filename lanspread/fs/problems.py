"""Why a game that is here is not shared, and that people hear of it, once each.

What a walk finds comes with it; here is what no walk sees: files that could not be read when they
were hashed, and what the catalog objects to.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from lanspread import limits
from lanspread.fs.catalog import Catalog
from lanspread.fs.local_game import LocalGame
from lanspread.fs.paths import shown
from lanspread.fs.scan import ScanWarning
from lanspread.fs.slots import Slot


class Problems:
    """The judge of one games folder. All methods return at once."""

    def __init__(self, catalog: Catalog, on_warning: Callable[[str, str, str], None]) -> None:
        """`on_warning` takes code, message and remedy."""
        self._catalog = catalog
        self._on_warning = on_warning

    def warn_of(self, slot: Slot, warnings: tuple[ScanWarning, ...]) -> None:
        """Tell of those that the walk before did not find."""
        for warning in warnings:
            if warning not in slot.warnings:
                self._on_warning(warning.code, warning.message, warning.remedy)
        slot.warnings = warnings

    def note_unreadable(self, slot: Slot, path: str, error: OSError) -> str:
        """A file could not be read: that is believed for a while. Returns it as a sentence."""
        why = f"{shown(path)!r} cannot be read: {error.strerror or error}"
        slot.unreadable = (path, why, trio.current_time() + limits.FALLBACK_SCAN_S)
        return why

    def judged(self, slot: Slot, game: LocalGame) -> LocalGame:
        """The game with the problems that no walk sees."""
        problem = game.problem
        if problem is None and slot.unreadable is not None:
            path, why, until = slot.unreadable
            if trio.current_time() < until and any(stamp.path == path for stamp in game.stamps):
                problem = why
                if not slot.told_unreadable:
                    message = f"{shown(game.id)} is not shared: {why}"
                    self._on_warning("game_local_only", message, "repair or replace the file")
                slot.told_unreadable = True
            else:
                slot.unreadable = None
        if problem is None:
            version = game.version if game.downloaded else None
            problem = self._catalog.objection(game.id, version)
        return game if problem == game.problem else attrs.evolve(game, problem=problem)
