"""The search for a download's reference: sources are asked until one has given a complete one.

Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import attrs
import trio

from lanspread.errors import LanspreadError
from lanspread.fs.download.reference import Reference
from lanspread.sync.bell import Bell, wait_any
from lanspread.sync.session import Session
from lanspread.transfer.reference import fetch_reference, fetch_sentinel
from lanspread.transfer.source import QuicSource, SourceError, SourceLied
from lanspread.transfer.sources import REJOIN_S, DownloadContext, Sources
from lanspread.transfer.standing import Standing

# For digests that the other side has to compute first.
DIGESTS_TIMEOUT_S = 900.0
# After this long without an answer the next source is asked as well.
_NEXT_SOURCE_S = 5.0


@attrs.define(eq=False)
class Search:
    """A search: who is being asked, and what has come of it."""

    context: DownloadContext
    game_id: str
    sources: Sources
    standing: Standing
    _asked: set[Session] = attrs.Factory(set)
    _answered: Bell = attrs.Factory(Bell)
    _found: Reference | None = None
    _refused: LanspreadError | None = None

    async def run(self) -> Reference:
        """The reference from the first source that can give it; waits while there is none.

        A source that lets us wait does not keep the next from being asked. Raises `LanspreadError`
        where no source's answer can be used.
        """
        async with trio.open_nursery() as nursery:
            while self._found is None:
                rung, answered = self.context.sessions.changed.next(), self._answered.next()
                candidates = self.sources.candidates()
                session = next((s for s in candidates if s not in self._asked), None)
                pause = REJOIN_S
                if session is not None:
                    self.sources.note_session(session)
                    self._asked.add(session)
                    nursery.start_soon(self._ask, session)
                    pause = _NEXT_SOURCE_S
                elif not self._asked:
                    if self._refused is not None and not self.sources.offers():
                        break
                    self.standing.halt("no_sources")
                with trio.move_on_after(pause):
                    await wait_any(rung, answered)
            nursery.cancel_scope.cancel()
        if self._found is None:
            assert self._refused is not None
            raise self._refused
        return self._found

    async def _ask(self, session: Session) -> None:
        """Ask one source, and note what came of it."""
        try:
            self._found = await self._reference_from(session)
        except LanspreadError as error:
            # It may be this source alone that sends such a manifest.
            self._refused = error
            self.sources.drop(session.peer_id, str(error))
        except SourceLied as error:
            self.sources.drop(session.peer_id, str(error))
        except (SourceError, trio.TooSlowError) as error:
            self.sources.leave_out(session.peer_id, str(error))
        finally:
            self._asked.discard(session)
            self._answered.ring()

    async def _reference_from(self, session: Session) -> Reference:
        with trio.fail_after(DIGESTS_TIMEOUT_S):
            reference = await fetch_reference(
                session,
                self.game_id,
                wanted=self.sources.variant.announced,
                announced=self.sources.announced_by(session.peer_id),
                threads=self.context.threads,
                known=self.context.manifests,
            )
            source = QuicSource(session, self.context.down)
            sentinel = await fetch_sentinel(source, self.game_id, reference)
        return attrs.evolve(reference, sentinel=sentinel)
