"""Ctrl-C in commands that talk to a peer: the command ends, cleanly, and says so by its code."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from lanspread.cli.main import INTERRUPTED


async def until_interrupted(work: Callable[[], Awaitable[int]]) -> int:
    """The exit code of `work`, or 130 once SIGINT or SIGTERM cancelled it."""
    code = INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            code = await work()
            nursery.cancel_scope.cancel()
    return code


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return
