"""Which operation a command of a front-end begins, joins or ends."""

from __future__ import annotations

import attrs

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
from lanspread.operations.downloads import Downloads
from lanspread.operations.local import LocalOperations
from lanspread.operations.registry import Operations


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
