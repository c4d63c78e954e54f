"""Performing one operation: a task of its own, which ends in exactly one event.

The event comes after the state that it announces can be seen, and after what an operation that
failed or was cancelled left on the disk has been put right (the library's walk does that).
Cancelling the operation ends it with `cancelled`; cancelling the task (the peer ends) ends it
without an event.
Source: ARCHITECTURE.md, "Operations".
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import structlog
import trio

from lanspread import events
from lanspread.errors import causes
from lanspread.events import OperationCancelled, OperationEvent, OperationFailed, PeerEvent
from lanspread.fs.errors import NotHere
from lanspread.fs.library import Library
from lanspread.operations.failures import failure_of
from lanspread.operations.registry import Operations
from lanspread.transfer.operation import Operation
from lanspread.views import OperationKind

_log = structlog.get_logger(__name__)

Work = Callable[[Operation], Awaitable[OperationEvent]]

_FAILED: dict[OperationKind, type[OperationFailed]] = {
    OperationKind.DOWNLOAD: events.DownloadFailed,
    OperationKind.INSTALL: events.InstallFailed,
    OperationKind.UPDATE: events.UpdateFailed,
    OperationKind.UNINSTALL: events.UninstallFailed,
    OperationKind.REMOVE: events.RemoveFailed,
}
_CANCELLED: dict[OperationKind, type[OperationCancelled]] = {
    OperationKind.DOWNLOAD: events.DownloadCancelled,
    OperationKind.INSTALL: events.InstallCancelled,
    OperationKind.UPDATE: events.UpdateCancelled,
    OperationKind.UNINSTALL: events.UninstallCancelled,
    OperationKind.REMOVE: events.RemoveCancelled,
}


def _nothing_follows(operation: Operation) -> None:
    pass


@attrs.frozen(kw_only=True)
class Performer:
    """Performs operations in `nursery`.

    `settle` is awaited before a terminal event, so that the state which the event announces can be
    seen. `succeeded` is called when an operation that succeeded has ended, after its event.
    """

    operations: Operations
    library: Library
    publish: Callable[[PeerEvent], None]
    settle: Callable[[], Awaitable[object]]
    nursery: trio.Nursery
    succeeded: Callable[[Operation], None] = _nothing_follows

    def start(self, operation: Operation, work: Work) -> str:
        """Begin an operation that `Operations.joined` allows; returns its id.

        `work` returns the event of success. Its errors become a failed event.
        """
        self.operations.begin(operation)
        self.nursery.start_soon(self._perform, operation, work)
        return operation.id

    async def part(
        self, operation: Operation, kind: OperationKind, work: Awaitable[OperationEvent]
    ) -> None:
        """Do what is an operation of another kind by itself as a part of this one.

        It ends in an event of that kind; its errors, and a cancellation, go on to the whole.
        """
        try:
            end = await work
        except BaseException as error:
            failures = [cause for cause in causes(error) if isinstance(cause, Exception)]
            if failures:
                self.publish(_failed(operation, kind, failures[0]))
            elif operation.scope.cancel_called:
                # Otherwise the peer ends, and nothing is said of what did not end.
                self.publish(_CANCELLED[kind](operation_id=operation.id, id=operation.game_id))
            raise
        try:
            with contextlib.suppress(NotHere):
                await self.library.rescan(operation.game_id)
            await self.settle()
        finally:
            # It is done, also where the whole is cancelled now.
            self.publish(end)

    async def _perform(self, operation: Operation, work: Work) -> None:
        end: OperationEvent | None = None
        succeeded = False
        try:
            # Held from here on, so that no walk repairs what this is about to change.
            with self.library.hold(operation.game_id):
                await self.library.until_repaired(operation.game_id)
                try:
                    with operation.scope:
                        end = await work(operation)
                        succeeded = True
                except* Exception as group:
                    end = self._failed(operation, causes(group))
                if operation.scope.cancelled_caught:
                    kind = _CANCELLED[operation.kind]
                    end = kind(operation_id=operation.id, id=operation.game_id)
            # However it ended: what is left of it is put right, and what is on the disk now is
            # seen, before the end is told.
            with contextlib.suppress(NotHere):
                await self.library.rescan(operation.game_id)
        finally:
            # Not awaited: the state is consistent here also when everything is being cancelled.
            self.operations.end(operation)
        await self.settle()
        if end is not None:
            self.publish(end)
            if succeeded:
                self.succeeded(operation)

    def _failed(self, operation: Operation, errors: list[BaseException]) -> OperationEvent:
        for other in errors[1:]:
            _log.warning("another error ended the same operation", why=str(other))
        failure = failure_of(errors[0])
        facts: dict[str, Any] = {"kind": operation.kind.value, "game": operation.game_id}
        if failure.expected:
            _log.warning("an operation failed", why=failure.message, **facts)
        else:
            # A fault of ours: it ends this operation, not the program.
            _log.error("a fault of the program ended an operation", exc_info=errors[0], **facts)
        return _failed(operation, operation.kind, errors[0])


def _failed(operation: Operation, kind: OperationKind, error: BaseException) -> OperationFailed:
    failure = failure_of(error)
    return _FAILED[kind](
        operation_id=operation.id,
        id=operation.game_id,
        code=failure.code,
        message=failure.message,
        remedy=failure.remedy,
    )
