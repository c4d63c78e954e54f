"""All sessions: taking connections in, keeping one per peer, and saying who came and went.

`open_sessions` owns the nursery in which every session runs. Source: ARCHITECTURE.md, "Sessions".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from lanspread import limits
from lanspread.events import PeerEvent, Warning_
from lanspread.identity import Identity, peer_id_of
from lanspread.seams import Address
from lanspread.sync import handshake
from lanspread.sync import messages as m
from lanspread.sync.addresses import usable_addresses
from lanspread.sync.announcer import Announcer
from lanspread.sync.arbiter import Verdict, judge
from lanspread.sync.bell import Bell
from lanspread.sync.directory import Directory, PeerRecord
from lanspread.sync.errors import HandshakeFailed, HandshakeFault
from lanspread.sync.followers import Followers
from lanspread.sync.peer_news import PeerNews
from lanspread.sync.session import Handler, Handlers, Session, why_ended
from lanspread.transport import Connection, ConnectTimeout, Endpoint
from lanspread.views import PeerState, PeerView

_log = structlog.get_logger(__name__)


class Sessions:
    """The sessions of this peer. Made by `open_sessions`.

    `changed` rings whenever a session or a remote library came, went or changed; `news` tells
    front-ends what they see of other peers.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        directory: Directory,
        *,
        make_body: Callable[[], m.HelloBody],
        announcer: Announcer,
        requests: Mapping[type[m.Message], Handler],
        publish: Callable[[PeerEvent], None],
        news: PeerNews,
        nursery: trio.Nursery,
    ) -> None:
        self.directory = directory
        self.changed = Bell()
        self.news = news
        self._endpoint = endpoint
        self._identity = identity
        self._make_body = make_body
        self._announcer = announcer
        self._publish = publish
        self._followers = Followers(directory, news, publish, self.changed, self.get)
        self._handlers = Handlers(requests, self._on_control, self._on_suspected)
        self._on_suspect: list[Callable[[str], None]] = []
        self._on_found: list[Callable[[], None]] = []
        self._nursery = nursery
        self._current: dict[str, Session] = {}
        # Of each peer, every session that runs: at most two, while a crossed dial is settled.
        self._running: dict[str, list[Session]] = {}
        # Peers that are being greeted from here: once their key is known, one dial at a time.
        self._dialing: dict[str, trio.Lock] = {}
        self._greeting = 0
        self._clone_warned_at: float | None = None
        self._closing = False

    # -- for others -------------------------------------------------------------------------------

    def get(self, peer_id: str) -> Session | None:
        """The session with a peer, if there is one that lives."""
        return self._current.get(peer_id)

    def all(self) -> list[Session]:
        return list(self._current.values())

    def when_suspected(self, call: Callable[[str], None]) -> None:
        """Have `call` told each peer_id whose session may be over without our knowing."""
        self._on_suspect.append(call)

    def when_found(self, call: Callable[[], None]) -> None:
        """Have `call` told that a peer is connected which was dialed in vain before."""
        self._on_found.append(call)

    def check_all(self, slept_s: float = 0.0) -> None:
        """Ask every peer now whether it is still there; see `Session.check`."""
        for session in self._all_running():
            session.check(slept_s)

    def tell(self, message: m.Message) -> None:
        """Send the same control message on every session."""
        for session in self._all_running():
            session.send(message)

    def _all_running(self) -> list[Session]:
        return [session for running in self._running.values() for session in running]

    async def dial(self, address: Address, expected_peer_id: str | None) -> Session:
        """Connect, greet and adopt; or the session that the peer at `address` has with us by then.

        Raises `ConnectFailed` or `HandshakeFailed`, at the latest `limits.DIAL_TIMEOUT_S` and
        `limits.HELLO_TIMEOUT_S` from now. Cancelled, it leaves no connection.
        """
        if expected_peer_id is not None:
            self._check_room(expected_peer_id)
        with trio.move_on_after(limits.DIAL_TIMEOUT_S) as connecting:
            connection = await self._endpoint.connect(address)
        if connecting.cancelled_caught:
            raise ConnectTimeout(address, "no answer in time")
        try:
            with trio.move_on_after(limits.HELLO_TIMEOUT_S):
                return await self._greet_listener(connection, expected_peer_id)
        except BaseException as error:
            if isinstance(error, HandshakeFailed):
                self._note_fault(error)
            connection.close(m.CLOSE_GOODBYE, "given up")
            raise
        connection.close(m.CLOSE_GOODBYE, "given up")
        raise ConnectTimeout(address, "it went silent during the handshake")

    async def _greet_listener(self, connection: Connection, expected: str | None) -> Session:
        key = connection.peer_public_key
        listener = peer_id_of(key) if key is not None else ""
        async with self._one_dial(listener):
            existing = self._sound(listener) if expected in (None, listener) else None
            if existing is not None:
                # The other side was faster: a dial in progress never beats a working session.
                connection.close(m.CLOSE_REPLACED, "connected meanwhile")
                return existing
            self._check_room(listener)
            try:
                greeted = await handshake.dial(
                    connection, self._identity, self._make_body(), expected
                )
            except HandshakeFailed as error:
                if error.kind is HandshakeFault.REPLACED:
                    overtaking = await self._wait_for(listener)
                    if overtaking is not None:
                        return overtaking
                raise
            return self._adopt(connection, greeted)

    @asynccontextmanager
    async def _one_dial(self, peer_id: str) -> AsyncIterator[None]:
        """Greet a peer on one connection at a time: two at once would replace one another."""
        lock = self._dialing.setdefault(peer_id, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._dialing.get(peer_id) is lock:
                del self._dialing[peer_id]

    async def _wait_for(self, peer_id: str) -> Session | None:
        """The connection of the pair that stays, once its handshake is done here too."""
        with trio.move_on_after(limits.OVERTAKEN_S):
            while True:
                rung = self.changed.next()
                session = self._sound(peer_id)
                if session is not None:
                    return session
                await rung.wait()
        return None

    def _sound(self, peer_id: str) -> Session | None:
        """The session that makes a new connection needless."""
        session = self._current.get(peer_id)
        sound = session is not None and session.alive and not session.suspect
        return session if sound else None

    def _has_room_for(self, peer_id: str) -> bool:
        if self._closing:
            return False
        return peer_id in self._current or len(self._current) < limits.MAX_SESSIONS

    def _check_room(self, peer_id: str) -> None:
        if not self._has_room_for(peer_id):
            raise HandshakeFailed(HandshakeFault.REFUSED, "no more sessions are taken")

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
                greeted = await handshake.listen(
                    connection, self._identity, self._make_body(), self._has_room_for
                )
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
        try:
            self._check_room(peer_id)
        except HandshakeFailed as error:
            # There was room before HelloAck: others were faster.
            session.close(m.CLOSE_REFUSED, error.reason)
            raise
        old = self._current.get(peer_id)
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
            self._make_current(session, old)
        self._nursery.start_soon(self._run, session)
        return session if verdict is not Verdict.WAIT else self._current[peer_id]

    def _make_current(self, session: Session, old: Session | None) -> None:
        body = session.body
        self._current[session.peer_id] = session
        address = session.connection.remote_address
        known = self.directory.get(session.peer_id)
        was_missed = known is not None and known.failures > 0
        record = self.directory.greet(
            session.peer_id,
            name=body.name,
            features=body.features,
            listen_addrs=usable_addresses(body.listen_addrs, from_host=address.host),
            worked=address if session.connection.is_dialer else None,
            proto_ver=body.proto_ver,
            now=trio.current_time(),
        )
        if old is None:
            self.news.connected(record)
            for call in self._on_found if was_missed else ():
                call()
        else:
            # A new instance is worth telling even if it looks like the old one.
            restarted = old.body.instance != body.instance
            self.news.changed(session.peer_id, always=restarted)
        self.changed.ring()

    def _on_control(self, session: Session, message: m.Message) -> None:
        """Take note of a control message that says something of the peer."""
        is_current = self._current.get(session.peer_id) is session
        match message:
            case m.ListenAddrs():
                host = session.connection.remote_address.host
                found = usable_addresses(message.listen_addrs, from_host=host)
                if found and is_current:
                    self.directory.moved(session.peer_id, found)
                    self.news.changed(session.peer_id)
            case m.Renamed():
                session.body = attrs.evolve(session.body, name=message.name)
                if is_current:
                    self.directory.rename(session.peer_id, message.name)
                    self.news.changed(session.peer_id)
            case _:
                self._followers.on_control(session, message)

    def _on_suspected(self, session: Session) -> None:
        if self._current.get(session.peer_id) is session:
            for call in self._on_suspect:
                call(session.peer_id)
            self.changed.ring()

    async def _run(self, session: Session) -> None:
        try:
            with (
                self._followers.follower_of(session) as follower,
                self._announcer.telling(session),
            ):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._followers.run, session, follower)
                    info = await session.run()
                    nursery.cancel_scope.cancel()
        finally:
            session.close(m.CLOSE_GOODBYE, "")
            running = self._running[session.peer_id]
            running.remove(session)
            if not running:
                del self._running[session.peer_id]
        if info.by == "peer" and info.application and info.code == m.CLOSE_REPLACED:
            # Another connection of the pair stays; its last packet may be a moment behind.
            await self._wait_for(session.peer_id)
        shutting_down = self._closing and info.by == "us"
        self._ended(session, "shutdown" if shutting_down else why_ended(info))

    def _ended(self, session: Session, reason: str) -> None:
        peer_id = session.peer_id
        if self._current.get(peer_id) is not session:
            return
        spare = [other for other in self._running.get(peer_id, ()) if other.alive]
        if spare:
            # The loser of a crossed dial that the other side had not closed yet.
            self._make_current(spare[-1], session)
            return
        del self._current[peer_id]
        self.directory.set_state(peer_id, PeerState.LOST, session.connection.last_received)
        record = self.directory.get(peer_id)
        if record is not None:
            if record.features.get(m.VISIT) is True:
                self.news.left(record)
                self.directory.forget(peer_id)
            else:
                self.news.lost(record, reason)
        self.changed.ring()


@asynccontextmanager
async def open_sessions(
    endpoint: Endpoint,
    identity: Identity,
    directory: Directory,
    *,
    make_body: Callable[[], m.HelloBody],
    announcer: Announcer,
    requests: Mapping[type[m.Message], Handler],
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
            announcer=announcer,
            requests=requests,
            publish=publish,
            news=PeerNews(directory, view, publish),
            nursery=nursery,
        )
        nursery.start_soon(sessions.news.run)
        try:
            yield sessions
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 0.3, shield=True):
                await sessions.close_all()
            nursery.cancel_scope.cancel()
