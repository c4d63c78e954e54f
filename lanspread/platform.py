"""The real seams: threads, clocks, entropy, the machine's network, discovery and files."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar, TypeVarTuple

import outcome
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from lanspread import limits
from lanspread.config import Config
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.index import open_index
from lanspread.fs.watch import DiskWatcher
from lanspread.seams import Pool, Seams
from lanspread.transport.mdns import MdnsDiscovery
from lanspread.transport.tcp import TcpNetwork
from lanspread.transport.udp import UdpNetwork

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_DISK_THREADS = 8
# A small file is five system calls, and each is a fight for the interpreter's lock: eight threads
# took 120 ms for what one does in 7, and those that receive had to fight along.
_FILES_THREADS = 1
# Hashing takes whole cores; more threads than this would take them from the transfer.
_HASH_THREADS = 2
_DISCOVERY_THREADS = 4


class RealThreads:
    """`Threads` over trio's worker threads, with a limit per pool."""

    def __init__(self) -> None:
        self._limiters: dict[Pool, trio.CapacityLimiter] = {
            "disk": trio.CapacityLimiter(_DISK_THREADS),
            "files": trio.CapacityLimiter(_FILES_THREADS),
            "hash": trio.CapacityLimiter(_HASH_THREADS),
            "discovery": trio.CapacityLimiter(_DISCOVERY_THREADS),
            # Those that send never wait for those that receive: each side has its own bound.
            "lane": trio.CapacityLimiter(limits.MAX_LANES_FETCHING + limits.MAX_LANES_SENDING),
            "message": trio.CapacityLimiter(limits.MAX_LANES_READING),
        }

    async def run(
        self,
        call: Callable[[*Ts], T],
        *args: *Ts,
        pool: Pool = "disk",
        on_cancel: Callable[[], object] | None = None,
    ) -> T:
        limiter = self._limiters[pool]
        if on_cancel is None:
            # Never abandoned: a write that began is finished, and its result is not lost.
            return await trio.to_thread.run_sync(
                call, *args, abandon_on_cancel=False, limiter=limiter
            )
        async with limiter:
            return await _run_endable(partial(call, *args), on_cancel)


async def _run_endable(call: Callable[[], T], on_cancel: Callable[[], object]) -> T:
    """Run `call` in a thread of trio's; cancelled, make it end and wait for it.

    What trio offers itself either waits without a word to the thread, or does not wait.
    """
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    outcomes: list[outcome.Outcome[T]] = []

    def ended(result: outcome.Outcome[T]) -> None:
        # The task is still there: it leaves by this way only.
        outcomes.append(result)
        token.run_sync_soon(trio.lowlevel.reschedule, task)

    def cancel(_: object) -> trio.lowlevel.Abort:
        on_cancel()
        return trio.lowlevel.Abort.FAILED

    trio.lowlevel.start_thread_soon(call, ended, name="lanspread lane")
    await trio.lowlevel.wait_task_rescheduled(cancel)
    await trio.lowlevel.checkpoint_if_cancelled()
    return outcomes[0].unwrap()


class RealWallClock:
    """`WallClock` of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class RealSuspendClock:
    """`SuspendClock` of the machine: counts sleep on Linux; elsewhere the best there is."""

    def __init__(self) -> None:
        self._clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)

    def now(self) -> float:
        if self._clock is None:
            return time.monotonic()
        return time.clock_gettime(self._clock)


class RealEntropy:
    """`Entropy` of the system."""

    def token_bytes(self, size: int) -> bytes:
        return secrets.token_bytes(size)

    def new_key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    def signing_key(self, key: ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePrivateKey:
        return key


def real_seams(config: Config) -> Seams:
    """The seams of this machine, as `config` asks for them."""
    threads = RealThreads()
    return Seams(
        network=UdpNetwork(threads),
        discovery=MdnsDiscovery(threads, config.interfaces) if config.mdns else None,
        files=DiskFileSystem(),
        open_index=open_index,
        watcher=DiskWatcher(),
        threads=threads,
        wall_clock=RealWallClock(),
        suspend_clock=RealSuspendClock(),
        entropy=RealEntropy(),
        measures_lag=True,
        bulk=TcpNetwork() if config.bulk else None,
    )
