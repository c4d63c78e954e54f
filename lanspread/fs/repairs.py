"""Games that an interrupted operation left in pieces: put right before a walk of them is believed.

A walk that finds a name of ours that only an operation needs, in a game on which none is active,
has the game recovered and walks it once more. So a game is never published in the middle of
something, whether the peer was killed, an operation failed a moment ago, or a disk came back.
Source: docs/recovery.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import structlog
import trio

from lanspread.fs.errors import NotHere
from lanspread.fs.games_folder import GamesFolder
from lanspread.fs.install.recovery import Recovery
from lanspread.fs.paths import shown
from lanspread.fs.scan import ScannedGame, ScanWarning
from lanspread.fs.stoppable import run_stoppable
from lanspread.model import fold_id
from lanspread.seams import Threads

# (the game's id, a sentence)
OnRecovery = Callable[[str, str], None]

_log = structlog.get_logger(__name__)


class Repairs:
    """The repairs of one games folder. Keys are folded IDs; a game is walked once at a time."""

    def __init__(
        self,
        folder: GamesFolder,
        threads: Threads,
        is_held: Callable[[str], bool],
        on_repaired: OnRecovery,
        on_blocked: OnRecovery,
    ) -> None:
        self._folder = folder
        self._threads = threads
        self._is_held = is_held
        self._on_repaired = on_repaired
        self._on_blocked = on_blocked
        self._active: dict[str, trio.Event] = {}
        self._blocked: dict[str, str] = {}

    async def until_done(self, key: str) -> None:
        """Wait until nobody is repairing the game; none begins while it is held."""
        while (active := self._active.get(key)) is not None:
            await active.wait()

    async def put_right(self, scans: Sequence[ScannedGame | None]) -> list[ScannedGame | None]:
        """What walks saw, after repairs: of a game that was repaired, what is there now.

        One that cannot be repaired has that as its problem. Cancelled, a repair stops, and is done
        by a later walk.
        """
        found: list[ScannedGame | None] = []
        for scan in scans:
            if scan is None or not scan.leftovers:
                if scan is not None:
                    self._blocked.pop(fold_id(scan.id), None)
                found.append(scan)
            else:
                found.append(await self._put_right(scan))
        return found

    async def _put_right(self, scan: ScannedGame) -> ScannedGame | None:
        key = fold_id(scan.id)
        if self._is_held(key):
            return scan
        recovery = await self._recover(key, scan.id)
        if recovery is None:
            return None
        for what in recovery.repaired:
            _log.info("a game was repaired", game=scan.id, what=what)
            self._on_repaired(scan.id, what)
        if recovery.blocked is None:
            self._blocked.pop(key, None)
        elif self._blocked.get(key) != recovery.blocked:
            self._blocked[key] = recovery.blocked
            _log.warning("a game cannot be repaired", game=scan.id, why=recovery.blocked)
            self._on_blocked(scan.id, recovery.blocked)
        again: ScannedGame | None = scan
        if recovery.repaired:
            scans = await run_stoppable(
                self._threads, lambda watch: self._folder.scan([scan.id], watch)
            )
            again = scans[0] if scans else None
        return again if again is None else _with_problem(again, recovery.blocked)

    async def _recover(self, key: str, name: str) -> Recovery | None:
        """Repair a game; None if it is not there any more."""
        done = self._active[key] = trio.Event()
        try:
            recovery = await run_stoppable(
                self._threads, lambda watch: self._folder.recover(name, watch)
            )
            # One that was stopped in the middle has nothing to tell.
            await trio.lowlevel.checkpoint_if_cancelled()
            return recovery
        except NotHere:
            return None
        except OSError as error:
            return Recovery(blocked=f"the folder cannot be read: {error.strerror or error}")
        finally:
            del self._active[key]
            done.set()


def _with_problem(scan: ScannedGame, problem: str | None) -> ScannedGame:
    if problem is None:
        return scan
    warning = ScanWarning(
        "game_local_only",
        f"{shown(scan.id)} is not shared: {problem}",
        "put its folder right; docs/recovery.md says what may be in it",
    )
    return attrs.evolve(scan, problem=problem, warnings=(warning, *scan.warnings))
