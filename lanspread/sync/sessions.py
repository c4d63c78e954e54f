"""All sessions: taking connections in, keeping one per peer, and saying who came and went.

`open_sessions` owns the nursery in which every session runs. Source: ARCHITECTURE.md, "Sessions".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio

from lanspread import limits
from lanspread.events import (
    LibraryUpdated,
    PeerConnected,
    PeerEvent,
    PeerLost,
    PeerUpdated,
    Warning_,
)
from lanspread.identity import Identity, peer_id_of
from lanspread.seams import Address
from lanspread.sync import handshake
from lanspread.sync import messages as m
from lanspread.sync.addresses import usable_addresses
from lanspread.sync.arbiter import Verdict, judge
from lanspread.sync.bell import Bell
from lanspread.sync.directory import Directory, DirectoryFull, PeerRecord, Position, RemoteLibrary
from lanspread.sync.errors import HandshakeFailed, HandshakeFault, SyncError
from lanspread.sync.library import Follower
from lanspread.sync.session import Handlers, Session, why_ended
from lanspread.transport import Connection, Endpoint
from lanspread.views import PeerState, PeerView

_log = structlog.get_logger(__name__)


class Sessions:
    """The sessions of this peer. Made by `open_sessions`.

    `changed` rings whenever a session or a remote library came, went or changed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        directory: Directory,
        *,
        make_body: Callable[[], m.HelloBody],
        make_summary: Callable[[], m.LibrarySummary],
        requests: Handlers,
        publish: Callable[[PeerEvent], None],
        view: Callable[[PeerRecord], PeerView],
        nursery: trio.Nursery,
    ) -> None:
        self.directory = directory
        self.changed = Bell()
        self._endpoint = endpoint
        self._identity = identity
        self._make_body = make_body
        self._make_summary = make_summary
        self._handlers = Handlers(requests.requests, self._on_control)
        self._publish = publish
        self._view = view
        self._nursery = nursery
        self._current: dict[str, Session] = {}
        # Of each peer, every session that runs: at most two, while a crossed dial is settled.
        self._running: dict[str, list[Session]] = {}
        self._followers: dict[Session, Follower] = {}
        self._greeting = 0
        self._clone_warned_at: float | None = None
        self._closing = False

    # -- for others -------------------------------------------------------------------------------

    def get(self, peer_id: str) -> Session | None:
        """The session with a peer, if there is one that lives."""
        return self._current.get(peer_id)

    def all(self) -> list[Session]:
        return list(self._current.values())

    def announce(self) -> None:
        """Tell every peer where our library stands now."""
        summary = self._make_summary()
        for session in self._current.values():
            session.send(summary)

    async def dial(self, address: Address, expected_peer_id: str | None) -> Session:
        """Connect, greet and adopt. Raises `ConnectFailed` or `HandshakeFailed`.

        Runs under the caller's deadline; cancelled, it leaves no connection.
        """
        connection = await self._endpoint.connect(address)
        try:
            existing = self._session_behind(connection, expected_peer_id)
            if existing is not None:
                # The other side was faster: a dial in progress never beats a working session.
                connection.close(m.CLOSE_REPLACED, "connected meanwhile")
                return existing
            greeted = await handshake.dial(
                connection, self._identity, self._make_body(), expected_peer_id
            )
        except HandshakeFailed as error:
            self._note_fault(error)
            connection.close(m.CLOSE_REPLACED, "")
            raise
        except BaseException:
            connection.close(m.CLOSE_GOODBYE, "given up")
            raise
        return self._adopt(connection, greeted)

    def _session_behind(
        self, connection: Connection, expected_peer_id: str | None
    ) -> Session | None:
        key = connection.peer_public_key
        if key is None:
            return None
        listener = peer_id_of(key)
        if expected_peer_id not in (None, listener):
            return None
        session = self._current.get(listener)
        return session if session is not None and session.alive else None

    async def close_all(self) -> None:
        """Say goodbye to everybody. Run under the caller's deadline."""
        self._closing = True
        async with trio.open_nursery() as nursery:
            for session in self.all():
                nursery.start_soon(session.say_goodbye)

    # -- incoming ---------------------------------------------------------------------------------

    async def accept(self) -> None:
        """Greet inbound connections until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                connection = await self._endpoint.accept()
                if self._greeting >= limits.MAX_GREETING:
                    connection.close(m.CLOSE_REFUSED, "too many are connecting at once")
                    continue
                self._greeting += 1
                nursery.start_soon(self._greet_inbound, connection)

    async def _greet_inbound(self, connection: Connection) -> None:
        try:
            with trio.move_on_after(limits.HELLO_TIMEOUT_S) as scope:
                greeted = await handshake.listen(connection, self._identity, self._make_body())
                self._adopt(connection, greeted)
            if scope.cancelled_caught:
                connection.close(m.CLOSE_PROTOCOL_ERROR, "no Hello came")
        except HandshakeFailed as error:
            self._note_fault(error)
            _log.info(
                "a connection was refused", source=connection.remote_address.host, why=error.reason
            )
        except Exception:
            # A fault of ours over what one dialer sent must not end the others.
            _log.exception("a handshake failed", source=connection.remote_address.host)
            connection.close(m.CLOSE_GOODBYE, "a fault on this side")
        finally:
            self._greeting -= 1

    def _note_fault(self, error: HandshakeFailed) -> None:
        if error.kind is not HandshakeFault.CLONE:
            return
        now = trio.current_time()
        if self._clone_warned_at is not None and now - self._clone_warned_at < 600:
            return
        self._clone_warned_at = now
        self._publish(
            Warning_(
                code="identity_cloned",
                message="another machine on this network has the same identity",
                remedy="start one of the two with --new-identity",
            )
        )

    # -- one session per peer ---------------------------------------------------------------------

    def _adopt(self, connection: Connection, greeted: handshake.Greeted) -> Session:
        if connection.statistics().unaccepted_streams > limits.MAX_EARLY_REQUESTS:
            reason = "too many requests before the handshake was done"
            connection.close(m.CLOSE_PROTOCOL_ERROR, reason)
            raise HandshakeFailed(HandshakeFault.MISBEHAVED, reason)
        session = Session(connection, greeted, self._identity.peer_id, self._handlers)
        peer_id = session.peer_id
        old = self._current.get(peer_id)
        if old is None and (len(self._current) >= limits.MAX_SESSIONS or self._closing):
            session.close(m.CLOSE_REFUSED, "no more sessions are taken")
            raise HandshakeFailed(HandshakeFault.REFUSED, "no more sessions are taken")
        verdict = judge(
            old.link if old is not None and old.alive else None,
            session.link,
            self._identity.peer_id,
            peer_id,
        )
        if verdict is Verdict.KEEP_OLD:
            session.close(m.CLOSE_REPLACED, "another connection stays")
            assert old is not None
            return old
        if verdict is Verdict.USE_NEW and old is not None:
            old.close(m.CLOSE_REPLACED, "another connection stays")
        self._running.setdefault(peer_id, []).append(session)
        if verdict is not Verdict.WAIT:
            self._make_current(session, known=old is not None)
        self._nursery.start_soon(self._run, session)
        return session if verdict is not Verdict.WAIT else self._current[peer_id]

    def _make_current(self, session: Session, *, known: bool) -> None:
        body = session.body
        self._current[session.peer_id] = session
        address = session.connection.remote_address
        record = self.directory.greet(
            session.peer_id,
            name=body.name,
            features=body.features,
            listen_addrs=usable_addresses(body.listen_addrs, from_host=address.host),
            worked=address if session.connection.is_dialer else None,
            proto_ver=body.proto_ver,
            announced=_position_of(body),
            now=trio.current_time(),
        )
        event = PeerUpdated if known else PeerConnected
        self._publish(event(peer=self._view(record)))
        self.changed.ring()

    async def _run(self, session: Session) -> None:
        record = self.directory.get(session.peer_id)
        library = record.library if record is not None else None
        follower = Follower(
            session,
            library.position if library is not None else None,
            lambda found: self._apply(session, found),
        )
        self._followers[session] = follower
        announced = _position_of(session.body)
        if announced is not None:
            follower.announce(announced)
        session.send(self._make_summary())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, session, follower)
                info = await session.run()
                nursery.cancel_scope.cancel()
        finally:
            session.close(m.CLOSE_GOODBYE, "")
            del self._followers[session]
            running = self._running[session.peer_id]
            running.remove(session)
            if not running:
                del self._running[session.peer_id]
        self._ended(session, why_ended(info))

    async def _follow(self, session: Session, follower: Follower) -> None:
        try:
            await follower.run()
        except SyncError:
            # The session is ending, or was closed for it; its own task reports that.
            return
        except DirectoryFull as error:
            session.close(m.CLOSE_REFUSED, str(error))
        except Exception:
            # A fault of ours over what one peer sent must not end the others.
            _log.exception("following a library failed", peer=session.peer_id)
            session.close(m.CLOSE_GOODBYE, "a fault on this side")

    def _apply(self, session: Session, library: RemoteLibrary) -> None:
        for peer_id in self.directory.make_room_for_games(session.peer_id, len(library.games)):
            self._current[peer_id].close(m.CLOSE_REFUSED, str(DirectoryFull()))
        changed = self.directory.apply(session.peer_id, library)
        if changed:
            self._publish(
                LibraryUpdated(peer_id=session.peer_id, games=changed, rev=library.position.rev)
            )
        self.changed.ring()

    def _on_control(self, session: Session, message: m.Message) -> None:
        follower = self._followers.get(session)
        if follower is None:
            return
        match message:
            case m.LibrarySummary():
                follower.announce(
                    Position(message.library_epoch, message.library_rev, message.library_digest)
                )
            case m.LibraryDelta():
                follower.announce(
                    Position(message.library_epoch, message.to_rev, message.library_digest)
                )
            case _:
                pass

    def _ended(self, session: Session, reason: str) -> None:
        peer_id = session.peer_id
        if self._current.get(peer_id) is not session:
            return
        spare = [other for other in self._running.get(peer_id, ()) if other.alive]
        if spare:
            # The loser of a crossed dial that the other side had not closed yet.
            self._make_current(spare[-1], known=True)
            return
        del self._current[peer_id]
        self.directory.set_state(peer_id, PeerState.LOST, session.connection.last_received)
        record = self.directory.get(peer_id)
        if record is not None:
            self._publish(PeerLost(peer=self._view(record), reason=reason))
        self.changed.ring()


def _position_of(body: m.HelloBody) -> Position | None:
    if body.library_epoch is None or body.library_rev is None or body.library_digest is None:
        return None
    return Position(body.library_epoch, body.library_rev, body.library_digest)


@asynccontextmanager
async def open_sessions(
    endpoint: Endpoint,
    identity: Identity,
    directory: Directory,
    *,
    make_body: Callable[[], m.HelloBody],
    make_summary: Callable[[], m.LibrarySummary],
    requests: Handlers,
    publish: Callable[[PeerEvent], None],
    view: Callable[[PeerRecord], PeerView],
) -> AsyncIterator[Sessions]:
    """Run sessions until the block is left; `Sessions.accept` is for the caller to start.

    Leaving says goodbye to everybody within a short deadline; every session's task has ended then.
    """
    async with trio.open_nursery() as nursery:
        sessions = Sessions(
            endpoint,
            identity,
            directory,
            make_body=make_body,
            make_summary=make_summary,
            requests=requests,
            publish=publish,
            view=view,
            nursery=nursery,
        )
        try:
            yield sessions
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 0.3, shield=True):
                await sessions.close_all()
            nursery.cancel_scope.cancel()
