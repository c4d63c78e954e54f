"""Telling front-ends how other peers look, no faster than a person can follow.

Connected and lost are told at once. Other changes are told at most once per peer and
`limits.PEER_EVENT_S`, and `limits.PEER_EVENTS` of all peers in that time: what changes meanwhile
is told as it is then, so nobody on the network decides how many events front-ends get.
Source: docs/api.md, "Events".
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.events import PeerConnected, PeerDiscovered, PeerEvent, PeerLost, PeerUpdated
from lanspread.sync.directory import Directory, PeerRecord
from lanspread.views import PeerState, PeerView

_log = structlog.get_logger(__name__)


@attrs.frozen
class _Told:
    """The peer as front-ends know it, without `last_seen`, and since when."""

    view: PeerView
    at: float


class PeerNews:
    """`view` makes the Peer of a record. Everything but `run` returns at once."""

    def __init__(
        self,
        directory: Directory,
        view: Callable[[PeerRecord], PeerView],
        publish: Callable[[PeerEvent], None],
    ) -> None:
        self._directory = directory
        self._view = view
        self._publish = publish
        self._told: dict[str, _Told] = {}
        # Peers that may look different now; True where that is told even if they do not.
        self._pending: dict[str, bool] = {}
        self._woken = trio.Event()
        self._window_began = 0.0
        self._in_window = 0
        directory.when_forgotten(self._forgotten)

    def connected(self, record: PeerRecord) -> None:
        """A session with the peer began."""
        _log.debug("peer.connected", name=record.name, peer_id=record.peer_id)
        self._publish(PeerConnected(peer=self._remember(record)))

    def lost(self, record: PeerRecord, reason: str) -> None:
        """The last session with the peer ended."""
        _log.debug("peer.lost", name=record.name, peer_id=record.peer_id, reason=reason)
        self._publish(PeerLost(peer=self._remember(record), reason=reason))

    def left(self, record: PeerRecord) -> None:
        """One that only looked is gone, and is forgotten by whoever calls."""
        view = self._remember(record)
        del self._told[record.peer_id]
        self._publish(PeerLost(peer=view, reason="forgotten"))

    def changed(self, peer_id: str, *, always: bool = False) -> None:
        """The peer may look different now; with `always` that is told in any case."""
        self._pending[peer_id] = always or self._pending.get(peer_id, False)
        self._try_to_tell(peer_id)
        if self._pending:
            self._woken.set()

    async def run(self) -> None:
        """Tell what had to wait, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            while self._pending:
                await trio.sleep(limits.PEER_EVENT_S / 4)
                for peer_id in tuple(self._pending):
                    self._try_to_tell(peer_id)

    def _try_to_tell(self, peer_id: str) -> None:
        record, told = self._directory.get(peer_id), self._told.get(peer_id)
        if record is None:
            del self._pending[peer_id]
            return
        if told is not None and trio.current_time() - told.at < limits.PEER_EVENT_S:
            return
        changed = told is None or attrs.evolve(self._view(record), last_seen=None) != told.view
        if not changed and not self._pending[peer_id]:
            del self._pending[peer_id]
            return
        if not self._has_room():
            return
        new = told is None or told.view.state is PeerState.LOST
        found = told is None or (new and record.state is PeerState.DISCOVERED)
        view = self._remember(record)
        self._publish(PeerDiscovered(peer=view) if found else PeerUpdated(peer=view))

    def _remember(self, record: PeerRecord) -> PeerView:
        view = self._view(record)
        self._pending.pop(record.peer_id, None)
        self._told[record.peer_id] = _Told(attrs.evolve(view, last_seen=None), trio.current_time())
        return view

    def _forgotten(self, peer_id: str) -> None:
        """It is not listed any more. Beyond the bound that is left untold: nobody missed it."""
        self._pending.pop(peer_id, None)
        told = self._told.pop(peer_id, None)
        if told is not None and self._has_room():
            gone = attrs.evolve(told.view, state=PeerState.LOST)
            self._publish(PeerLost(peer=gone, reason="forgotten"))

    def _has_room(self) -> bool:
        """Whether one more event fits into this stretch of time; counts it if so."""
        now = trio.current_time()
        if now - self._window_began >= limits.PEER_EVENT_S:
            self._window_began, self._in_window = now, 0
        self._in_window += 1
        return self._in_window <= limits.PEER_EVENTS
