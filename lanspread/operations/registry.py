"""Which operation is active on which game: at most one a game, whatever its kind.

State changes only between two awaits, so there is no lock around it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from lanspread.errors import Code, LanspreadError
from lanspread.fs.paths import shown
from lanspread.model import fold_id
from lanspread.transfer.operation import Operation
from lanspread.views import OperationKind


class Operations:
    """The active operations. `changed` is called when one came or went."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._active: dict[str, Operation] = {}
        self._held_back = False

    def get(self, game_id: str) -> Operation | None:
        """The operation on a game, if one is active."""
        return self._active.get(fold_id(game_id))

    def all(self) -> list[Operation]:
        return list(self._active.values())

    def joined(self, game_id: str, kind: OperationKind) -> Operation | None:
        """The operation that a repeated command joins; None if one may begin.

        Raises `LanspreadError` (busy) while another kind of operation is active on the game, or
        while none may begin at all.
        """
        active = self.get(game_id)
        if active is not None and active.kind is kind:
            return active
        if active is not None:
            raise LanspreadError(
                Code.BUSY,
                f"{shown(active.game_id)} is busy: {active.kind} is under way",
                "wait for it, or cancel it",
            )
        if self._held_back:
            raise LanspreadError(
                Code.BUSY, "the games folder is being changed", "try again in a moment"
            )
        return None

    def begin(self, operation: Operation) -> None:
        """Note that it is active; `joined` has just said that it may be."""
        key = fold_id(operation.game_id)
        assert key not in self._active
        assert not self._held_back
        self._active[key] = operation
        self._changed()

    def end(self, operation: Operation) -> None:
        """Note that it is over."""
        del self._active[fold_id(operation.game_id)]
        self._changed()

    def cancel(self, game_id: str) -> str:
        """Cancel the game's operation; returns its id. Raises `LanspreadError` without one."""
        operation = self.get(game_id)
        if operation is None:
            raise nothing_done_with(game_id)
        operation.cancel()
        return operation.id

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """No operation begins inside the block. Raises `LanspreadError` (busy) while one runs."""
        if self._active or self._held_back:
            raise LanspreadError(
                Code.BUSY, "something is being done with a game", "wait for it, or cancel it"
            )
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False


def nothing_done_with(game_id: str) -> LanspreadError:
    """The answer to a command that needs a running operation."""
    return LanspreadError(
        Code.NOT_FOUND, f"nothing is being done with {shown(game_id)}", "see `lanspread status`"
    )
