"""Which path the chunks of a source take: a lane where one can be had, else QUIC.

Chosen per session, and anew for every chunk: a lane that breaks costs its chunk nothing but the
time, for the same call goes on over QUIC. Source: ARCHITECTURE.md, "Sources".
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.sync.errors import SyncError
from lanspread.sync.session import Session
from lanspread.transfer.bulk.lanes import FetchingLane, LaneDialer, bulk_port
from lanspread.transfer.ratelimit import Limit
from lanspread.transfer.source import (
    Arriving,
    ChunkRequest,
    ChunkSource,
    QuicSource,
    source_errors,
)
from lanspread.transport.lane import LaneBroken

_log = structlog.get_logger(__name__)


@attrs.define
class FetchedBytes:
    """Bytes of whole chunks that came by each path; of a chunk that came in part, none."""

    quic: int = 0
    bulk: int = 0


@asynccontextmanager
async def open_source(
    session: Session, down: Limit, dialer: LaneDialer | None, fetched: FetchedBytes
) -> AsyncIterator[ChunkSource]:
    """The peer of a session as a source of chunks, by the best path there is, inside the block.

    `dialer` is None where this side uses no lanes. No fetch may be under way when it is left. What
    comes is added to `fetched`.
    """
    source = _LaneSource(QuicSource(session, down), down, fetched)
    if dialer is None or bulk_port(session) is None:
        yield source
        return
    source.be_patient()
    async with trio.open_nursery() as nursery:
        for _ in range(limits.LANES_PER_SOURCE):
            nursery.start_soon(source.keep_lane, dialer)
        try:
            yield source
        finally:
            nursery.cancel_scope.cancel()


class _LaneSource:
    """Chunks over lanes, and over QUIC while there is none."""

    def __init__(self, quic: QuicSource, down: Limit, fetched: FetchedBytes) -> None:
        self._quic = quic
        self._down = down
        self._fetched = fetched
        self._up: set[FetchingLane] = set()
        self._free: list[FetchingLane] = []
        self._changed = trio.lowlevel.ParkingLot()
        self._patient_until = float("-inf")

    def be_patient(self) -> None:
        """The first lanes are on their way: chunks wait for them a little."""
        self._patient_until = trio.current_time() + limits.LANE_PATIENCE_S

    @property
    def peer_id(self) -> str:
        return self._quic.peer_id

    @property
    def side_by_side(self) -> int:
        return max(1, len(self._up))

    async def fetch(self, request: ChunkRequest, arriving: Arriving) -> None:
        lane = await self._take()
        if lane is not None:
            try:
                with source_errors():
                    await lane.fetch(request, arriving)
                self._fetched.bulk += request.length
                return
            except LaneBroken as error:
                _log.info("a lane broke", peer=self.peer_id, why=str(error))
            finally:
                self._give_back(lane)
        await self._quic.fetch(request, arriving)
        self._fetched.quic += request.length

    async def keep_lane(self, dialer: LaneDialer) -> None:
        """Keep one lane up, until cancelled."""
        pause = limits.LANE_RETRY_S
        while True:
            try:
                async with dialer.open_lane(self._quic.session, self._down) as lane:
                    self._up.add(lane)
                    self._free.append(lane)
                    self._changed.unpark_all()
                    try:
                        await lane.watch()
                    finally:
                        self._up.discard(lane)
                    if lane.has_answered:
                        pause = limits.LANE_RETRY_S
            except (LaneBroken, SyncError) as error:
                _log.info("no lane", peer=self.peer_id, why=str(error))
                self._patient_until = trio.current_time()
            self._changed.unpark_all()
            await trio.sleep(pause)
            pause = min(2.0 * pause, limits.LANE_RETRY_MAX_S)

    async def _take(self) -> FetchingLane | None:
        """A free lane, waiting for one that is up or may come up any moment; None for QUIC."""
        await trio.lowlevel.checkpoint()
        while not self._free:
            deadline = float("inf") if self._up else self._patient_until
            if trio.current_time() >= deadline:
                return None
            with trio.move_on_at(deadline):
                await self._changed.park()
        return self._free.pop()

    def _give_back(self, lane: FetchingLane) -> None:
        if not lane.broken.is_set():
            self._free.append(lane)
        self._changed.unpark_all()
