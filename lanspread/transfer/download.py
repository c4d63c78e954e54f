"""One download, from the first request to the sentinel: the shell around plan and transaction.

`Download.run` owns one nursery: a task that recruits sources, a few bounded workers per source, and
one that reports progress. Whatever ends it, the disk is as the transaction's own rules say.
Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.errors import LanspreadError
from lanspread.events import (
    DownloadPaused,
    DownloadProgress,
    DownloadResumed,
    PeerEvent,
    SourceDropped,
)
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.manifest import block_digest
from lanspread.seams import Entropy, Threads
from lanspread.sync.bell import Bell
from lanspread.sync.session import Session
from lanspread.sync.sessions import Sessions
from lanspread.transfer.manifests import KnownManifests
from lanspread.transfer.operation import Operation, RateMeter
from lanspread.transfer.plan import (
    Assignment,
    Chunk,
    Plan,
    blocks_to_fetch,
    chunk_bytes_for,
    make_chunks,
)
from lanspread.transfer.ratelimit import RateLimit
from lanspread.transfer.reference import (
    MANIFEST_TIMEOUT_S,
    SENTINEL,
    Reference,
    fetch_digests,
    fetch_manifest,
    fetch_reference,
    fetch_sentinel,
)
from lanspread.transfer.source import (
    ChunkRequest,
    QuicSource,
    SourceChanged,
    SourceError,
    SourceLied,
    SourceUnable,
)
from lanspread.transfer.variants import Announced, Offer, Variant
from lanspread.views import OperationState

_log = structlog.get_logger(__name__)

_DIGESTS_TIMEOUT_S = 900.0
# After this long without an answer the next source is asked for the reference as well.
_NEXT_SOURCE_S = 5.0
_REJOIN_S = 2.0
_RETRY_S = 0.25
_REJOIN_MOST_S = 60.0


@attrs.frozen(kw_only=True)
class DownloadContext:
    """What a download uses of the rest; `offers` gives the offers for a game at this moment."""

    sessions: Sessions
    threads: Threads
    down: RateLimit
    manifests: KnownManifests
    publish: Callable[[PeerEvent], None]
    offers: Callable[[str], list[Offer]]
    entropy: Entropy


class Download:
    """The download of one variant of one game into one folder."""

    def __init__(self, context: DownloadContext, operation: Operation, variant: Variant) -> None:
        self._context = context
        self._operation = operation
        self._variant = variant
        self._game_id = operation.game_id
        self._sources: dict[str, QuicSource] = {}
        self._dropped: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._left_out_times: dict[str, int] = {}
        self._known: dict[str, Session] = {}
        self._scopes: dict[Assignment, trio.CancelScope] = {}
        # Rings for workers when a chunk may be free, and for the recruiter when a source ended.
        self._changed = Bell()
        self._source_ended = Bell()
        self._finished = trio.Event()
        self.bytes_fetched = 0

    # -- the reference ----------------------------------------------------------------------------

    async def find_reference(self) -> Reference:
        """The reference from the first source that can give it; waits while there is none.

        A source that lets us wait does not keep the next from being asked. Raises `LanspreadError`
        where no source's answer can be used.
        """
        search = _Search()
        async with trio.open_nursery() as nursery:
            while search.found is None:
                rung, answered = self._context.sessions.changed.next(), search.answered.next()
                session = next((s for s in self._candidates() if s not in search.asked), None)
                pause = _REJOIN_S
                if session is not None:
                    self._note_session(session)
                    search.asked.add(session)
                    nursery.start_soon(self._ask, session, search)
                    pause = _NEXT_SOURCE_S
                elif not search.asked:
                    if search.refused is not None and not self._offers():
                        break
                    self._pause()
                with trio.move_on_after(pause):
                    await _first_of(rung, answered)
            nursery.cancel_scope.cancel()
        if search.found is None:
            assert search.refused is not None
            raise search.refused
        return search.found

    async def _ask(self, session: Session, search: _Search) -> None:
        """Ask one source for the reference, and note in `search` what came of it."""
        try:
            search.found = await self._reference_from(session)
        except LanspreadError as error:
            # It may be this source alone that sends such a manifest.
            search.refused = error
            self._drop(session.peer_id, str(error))
        except SourceLied as error:
            self._drop(session.peer_id, str(error))
        except (SourceError, trio.TooSlowError) as error:
            self._leave_out(session.peer_id, str(error))
        finally:
            search.asked.discard(session)
            search.answered.ring()

    async def _reference_from(self, session: Session) -> Reference:
        with trio.fail_after(_DIGESTS_TIMEOUT_S):
            reference = await fetch_reference(
                session,
                self._game_id,
                wanted=self._variant.announced,
                threads=self._context.threads,
                known=self._context.manifests,
            )
            source = QuicSource(session, self._context.down)
            sentinel = await fetch_sentinel(source, self._game_id, reference)
        self.bytes_fetched += len(sentinel)
        return attrs.evolve(reference, sentinel=sentinel)

    def _offers(self) -> list[Offer]:
        return [offer for offer in self._context.offers(self._game_id) if self._fits(offer)]

    def _fits(self, offer: Offer) -> bool:
        summary = offer.summary
        variant = self._variant
        return (
            summary.offered
            and summary.eti_version == variant.version
            and summary.manifest_hash == variant.manifest_hash
            and (
                variant.content_hash is None or summary.content_hash in (variant.content_hash, None)
            )
            and offer.peer_id not in self._dropped
        )

    def _candidates(self) -> Iterable[Session]:
        """Sessions to ask now; those whose content is known first."""
        offers = sorted(self._offers(), key=lambda offer: offer.summary.content_hash is None)
        for offer in offers:
            session = self._context.sessions.get(offer.peer_id)
            if session is None or not session.alive:
                continue
            if self._known.get(offer.peer_id) is not session:
                # Nothing is held against a session that is new.
                yield session
                continue
            now = trio.current_time()
            silent = now - session.connection.last_received > limits.SOURCE_SILENCE_S
            left_out = self._not_before.get(offer.peer_id, 0.0)
            # One that went silent counts again as soon as anything is heard of it.
            if left_out <= now and not (left_out and silent):
                yield session

    # -- fetching ---------------------------------------------------------------------------------

    async def fetch(self, reference: Reference, transaction: DownloadTransaction) -> None:
        """Fetch and write every block but those of version.ini, which the commit writes.

        Waits, and says so, while no source is there. Cancelled, blocks may be half fetched but
        what is written is verified; no task of it goes on.
        """
        # The variant is known exactly now, also where no offer had a content_hash before.
        self._variant = attrs.evolve(self._variant, content_hash=reference.content_hash)
        plan = await self._context.threads.run(_plan_of, reference, pool="hash")
        self._operation.total_bytes = plan.total_bytes + len(reference.sentinel)
        work = _Work(reference, plan, transaction)
        if plan.finished:
            self._finished.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._recruit, work, nursery)
            nursery.start_soon(self._report, plan)
            await self._finished.wait()
            nursery.cancel_scope.cancel()
        self._operation.done_bytes = self._operation.total_bytes

    async def _recruit(self, work: _Work, nursery: trio.Nursery) -> None:
        """Start work with every source that comes; say when there is none."""
        while True:
            rung = self._context.sessions.changed.next()
            ended = self._source_ended.next()
            for session in self._candidates():
                current = self._sources.get(session.peer_id)
                if current is None:
                    source = QuicSource(session, self._context.down)
                    self._sources[session.peer_id] = source
                    if self._note_session(session):
                        work.plan.forget_failures(session.peer_id)
                    nursery.start_soon(self._use, source, work)
            if not self._sources:
                self._pause()
            with trio.move_on_after(_REJOIN_S):
                await _first_of(rung, ended)

    async def _use(self, source: QuicSource, work: _Work) -> None:
        """All work with one source; ends when it is gone, unable or dropped."""
        try:
            await self._check_unknown(source, work.reference)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, source, nursery.cancel_scope)
                for _ in range(limits.PIPELINE_DEPTH):
                    nursery.start_soon(self._guarded_worker, source, work, nursery.cancel_scope)
        except (SourceLied, LanspreadError) as error:
            self._drop(source.peer_id, str(error))
        except (SourceError, trio.TooSlowError) as error:
            self._leave_out(source.peer_id, str(error))
        finally:
            if self._sources.get(source.peer_id) is source:
                del self._sources[source.peer_id]
            self._changed.ring()
            self._source_ended.ring()

    async def _watch(self, source: QuicSource, scope: trio.CancelScope) -> None:
        """End the work with a source whose session ended, or that answers no ping any more.

        Workers that wait for a chunk would notice neither.
        """
        connection = source.session.connection
        while True:
            with trio.move_on_after(limits.WAITING_PING_S):
                await connection.wait_closed()
                scope.cancel()
                return
            silence = trio.current_time() - connection.last_received
            if source.session.waiting and silence > limits.SOURCE_SILENCE_S:
                self._leave_out(source.peer_id, "nothing is heard of it")
                scope.cancel()
                return

    async def _check_unknown(self, source: QuicSource, reference: Reference) -> None:
        """A source that announced no content_hash yet must name the same digests."""
        offers = [offer for offer in self._offers() if offer.peer_id == source.peer_id]
        announced = offers[0].announced if offers else Announced(reference.version, None, None)
        if announced.content_hash == reference.content_hash:
            return
        context = self._context
        with trio.fail_after(MANIFEST_TIMEOUT_S):
            offered = await fetch_manifest(
                source.session, self._game_id, announced, context.threads, context.manifests
            )
        if offered.manifest_hash != reference.manifest_hash:
            raise SourceChanged("it offers something else now")
        digests = offered.digests
        if digests is None:
            with trio.fail_after(_DIGESTS_TIMEOUT_S):
                digests = await fetch_digests(source.session, self._game_id, offered)
        if offered.block_bytes != reference.block_bytes or digests != reference.digests:
            raise SourceChanged("its files have other bytes: it is another variant")

    async def _guarded_worker(
        self, source: QuicSource, work: _Work, scope: trio.CancelScope
    ) -> None:
        """One worker; a fault of the source ends all its workers, once."""
        try:
            await self._work(source, work)
        except SourceLied as error:
            self._drop(source.peer_id, str(error))
            scope.cancel()
        except SourceError as error:
            self._leave_out(source.peer_id, str(error))
            scope.cancel()

    async def _work(self, source: QuicSource, work: _Work) -> None:
        while True:
            changed = self._changed.next()
            assignment = work.plan.take(source.peer_id)
            if assignment is None:
                if not work.plan.active and not work.plan.finished:
                    raise SourceUnable("it failed too often with all that is left")
                await changed.wait()
                continue
            failed = True
            try:
                await self._fetch_chunk(source, assignment, work)
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

    async def _fetch_chunk(self, source: QuicSource, assignment: Assignment, work: _Work) -> None:
        chunk = assignment.chunk
        request = ChunkRequest(self._game_id, work.reference.manifest_hash, chunk.extents())
        buffer = bytearray()
        with trio.CancelScope() as scope:
            self._scopes[assignment] = scope
            try:
                await source.fetch(request, buffer.extend)
                self.bytes_fetched += len(buffer)
                await self._context.threads.run(_verify_and_write, work.transaction, chunk, buffer)
                for useless in work.plan.done(assignment):
                    if useless in self._scopes:
                        self._scopes[useless].cancel()
                self._operation.done_bytes = work.plan.done_bytes
                self._left_out_times.pop(source.peer_id, None)
                self._resume()
                self._changed.ring()
                if work.plan.finished:
                    self._finished.set()
            finally:
                del self._scopes[assignment]

    # -- sources ----------------------------------------------------------------------------------

    def _drop(self, peer_id: str, reason: str) -> None:
        """Never use this peer again for this download, and name it."""
        if peer_id in self._dropped:
            return
        self._dropped.add(peer_id)
        _log.warning("a source was dropped", game=self._game_id, peer=peer_id, why=reason)
        self._context.publish(
            SourceDropped(
                operation_id=self._operation.id, id=self._game_id, peer_id=peer_id, reason=reason
            )
        )

    def _note_session(self, session: Session) -> bool:
        """Whether this is another session with the peer than before: a clean slate."""
        if self._known.get(session.peer_id) is session:
            return False
        self._known[session.peer_id] = session
        self._left_out_times.pop(session.peer_id, None)
        return True

    def _leave_out(self, peer_id: str, why: str) -> None:
        """Ask this peer again later, and each time a little later."""
        times = self._left_out_times.get(peer_id, 0)
        self._left_out_times[peer_id] = times + 1
        pause = min(_REJOIN_S * 2.0 ** min(times, 10), _REJOIN_MOST_S)
        self._not_before[peer_id] = trio.current_time() + pause
        _log.info("a source is left out", game=self._game_id, peer=peer_id, why=why)

    def _pause(self) -> None:
        if self._operation.state is OperationState.WAITING:
            return
        self._operation.state = OperationState.WAITING
        self._context.publish(
            DownloadPaused(operation_id=self._operation.id, id=self._game_id, reason="no_sources")
        )

    def _resume(self) -> None:
        if self._operation.state is not OperationState.WAITING:
            return
        self._operation.state = OperationState.RUNNING
        self._context.publish(DownloadResumed(operation_id=self._operation.id, id=self._game_id))

    async def _report(self, plan: Plan) -> None:
        meter = RateMeter()
        meter.add(trio.current_time(), self.bytes_fetched)
        while True:
            await trio.sleep(limits.PROGRESS_INTERVAL_S)
            rate = meter.add(trio.current_time(), self.bytes_fetched)
            left = plan.total_bytes - plan.done_bytes
            self._context.publish(
                DownloadProgress(
                    operation_id=self._operation.id,
                    id=self._game_id,
                    done_bytes=plan.done_bytes,
                    total_bytes=self._operation.total_bytes,
                    rate=rate,
                    eta_s=left / rate if rate > 0 else None,
                    sources=tuple(sorted(self._sources)),
                )
            )


def _plan_of(reference: Reference) -> Plan:
    blocks = blocks_to_fetch(reference.manifest, reference.block_bytes, reference.digests, SENTINEL)
    return Plan(make_chunks(blocks, chunk_bytes_for(reference.manifest.total_bytes)))


@attrs.frozen
class _Work:
    """What the workers of one download share."""

    reference: Reference
    plan: Plan
    transaction: DownloadTransaction


@attrs.define(eq=False)
class _Search:
    """A search for the reference: who is being asked, and what has come of it."""

    asked: set[Session] = attrs.Factory(set)
    answered: Bell = attrs.Factory(Bell)
    found: Reference | None = None
    refused: LanspreadError | None = None


async def _first_of(*events: trio.Event) -> None:
    """Wait until one of them is set."""
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(_wait_then_cancel, event, nursery.cancel_scope)


async def _wait_then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _verify_and_write(transaction: DownloadTransaction, chunk: Chunk, buffer: bytearray) -> None:
    """Verify every block of a chunk, then write them all. Blocking."""
    view = memoryview(buffer)
    at = 0
    for block in chunk.blocks:
        if block_digest(view[at : at + block.length]) != block.digest:
            raise SourceLied("it sent bytes that do not match their digest")
        at += block.length
    at = 0
    for block in chunk.blocks:
        transaction.write(block.file, block.offset, view[at : at + block.length])
        at += block.length
