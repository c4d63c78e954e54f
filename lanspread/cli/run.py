"""`run`: the peer and its API in this process, from the ready line to the clean end."""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Mapping

import structlog
import trio

from lanspread.cli import early, logs, output
from lanspread.cli.main import DONE
from lanspread.config import Config, load_config
from lanspread.errors import StartError

log = structlog.get_logger("lanspread.run")

# A clean end has this long; then what still waits is cancelled.
CLEAN_END_S = 1.7
# How long a thread may keep the interpreter from the event loop and the lanes. With Python's own
# 5 ms the loop was several times as late under a fast download.
_SWITCH_S = 0.0005


async def run_peer(flags: Mapping[str, object], env: Mapping[str, str], state: str) -> int:
    """Run until SIGINT, SIGTERM or the command `shutdown`. Raises `StartError`.

    The first signal asks: everything is closed in order. The second ends the process at once.
    """
    config = load_config(flags, env, state)
    _check_games(config.games)
    logs.configure(config.log_format)
    sys.setswitchinterval(_SWITCH_S)
    end = _End()
    with trio.open_signal_receiver(*early.SIGNALS) as signals:
        if early.seen():
            return DONE
        async with trio.open_nursery() as watchers:
            watchers.start_soon(_watch_signals, signals, end)
            with end.scope:
                await _serve(config, end)
            if end.ready and end.scope.cancelled_caught:
                log.warning("run.end_was_slow", seconds=CLEAN_END_S)
            watchers.cancel_scope.cancel()
    return DONE


class _End:
    """How the run ends: `asked` lets it close in order, `scope` cancels what does not."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.scope = trio.CancelScope()
        self.ready = False


async def _serve(config: Config, end: _End) -> None:
    # The heavy imports come last: bad settings are told at once, and a signal meanwhile is kept.
    from lanspread.api import open_api
    from lanspread.peer import open_peer
    from lanspread.platform import real_seams

    async with (
        open_peer(config, real_seams(config)) as peer,
        open_api(peer, config.api, hosts=config.api_hosts) as api,
    ):
        await peer.publish_api(api.url)
        end.ready = True
        # What is there now stays: the collector need not go over tens of thousands of objects
        # again and again, for as long as the loop stands still.
        gc.freeze()
        _say_ready(
            {
                "ready": True,
                "peer_id": peer.peer_id,
                "name": peer.name,
                "listen": list(peer.listen),
                "api_url": api.url,
                "token": peer.token,
                "instance": peer.instance,
            }
        )
        log.info("run.ready", name=peer.name, peer_id=peer.peer_id, page=f"{api.url}/#token=…")
        async with trio.open_nursery() as waiting:
            waiting.start_soon(_then_cancel, end.asked, waiting.cancel_scope)
            waiting.start_soon(_then_cancel, peer.shutdown_requested, waiting.cancel_scope)
        log.info("run.ending")
        # The end has its deadline however it was asked for.
        end.scope.deadline = trio.current_time() + CLEAN_END_S


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _watch_signals(signals: AsyncIterator[int], end: _End) -> None:
    async for number in signals:
        if end.asked.is_set():
            os._exit(128 + number)
        end.asked.set()
        log.info("run.signal", signal=signal.Signals(number).name)
        if not end.ready:
            end.scope.cancel()


def _say_ready(line: dict[str, object]) -> None:
    try:
        output.line(json.dumps(line))
    except OSError:
        # Nobody reads: a peer is not ended by that.
        log.warning("run.stdout_closed")


def _check_games(games: str) -> None:
    try:
        mode = os.stat(games).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise StartError(f"the games folder {games} does not exist", usage=True) from None
    except OSError as error:
        raise StartError(f"cannot read the games folder {games}: {error.strerror}") from None
    if not stat.S_ISDIR(mode):
        raise StartError(f"the games folder {games} is not a folder", usage=True)
    if not os.access(games, os.R_OK | os.X_OK):
        raise StartError(f"cannot read the games folder {games}: permission denied")
