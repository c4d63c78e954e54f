"""Fetching the blocks of one download: the shell around plan and transaction.

`Download.fetch` owns one nursery: a task that recruits sources, one per source that asks for what
the schedule says, with a task for each chunk, one that makes checkpoints. Whatever ends it, the
disk is as the transaction's own rules say.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import math
from functools import partial

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.errors import LanspreadError
from lanspread.events import DownloadProgress
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.seams import Pool
from lanspread.sync.bell import Bell, wait_any
from lanspread.sync.session import Session
from lanspread.transfer.arriving import ArrivingChunk
from lanspread.transfer.buffers import Buffers
from lanspread.transfer.intake import Intake
from lanspread.transfer.operation import Operation, RateMeter
from lanspread.transfer.paths import open_source
from lanspread.transfer.plan import (
    Assignment,
    Plan,
    blocks_to_fetch,
    chunk_bytes_for,
    make_pieces,
)
from lanspread.transfer.reference import MANIFEST_TIMEOUT_S, fetch_digests, fetch_manifest
from lanspread.transfer.schedule import Schedule
from lanspread.transfer.search import DIGESTS_TIMEOUT_S
from lanspread.transfer.source import (
    ChunkRequest,
    ChunkSource,
    SourceBusy,
    SourceChanged,
    SourceError,
    SourceLied,
    SourceUnable,
)
from lanspread.transfer.sources import REJOIN_S, DownloadContext, Sources
from lanspread.transfer.standing import Standing

_log = structlog.get_logger(__name__)

# A chunk of so many files is work for the one thread that makes small files.
_MANY_FILES = 16
# A source without anything to do looks this often whether an answer of another is late.
_LOOK_S = 0.1


class Download:
    """The fetching of one content into one folder. Made anew each time it is gone on with."""

    def __init__(
        self,
        context: DownloadContext,
        operation: Operation,
        sources: Sources,
        standing: Standing,
    ) -> None:
        self._context = context
        self._operation = operation
        self._game_id = operation.game_id
        self._sources = sources
        self._standing = standing
        self._in_use: dict[str, Session] = {}
        self._scopes: dict[Assignment, trio.CancelScope] = {}
        # Rings for sources when a piece or a buffer may be free; for the recruiter when one ended.
        self._changed = Bell()
        self._source_ended = Bell()
        self._written = Bell()
        self._finished = trio.Event()
        self._buffers: Buffers | None = None
        self.bytes_fetched = 0
        self._intake = Intake(context.down, trio.current_time())

    async def fetch(
        self,
        reference: Reference,
        transaction: DownloadTransaction,
        numbers: tuple[int, ...],
    ) -> None:
        """Fetch and write the blocks of these files that are missing.

        Waits, and says so, while no source is there. Cancelled, blocks may be half fetched but
        what is written is verified; no task of it goes on.
        """
        make_plan = partial(_plan_of, reference, numbers, transaction.known)
        plan, buffers = await self._context.threads.run(make_plan, pool="hash")
        self._buffers = buffers
        chunk_bytes = chunk_bytes_for(reference.manifest.total_bytes)
        schedule = Schedule(plan, chunk_bytes, buffers.most)
        known_bytes = self._operation.done_bytes
        work = _Work(reference, plan, schedule, buffers, transaction, known_bytes)
        if plan.finished:
            self._finished.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recruit, work, nursery)
            nursery.start_soon(self._make_checkpoints, transaction)
            await self._finished.wait()
            nursery.cancel_scope.cancel()
        self._standing.move()

    def free_memory(self) -> None:
        """Give back the memory that `fetch`, which has ended, received into. Blocks."""
        if self._buffers is not None:
            self._buffers.close()

    async def _make_checkpoints(self, transaction: DownloadTransaction) -> None:
        while True:
            written = self._written.next()
            if transaction.unsynced_bytes >= limits.CHECKPOINT_BYTES:
                await self._context.threads.run(transaction.checkpoint)
            await written.wait()

    async def _recruit(self, work: _Work, nursery: trio.Nursery) -> None:
        """Start work with every source that comes; say when there is none."""
        while True:
            rung = self._context.sessions.changed.next()
            ended = self._source_ended.next()
            for session in self._sources.candidates():
                current = self._in_use.get(session.peer_id)
                if current is None:
                    self._in_use[session.peer_id] = session
                    anew = self._sources.note_session(session)
                    nursery.start_soon(self._use, session, work, anew)
            if not self._in_use and not work.plan.finished:
                self._standing.halt("no_sources")
            with trio.move_on_after(REJOIN_S):
                await wait_any(rung, ended)

    async def _use(self, session: Session, work: _Work, anew: bool) -> None:
        """All work with one source, on a session that is new or not; ends when it cannot go on."""
        peer_id = session.peer_id
        joined = False
        try:
            await self._check_unknown(session, work.reference)
            async with (
                open_source(
                    session, self._intake, self._context.lane_dialer, self._context.fetched
                ) as source,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._watch, session, nursery.cancel_scope)
                work.schedule.join(peer_id, anew=anew)
                joined = True
                await self._ask(source, work, nursery)
        except (SourceLied, LanspreadError) as error:
            self._sources.drop(peer_id, str(error))
        except (SourceError, trio.TooSlowError) as error:
            self._sources.leave_out(peer_id, str(error))
        finally:
            if joined:
                work.schedule.leave(peer_id)
            if self._in_use.get(peer_id) is session:
                del self._in_use[peer_id]
            self._changed.ring()
            self._source_ended.ring()

    async def _watch(self, session: Session, scope: trio.CancelScope) -> None:
        """End the work with a source whose session ended, or that answers no ping any more.

        Who waits for a chunk would notice neither.
        """
        connection = session.connection
        while True:
            with trio.move_on_after(limits.WAITING_PING_S):
                await connection.wait_closed()
                scope.cancel()
                return
            silence = trio.current_time() - connection.last_received
            if session.waiting and silence > limits.SOURCE_SILENCE_S:
                self._sources.leave_out(session.peer_id, "nothing is heard of it")
                scope.cancel()
                return

    async def _check_unknown(self, session: Session, reference: Reference) -> None:
        """A source that announced no content_hash yet must name the same digests."""
        announced = self._sources.announced_by(session.peer_id)
        if announced.content_hash == reference.content_hash:
            return
        context = self._context
        with trio.fail_after(MANIFEST_TIMEOUT_S):
            offered = await fetch_manifest(
                session, self._game_id, announced, context.threads, context.manifests
            )
        if offered.manifest_hash != reference.manifest_hash:
            raise SourceChanged("it offers something else now")
        digests = offered.digests
        if digests is None:
            with trio.fail_after(DIGESTS_TIMEOUT_S):
                digests = await fetch_digests(session, self._game_id, offered)
        if offered.block_bytes != reference.block_bytes or digests != reference.digests:
            raise SourceChanged("its files have other bytes: it is another variant")

    async def _ask(self, source: ChunkSource, work: _Work, nursery: trio.Nursery) -> None:
        """Ask a source for what it is to fetch, each chunk in a task of its own, until cancelled.

        Ends all work with it, as its tasks do too, if it failed too often with all that is left.
        An error would reach nobody by its type: the nursery wraps what is raised in it.
        """
        peer_id, schedule = source.peer_id, work.schedule
        while True:
            changed = self._changed.next()
            now = trio.current_time()
            schedule.widen(peer_id, source.side_by_side)
            while (assignment := schedule.next(peer_id, now)) is not None:
                nursery.start_soon(self._guarded_fetch, source, assignment, work, nursery)
            if schedule.is_barred(peer_id, now):
                self._sources.leave_out(peer_id, "it failed too often with all that is left")
                nursery.cancel_scope.cancel()
            # One with nothing to do has to see by itself that others are late, or its rest over.
            idle = not schedule.is_full(peer_id, now)
            with trio.move_on_after(_LOOK_S if idle else math.inf):
                await changed.wait()

    async def _guarded_fetch(
        self, source: ChunkSource, assignment: Assignment, work: _Work, nursery: trio.Nursery
    ) -> None:
        """Fetch one chunk; a fault of the source ends all work with it, once."""
        schedule = work.schedule
        held = True
        try:
            with work.buffers.take(assignment.chunk.length) as into:
                held = not await self._fetch_chunk(source, assignment, work, into)
        except SourceUnable as error:
            _log.info("a chunk failed", peer=source.peer_id, why=str(error))
            held = False
            busy = isinstance(error, SourceBusy)
            if not schedule.failed(assignment, trio.current_time(), busy=busy):
                self._sources.leave_out(source.peer_id, str(error))
                nursery.cancel_scope.cancel()
        except SourceLied as error:
            self._sources.drop(source.peer_id, str(error))
            nursery.cancel_scope.cancel()
        except SourceError as error:
            self._sources.leave_out(source.peer_id, str(error))
            nursery.cancel_scope.cancel()
        finally:
            # Gone, changed, useless, cancelled: not held against the source, but handed back at
            # once; what is never handed back would count as being fetched for ever.
            if held:
                schedule.give_back(assignment)
            self._changed.ring()

    async def _fetch_chunk(
        self, source: ChunkSource, assignment: Assignment, work: _Work, into: memoryview
    ) -> bool:
        """Fetch, verify and write one chunk; False if another source was done with it first."""
        chunk = assignment.chunk
        request = ChunkRequest(self._game_id, work.reference.manifest_hash, chunk.extents())
        arriving = ArrivingChunk(chunk, into, work.transaction.write)
        with trio.CancelScope() as scope:
            self._scopes[assignment] = scope
            try:
                await source.fetch(request, arriving)
                work.schedule.answered(assignment, trio.current_time())
                self._changed.ring()
                self.bytes_fetched += len(into)
                pool: Pool = "files" if len(request.extents) >= _MANY_FILES else "disk"
                await self._context.threads.run(arriving.finish, pool=pool)
                self._note_done(assignment, work)
            finally:
                del self._scopes[assignment]
        return not scope.cancelled_caught

    def _note_done(self, assignment: Assignment, work: _Work) -> None:
        for useless in work.schedule.done(assignment):
            if useless in self._scopes:
                self._scopes[useless].cancel()
        self._operation.done_bytes = work.known_bytes + work.plan.done_bytes
        self._sources.proved(assignment.source)
        self._standing.move()
        self._written.ring()
        if work.plan.finished:
            self._finished.set()

    async def report(self) -> None:
        """Tell how far it is, until cancelled."""
        operation = self._operation
        meter = RateMeter()
        meter.add(trio.current_time(), self._intake.total)
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL_S)
            rate = meter.add(trio.current_time(), self._intake.total)
            left = operation.total_bytes - operation.done_bytes
            self._context.publish(
                DownloadProgress(
                    operation_id=operation.id,
                    id=self._game_id,
                    done_bytes=operation.done_bytes,
                    total_bytes=operation.total_bytes,
                    rate=rate,
                    eta_s=left / rate if rate > 0 else None,
                    sources=tuple(sorted(self._in_use)),
                    source_rates=self._intake.rates.measure(trio.current_time()),
                )
            )


def _plan_of(
    reference: Reference, numbers: tuple[int, ...], known: bytearray
) -> tuple[Plan, Buffers]:
    blocks = blocks_to_fetch(reference, numbers, known)
    pieces = make_pieces(blocks, limits.MIN_CHUNK_BYTES)
    longest = max((piece.length for piece in pieces), default=0)
    largest = max(longest, chunk_bytes_for(reference.manifest.total_bytes))
    return Plan(pieces), Buffers(limits.MAX_DOWNLOAD_BUFFER_BYTES, largest)


@attrs.frozen
class _Work:
    """What the sources of one download share."""

    reference: Reference
    plan: Plan
    schedule: Schedule
    buffers: Buffers
    transaction: DownloadTransaction
    # What was there before anything was fetched.
    known_bytes: int
