"""Fetching the blocks of one download: the shell around plan and transaction.

`Download.fetch` owns one nursery: a task that recruits sources, a few bounded workers per source,
one that makes checkpoints. Whatever ends it, the disk is as the transaction's own rules say.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.errors import LanspreadError
from lanspread.events import DownloadProgress
from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.manifest import block_digest
from lanspread.sync.bell import Bell, wait_any
from lanspread.sync.session import Session
from lanspread.transfer.operation import Operation, RateMeter, SourceRates
from lanspread.transfer.paths import open_source
from lanspread.transfer.plan import (
    Assignment,
    Chunk,
    Plan,
    blocks_to_fetch,
    chunk_bytes_for,
    make_chunks,
)
from lanspread.transfer.reference import MANIFEST_TIMEOUT_S, fetch_digests, fetch_manifest
from lanspread.transfer.search import DIGESTS_TIMEOUT_S
from lanspread.transfer.source import (
    ChunkRequest,
    ChunkSource,
    SourceChanged,
    SourceError,
    SourceLied,
    SourceUnable,
)
from lanspread.transfer.sources import REJOIN_S, DownloadContext, Sources
from lanspread.transfer.standing import Standing

_log = structlog.get_logger(__name__)

_RETRY_S = 0.25


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
        # Rings for workers when a chunk may be free, and for the recruiter when a source ended.
        self._changed = Bell()
        self._source_ended = Bell()
        self._written = Bell()
        self._finished = trio.Event()
        self.bytes_fetched = 0
        self._source_rates = SourceRates(trio.current_time())

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
        plan = await self._context.threads.run(make_plan, pool="hash")
        work = _Work(reference, plan, transaction, self._operation.done_bytes)
        if plan.finished:
            self._finished.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recruit, work, nursery)
            nursery.start_soon(self._make_checkpoints, transaction)
            await self._finished.wait()
            nursery.cancel_scope.cancel()
        self._standing.move()

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
                    if self._sources.note_session(session):
                        work.plan.forget_failures(session.peer_id)
                    nursery.start_soon(self._use, session, work)
            if not self._in_use and not work.plan.finished:
                self._standing.halt("no_sources")
            with trio.move_on_after(REJOIN_S):
                await wait_any(rung, ended)

    async def _use(self, session: Session, work: _Work) -> None:
        """All work with one source; ends when it is gone, unable or dropped."""
        peer_id = session.peer_id
        try:
            await self._check_unknown(session, work.reference)
            async with (
                open_source(session, self._context.down, self._context.lane_dialer) as source,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._watch, session, nursery.cancel_scope)
                for _ in range(limits.PIPELINE_DEPTH):
                    nursery.start_soon(self._guarded_worker, source, work, nursery.cancel_scope)
        except (SourceLied, LanspreadError) as error:
            self._sources.drop(peer_id, str(error))
        except (SourceError, trio.TooSlowError) as error:
            self._sources.leave_out(peer_id, str(error))
        finally:
            if self._in_use.get(peer_id) is session:
                del self._in_use[peer_id]
            self._changed.ring()
            self._source_ended.ring()

    async def _watch(self, session: Session, scope: trio.CancelScope) -> None:
        """End the work with a source whose session ended, or that answers no ping any more.

        Workers that wait for a chunk would notice neither.
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

    async def _guarded_worker(
        self, source: ChunkSource, work: _Work, scope: trio.CancelScope
    ) -> None:
        """One worker; a fault of the source ends all its workers, once."""
        try:
            await self._work(source, work)
        except SourceLied as error:
            self._sources.drop(source.peer_id, str(error))
            scope.cancel()
        except SourceError as error:
            self._sources.leave_out(source.peer_id, str(error))
            scope.cancel()

    async def _work(self, source: ChunkSource, work: _Work) -> None:
        buffer = bytearray()
        while True:
            changed = self._changed.next()
            assignment = work.plan.take(source.peer_id)
            if assignment is None:
                if not work.plan.active and not work.plan.finished:
                    raise SourceUnable("it failed too often with all that is left")
                await changed.wait()
                continue
            if len(buffer) < assignment.chunk.length:
                buffer = bytearray(assignment.chunk.length)
            failed = True
            try:
                with memoryview(buffer)[: assignment.chunk.length] as into:
                    await self._fetch_chunk(source, assignment, work, into)
                failed = False
            except SourceUnable as error:
                _log.info("a chunk failed", peer=source.peer_id, why=str(error))
                again = work.plan.give_back(assignment, failed=True)
                self._changed.ring()
                if not again:
                    raise
                await trio.sleep(_RETRY_S)
            finally:
                # Gone, changed, cancelled: not held against the source, but handed back at once.
                if failed:
                    work.plan.give_back(assignment, failed=False)
                    self._changed.ring()

    async def _fetch_chunk(
        self, source: ChunkSource, assignment: Assignment, work: _Work, into: memoryview
    ) -> None:
        chunk = assignment.chunk
        request = ChunkRequest(self._game_id, work.reference.manifest_hash, chunk.extents())
        with trio.CancelScope() as scope:
            self._scopes[assignment] = scope
            try:
                await source.fetch(request, into)
                self.bytes_fetched += len(into)
                self._source_rates.add(source.peer_id, len(into))
                await self._context.threads.run(_verify_and_write, work.transaction, chunk, into)
                for useless in work.plan.done(assignment):
                    if useless in self._scopes:
                        self._scopes[useless].cancel()
                self._operation.done_bytes = work.known_bytes + work.plan.done_bytes
                self._sources.proved(source.peer_id)
                self._standing.move()
                self._written.ring()
                self._changed.ring()
                if work.plan.finished:
                    self._finished.set()
            finally:
                del self._scopes[assignment]

    async def report(self) -> None:
        """Tell how far it is, until cancelled."""
        operation = self._operation
        meter = RateMeter()
        meter.add(trio.current_time(), self.bytes_fetched)
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL_S)
            rate = meter.add(trio.current_time(), self.bytes_fetched)
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
                    source_rates=self._source_rates.measure(trio.current_time()),
                )
            )


def _plan_of(reference: Reference, numbers: tuple[int, ...], known: bytearray) -> Plan:
    blocks = blocks_to_fetch(reference, numbers, known)
    return Plan(make_chunks(blocks, chunk_bytes_for(reference.manifest.total_bytes)))


@attrs.frozen
class _Work:
    """What the workers of one download share."""

    reference: Reference
    plan: Plan
    transaction: DownloadTransaction
    # What was there before anything was fetched.
    known_bytes: int


def _verify_and_write(transaction: DownloadTransaction, chunk: Chunk, view: memoryview) -> None:
    """Verify every block of a chunk, then write them all. Blocking."""
    at = 0
    for block in chunk.blocks:
        if block_digest(view[at : at + block.length]) != block.digest:
            raise SourceLied("it sent bytes that do not match their digest")
        at += block.length
    transaction.write(_placed(chunk, view))


def _placed(chunk: Chunk, view: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    at = 0
    for block in chunk.blocks:
        yield block.file, block.offset, view[at : at + block.length]
        at += block.length
