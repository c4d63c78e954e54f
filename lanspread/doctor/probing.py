"""How facts are brought: each probe has a deadline, and none takes the others down with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, TypeVarTuple

import trio

from lanspread.doctor.findings import Finding, warning

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Probe(Generic[T]):
    """One probe, its deadline in seconds, and what it brought; `ended` once it looked."""

    def __init__(self, check: str, within_s: float, call: Callable[[], Awaitable[T]]) -> None:
        self.check = check
        self.result: T | None = None
        self.ended = trio.Event()
        self._within_s = within_s
        self._call = call
        self._trouble = ""

    async def run(self) -> None:
        """Look, for no longer than the deadline. Never raises but when cancelled."""
        with trio.move_on_after(self._within_s):
            try:
                self.result = await self._call()
            except Exception as error:
                # A doctor that stumbles over one thing has to tell the others all the same.
                self._trouble = f"{type(error).__name__}: {error}"
        self.ended.set()

    def judge(self, judgement: Callable[[T], list[Finding]]) -> list[Finding]:
        """The judgement of what was brought; a warning if nothing was."""
        if self.result is not None:
            return judgement(self.result)
        why = self._trouble or f"no answer within {self._within_s:g} s"
        return [
            warning(
                self.check,
                "not_looked",
                f"this could not be looked at ({' '.join(why.split())})",
                "look again; if it stays so, report it",
            )
        ]


async def aside(call: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run what only reads, and may block for ever (a dead network folder), in a thread.

    Cancelled, the thread is left behind: it ends with the process, and nobody takes its result.
    """
    return await trio.to_thread.run_sync(call, *args, abandon_on_cancel=True)
