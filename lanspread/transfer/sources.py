"""Who may supply a download at this moment: who is left out for a while, and who for good.

Everything returns at once. Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.events import PeerEvent, SourceDropped
from lanspread.seams import Entropy, Threads
from lanspread.sync.session import Session
from lanspread.sync.sessions import Sessions
from lanspread.transfer.bulk.lanes import LaneDialer
from lanspread.transfer.manifests import KnownManifests
from lanspread.transfer.operation import Operation
from lanspread.transfer.paths import FetchedBytes
from lanspread.transfer.ratelimit import RateLimit
from lanspread.transfer.variants import Announced, Offer, Variant

_log = structlog.get_logger(__name__)

# A source that failed is asked again after this time, then after twice that, and so on.
REJOIN_S = 2.0
_REJOIN_MOST_S = 60.0


@attrs.frozen(kw_only=True)
class DownloadContext:
    """What a download uses of the rest; `offers` gives the offers for a game at this moment."""

    sessions: Sessions
    threads: Threads
    down: RateLimit
    lane_dialer: LaneDialer | None
    fetched: FetchedBytes
    manifests: KnownManifests
    publish: Callable[[PeerEvent], None]
    offers: Callable[[str], list[Offer]]
    entropy: Entropy


class Sources:
    """The sources of one variant of one game. `variant` may become more exact, or another."""

    def __init__(self, context: DownloadContext, operation: Operation, variant: Variant) -> None:
        self.variant = variant
        self._context = context
        self._operation = operation
        self._dropped: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._left_out_times: dict[str, int] = {}
        self._known: dict[str, Session] = {}

    def all_offers(self) -> list[Offer]:
        """What is offered of the game, in whatever variant, by peers that may be used."""
        offers = self._context.offers(self._operation.game_id)
        return [offer for offer in offers if offer.peer_id not in self._dropped]

    def offers(self) -> list[Offer]:
        """What is offered of the variant."""
        return [offer for offer in self.all_offers() if self._fits(offer)]

    def _fits(self, offer: Offer) -> bool:
        summary = offer.summary
        variant = self.variant
        return (
            summary.offered
            and summary.eti_version == variant.version
            and summary.manifest_hash == variant.manifest_hash
            and (
                variant.content_hash is None or summary.content_hash in (variant.content_hash, None)
            )
        )

    def announced_by(self, peer_id: str) -> Announced:
        """What a peer says of the variant that it offers; nothing of its content if it is gone."""
        for offer in self.offers():
            if offer.peer_id == peer_id:
                return offer.announced
        return Announced(self.variant.version, None, None)

    def candidates(self) -> Iterator[Session]:
        """Sessions to ask now; those whose content is known first."""
        offers = sorted(self.offers(), key=lambda offer: offer.summary.content_hash is None)
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

    def note_session(self, session: Session) -> bool:
        """Whether this is another session with the peer than before: a clean slate."""
        if self._known.get(session.peer_id) is session:
            return False
        self._known[session.peer_id] = session
        self._left_out_times.pop(session.peer_id, None)
        return True

    def proved(self, peer_id: str) -> None:
        """The peer sent what was asked for."""
        self._left_out_times.pop(peer_id, None)

    def drop(self, peer_id: str, reason: str) -> None:
        """Never use this peer again for this download, and name it."""
        if peer_id in self._dropped:
            return
        self._dropped.add(peer_id)
        game_id = self._operation.game_id
        _log.warning("a source was dropped", game=game_id, peer=peer_id, why=reason)
        self._context.publish(
            SourceDropped(
                operation_id=self._operation.id, id=game_id, peer_id=peer_id, reason=reason
            )
        )

    def leave_out(self, peer_id: str, why: str) -> None:
        """Ask this peer again later, and each time a little later."""
        times = self._left_out_times.get(peer_id, 0)
        self._left_out_times[peer_id] = times + 1
        pause = min(REJOIN_S * 2.0 ** min(times, 10), _REJOIN_MOST_S)
        self._not_before[peer_id] = trio.current_time() + pause
        _log.info("a source is left out", game=self._operation.game_id, peer=peer_id, why=why)
