"""Which operation a command of a front-end begins, joins or ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from lanspread.commands import (
    CancelGame,
    DownloadGame,
    GameCommand,
    InstallGame,
    PauseGame,
    RemoveGame,
    ResumeGame,
    UninstallGame,
    UpdateGame,
)
from lanspread.errors import Code, LanspreadError
from lanspread.fs.library import Library
from lanspread.operations.downloads import DownloadRules, Downloads
from lanspread.operations.local import LocalOperations
from lanspread.operations.performing import Performer
from lanspread.operations.registry import Operations
from lanspread.sync.bell import Bell
from lanspread.transfer.access import GameAccess
from lanspread.transfer.operation import Operation
from lanspread.transfer.sources import DownloadContext


@attrs.frozen
class GameOperations:
    """Everything that can be done with a game."""

    operations: Operations
    downloads: Downloads
    local: LocalOperations

    def execute(self, command: GameCommand) -> str:
        """Do what is asked, which goes on by itself; returns the operation's id.

        Raises `LanspreadError` where it is clear at once that it cannot be done.
        """
        match command:
            case DownloadGame():
                return self.downloads.start(command.id, command.variant, command.files)
            case PauseGame():
                return self.downloads.pause(command.id)
            case ResumeGame():
                return self.downloads.resume(command.id)
            case CancelGame():
                return self.operations.cancel(command.id)
            case InstallGame():
                return self.local.install(command.id)
            case UpdateGame():
                return self.local.update(command.id)
            case UninstallGame():
                return self.local.uninstall(command.id)
            case RemoveGame():
                return self.local.remove(command.id, force=command.force)
            case _:
                raise LanspreadError(Code.INTERNAL, f"{command.method} is not built", "")


@asynccontextmanager
async def open_game_operations(
    operations: Operations,
    context: DownloadContext,
    library: Library,
    access: GameAccess,
    rules: DownloadRules,
    *,
    library_changed: Bell,
    settle: Callable[[], Awaitable[object]],
    auto_install: Callable[[], bool],
) -> AsyncIterator[GameOperations]:
    """Operations on games, until the block is left; those that run are cancelled then, without an
    event, and unfinished downloads go on at the next start.

    `library_changed` rings whenever games came or went; `settle` is awaited before a last event is
    told; `auto_install`: whether what was downloaded is installed unasked.
    """

    def succeeded(operation: Operation) -> None:
        if auto_install():
            local.install_downloaded(operation)

    async with trio.open_nursery() as nursery:
        performer = Performer(
            operations=operations,
            library=library,
            publish=context.publish,
            settle=settle,
            nursery=nursery,
            succeeded=succeeded,
        )
        downloads = Downloads(context, performer, library, access, rules, library_changed)
        local = LocalOperations(performer, access, context.threads, context.entropy, downloads)
        try:
            nursery.start_soon(downloads.run, local.update_by)
            yield GameOperations(operations, downloads, local)
        finally:
            nursery.cancel_scope.cancel()
