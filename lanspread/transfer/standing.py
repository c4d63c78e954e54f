"""Whether a download moves, as front-ends hear of it: each change is told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lanspread.events import DownloadPaused, DownloadResumed, PeerEvent
from lanspread.transfer.operation import Operation
from lanspread.views import OperationState

Reason = Literal["user", "no_sources", "disk_full"]


class Standing:
    """The state of a download's operation. All methods return at once."""

    def __init__(self, operation: Operation, publish: Callable[[PeerEvent], None]) -> None:
        self._operation = operation
        self._publish = publish
        self.reason: Reason | None = None

    def halt(self, reason: Reason, needed_bytes: int | None = None) -> None:
        """It does not move, for this reason; `needed_bytes` is what a full disk lacks."""
        if self.reason == reason:
            return
        self.reason = reason
        paused = reason == "user"
        self._operation.state = OperationState.PAUSED if paused else OperationState.WAITING
        self._publish(
            DownloadPaused(
                operation_id=self._operation.id,
                id=self._operation.game_id,
                reason=reason,
                needed_bytes=needed_bytes,
            )
        )

    def move(self) -> None:
        """It moves."""
        if self.reason is None:
            return
        self.reason = None
        self._operation.state = OperationState.RUNNING
        self._publish(DownloadResumed(operation_id=self._operation.id, id=self._operation.game_id))
