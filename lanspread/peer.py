"""open_peer(): one whole peer in one async context. It wires the parts; the logic is theirs.

    async with open_peer(config, real_seams(config)) as peer:
        await peer.execute(DownloadGame(id="some game"))

Scopes are nested outer to inner (state, endpoint, library, sessions, downloads, dialer, discovery)
and are left in reverse. Source: ARCHITECTURE.md, "The nursery tree".
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import structlog
import trio

from lanspread import __version__, limits
from lanspread.background import open_background
from lanspread.commands import (
    ConnectPeer,
    Done,
    GameCommand,
    GetGame,
    GetSettings,
    GetStatus,
    ListGames,
    ListPeers,
    OperationStarted,
    PeerCommand,
    SetGamesDir,
    SetSettings,
    Shutdown,
)
from lanspread.config import Config, Trust
from lanspread.errors import Code, LanspreadError, StartError
from lanspread.eventhub import EventHub
from lanspread.events import LibraryUpdated, RecoveryBlocked, RecoveryRepaired, Warning_
from lanspread.fs.catalog import Catalog, load_catalog
from lanspread.fs.covers import Covers
from lanspread.fs.library import Library, open_library
from lanspread.fs.state import State, open_state
from lanspread.looplag import LagRecord, measure_lag
from lanspread.merged import MergedLibrary
from lanspread.model import GameSummary
from lanspread.operations.commands import GameOperations, open_game_operations
from lanspread.operations.downloads import DownloadRules
from lanspread.operations.games_dir import GamesDir, open_games_dir
from lanspread.operations.registry import Operations
from lanspread.operations.settings import LiveSettings, SettingsFile
from lanspread.seams import Seams
from lanspread.sync.announcer import Announcer
from lanspread.sync.bell import Bell
from lanspread.sync.dialer import Dialer, open_dialer
from lanspread.sync.directory import Directory, PeerRecord
from lanspread.sync.library import PublishedLibrary
from lanspread.sync.listening import open_listening
from lanspread.sync.merge import local_summary
from lanspread.sync.peer_view import peer_view
from lanspread.sync.presence import Presence
from lanspread.sync.publisher import Publisher
from lanspread.sync.sessions import Sessions, open_sessions
from lanspread.transfer.access import GameAccess
from lanspread.transfer.bulk.lanes import LaneDialer
from lanspread.transfer.bulk.opening import Handlers, open_bulk
from lanspread.transfer.detail import RemoteManifests
from lanspread.transfer.manifests import KnownManifests
from lanspread.transfer.paths import FetchedBytes
from lanspread.transfer.ratelimit import RateLimit
from lanspread.transfer.serve import Server
from lanspread.transfer.sources import DownloadContext
from lanspread.transport import EndpointStatistics
from lanspread.views import GameView, PeerView, Picture, StatusView

_log = structlog.get_logger(__name__)


class Peer:
    """A running peer. Made by `open_peer`; everything but `execute` returns at once."""

    library: Library
    covers: Covers
    sessions: Sessions
    game_operations: GameOperations
    dialer: Dialer
    _games_dir: GamesDir
    _merged: MergedLibrary

    def __init__(self, config: Config, seams: Seams, state: State, catalog: Catalog) -> None:
        self._config = config
        self._seams = seams
        self._state = state
        self._catalog = catalog
        self._identity = attrs.evolve(
            state.identity, private_key=seams.entropy.signing_key(state.identity.private_key)
        )
        self._started_at = trio.current_time()
        instance = seams.entropy.token_bytes(16)
        self.peer_id = state.identity.peer_id
        self.instance = instance.hex()
        self.token = state.token
        self.events = EventHub(self.instance, seams.wall_clock)
        self.directory = Directory()
        self.shutdown_requested = trio.Event()
        self._access = GameAccess()
        self._manifests = KnownManifests()
        self._lane_dialer: LaneDialer | None = None
        self._fetched = FetchedBytes()
        self._up = RateLimit(config.max_up)
        self._down = RateLimit(config.max_down)
        self._settings_file = SettingsFile(state.path, seams.threads, self._warn)
        self._settings = LiveSettings(config, self._up, self._down, self._settings_file)
        self._publisher = Publisher(
            self.peer_id,
            PublishedLibrary.empty(state.epoch, state.rev),
            saved_digest=state.digest,
            summaries=self._summaries,
            save=self._save_revision,
            publish=self.events.publish,
        )
        self.operations = Operations(self._publisher.touch)
        self._library_changed = Bell()
        self._lag = LagRecord()
        self._announcer = Announcer(self.peer_id, lambda: self._publisher.current)
        self._presence = Presence(
            self.peer_id, instance, lambda: self.name, lambda: self._publisher.current
        )

    # -- what front-ends ask ----------------------------------------------------------------------

    def games(self, ids: Iterable[str] | None = None) -> tuple[GameView, ...]:
        """The merged library: what is here and what connected peers offer; or these of it."""
        return self._merged.games(ids)

    def peers(self) -> tuple[PeerView, ...]:
        """Every other peer that is known, connected or not."""
        return tuple(self._view(record) for record in self.directory)

    def status(self) -> StatusView:
        """This peer, its operations and rates."""
        return StatusView(
            peer_id=self.peer_id,
            name=self.name,
            instance=self.instance,
            version=__version__,
            games_dir=self.library.games_dir,
            listen=self.listen,
            peers=len(self.directory.connected()),
            games=self._merged.count(),
            operations=tuple(operation.view() for operation in self.operations.all()),
            up_rate=self._up.measured(),
            down_rate=self._down.measured(),
            uptime_s=trio.current_time() - self._started_at,
            loop_lag=self._lag.view(),
        )

    @property
    def name(self) -> str:
        """What others see; follows the settings."""
        return self._settings.name

    @property
    def listen(self) -> tuple[str, ...]:
        """Where another process of this machine can dial this peer; follows its addresses."""
        return self._presence.reachable.texts

    def statistics(self) -> EndpointStatistics:
        """Counters of the QUIC endpoint."""
        return self._endpoint.statistics()

    def bytes_sent(self) -> int:
        """Bytes of games that this peer has served since it started."""
        return self._up.total

    def bytes_fetched(self) -> dict[str, int]:
        """Bytes of chunks that this peer has fetched since it started, by their path."""
        return attrs.asdict(self._fetched)

    @property
    def published(self) -> PublishedLibrary:
        """The library as it was last announced to others."""
        return self._publisher.current

    async def execute(self, command: PeerCommand) -> object:
        """Do what a front-end asks. Raises `LanspreadError`; cancelled, work begun goes on."""
        await trio.lowlevel.checkpoint()
        match command:
            case GetStatus():
                return self.status()
            case ListGames():
                return self.games(command.ids)
            case ListPeers():
                return self.peers()
            case GetGame():
                remote = RemoteManifests(self.sessions.get, self._seams.threads, self._manifests)
                detail, told = await self._merged.detail(command.id, remote)
                self.events.publish(told)
                return detail
            case GameCommand():
                return OperationStarted(self.game_operations.execute(command))
            case ConnectPeer():
                await self.dialer.connect(command.address)
                return Done()
            case GetSettings():
                return self._settings.view(self.library.games_dir)
            case SetSettings():
                await self._settings.change(command)
                return self._settings.view(self.library.games_dir)
            case SetGamesDir():
                await self._games_dir.change(command.path)
                return Done()
            case Shutdown():
                self.shutdown_requested.set()
                return Done()
            case _:
                raise LanspreadError(Code.INTERNAL, f"{command.method} is not built", "")

    async def cover(self, game_id: str, key: str) -> Picture | None:
        """The picture that a Game's `cover_url` is about; None if it is not there any more."""
        return await self.covers.read(game_id, key)

    async def publish_api(self, url: str) -> None:
        """Say in the state folder where the local API listens; taken back when the peer ends.

        Raises `StartError` if that folder cannot be written.
        """
        try:
            await self._seams.threads.run(self._state.write_api_json, url, self.instance)
        except OSError as error:
            raise StartError(
                f"the state folder cannot be written: {error.strerror or error}"
            ) from error

    # -- wiring: what the parts ask of one another ------------------------------------------------

    def _summaries(self) -> list[GameSummary]:
        games = sorted(self.library.games.values(), key=lambda game: game.id)
        return [
            local_summary(game, self._catalog, busy=self._is_busy(game.id))
            for game in games[: limits.MAX_GAMES_PER_PEER]
        ]

    def _is_busy(self, game_id: str) -> bool:
        return self.operations.get(game_id) is not None or self._access.is_written(game_id)

    async def _save_revision(self, epoch: bytes, rev: int, digest: bytes) -> None:
        await self._seams.threads.run(self._state.save_revision, epoch, rev, digest)

    def _view(self, record: PeerRecord) -> PeerView:
        session = self.sessions.get(record.peer_id)
        seen = record.last_seen if session is None else session.connection.last_received
        ago = None if seen is None else max(0.0, trio.current_time() - seen)
        return peer_view(record, ago, self._seams.wall_clock.now())

    def _warn(self, code: str, message: str, remedy: str) -> None:
        _log.warning(message, code=code, remedy=remedy)
        self.events.publish(Warning_(code=code, message=message, remedy=remedy))

    # -- starting ---------------------------------------------------------------------------------

    async def _start(self, stack: AsyncExitStack) -> None:
        """Enter every part, outer to inner, so that the stack leaves them inner to outer."""
        config, network = self._config, self._seams.network
        for warning in self._state.warnings:
            self._warn(warning.code, warning.message, warning.remedy)
        endpoint = self._endpoint = await stack.enter_async_context(
            open_listening(config, network, self._identity, self._presence.reachable, self._warn)
        )
        await self._open_library(stack)
        handlers = await self._open_serving(stack)
        self.sessions = await stack.enter_async_context(
            open_sessions(
                endpoint,
                self._identity,
                self.directory,
                make_body=self._presence.hello_body,
                announcer=self._announcer,
                requests=handlers,
                publish=self.events.publish,
                view=self._view,
            )
        )
        self._merged = MergedLibrary(
            library=self.library,
            covers=self.covers,
            directory=self.directory,
            sessions=self.sessions,
            operations=self.operations,
            catalog=self._catalog,
        )
        self._settings.when_renamed(lambda: self._presence.renamed(self.sessions))
        await self._open_operations(stack)
        self._games_dir = await stack.enter_async_context(
            open_games_dir(
                self._state,
                self.library,
                self.operations,
                self._access,
                self._seams.threads,
                settle=self._publisher.refresh,
                file=self._settings_file,
            )
        )
        await self._publisher.refresh()
        self._publisher.announce_by(self._announcer.announce)
        nursery = await stack.enter_async_context(open_background())
        nursery.start_soon(self._publisher.run)
        nursery.start_soon(self.covers.run)
        if self._seams.measures_lag:
            nursery.start_soon(measure_lag, self._lag)
        self.dialer = await stack.enter_async_context(
            open_dialer(
                self.peer_id,
                self.sessions,
                self._seams.network,
                random.Random(self._seams.entropy.token_bytes(32)),
            )
        )
        nursery.start_soon(self.sessions.accept)
        await stack.enter_async_context(
            self._presence.watched(
                self._seams.suspend_clock, self._seams.network, self.sessions, self.dialer
            )
        )
        await self._open_discovery(stack)
        for address in self._config.peers:
            self.dialer.add_static(address)

    async def _open_library(self, stack: AsyncExitStack) -> None:
        seams, config = self._seams, self._config
        index = await seams.threads.run(seams.open_index, config.state)
        stack.callback(index.close)
        self.library = await stack.enter_async_context(
            open_library(
                seams.files,
                config.games,
                threads=seams.threads,
                index=index,
                watcher=seams.watcher,
                catalog=self._catalog,
                block_bytes=config.block_bytes,
                on_change=self._on_library_change,
                on_warning=self._warn,
                on_repaired=lambda game_id, what: self.events.publish(
                    RecoveryRepaired(id=game_id, what=what)
                ),
                on_blocked=lambda game_id, why: self.events.publish(
                    RecoveryBlocked(id=game_id, why=why)
                ),
                busy=lambda: self._up.measured() > 0 or self._down.measured() > 0,
            )
        )
        self.covers = Covers(
            self.library, self._catalog, seams.files, self.token, seams.threads, self._on_pictures
        )
        await self.covers.look()

    def _on_pictures(self, ids: frozenset[str]) -> None:
        # Front-ends ask for the list again, in which those pictures have other keys.
        rev, games = self._publisher.current.rev, tuple(sorted(ids))
        self.events.publish(LibraryUpdated(peer_id=self.peer_id, games=games, rev=rev))

    def _on_library_change(self, ids: frozenset[str]) -> None:
        self._publisher.touch()
        self._library_changed.ring()

    async def _open_serving(self, stack: AsyncExitStack) -> Handlers:
        seams, presence = self._seams, self._presence
        server = Server(
            self.library,
            self._announcer,
            lambda: self._publisher.current,
            self._access,
            seams.threads,
            self._up,
            allows=self._catalog.allows,
            block_bytes=self._config.block_bytes,
        )
        bulk = await stack.enter_async_context(
            open_bulk(
                seams.bulk,
                presence.reachable.bound,
                self._state.certificate_and_key,
                server,
                threads=seams.threads,
                entropy=seams.entropy,
                up=self._up,
                warn=self._warn,
            )
        )
        self._lane_dialer = bulk.dialer
        presence.features.update(bulk.features)
        return bulk.handlers

    async def _open_operations(self, stack: AsyncExitStack) -> None:
        context = DownloadContext(
            sessions=self.sessions,
            threads=self._seams.threads,
            down=self._down,
            lane_dialer=self._lane_dialer,
            fetched=self._fetched,
            manifests=self._manifests,
            publish=self.events.publish,
            offers=self._merged.offers,
            entropy=self._seams.entropy,
        )
        rules = DownloadRules(
            expected_version=self._catalog.expected_version, allows=self._catalog.allows
        )
        self.game_operations = await stack.enter_async_context(
            open_game_operations(
                self.operations,
                context,
                self.library,
                self._access,
                rules,
                library_changed=self._library_changed,
                settle=self._publisher.refresh,
                auto_install=lambda: self._settings.auto_install,
            )
        )

    async def _open_discovery(self, stack: AsyncExitStack) -> None:
        if self._seams.discovery is None or not self._config.mdns:
            return
        await stack.enter_async_context(
            self._presence.announced(self._seams.discovery, self._publisher.changed, self.dialer)
        )


@asynccontextmanager
async def open_peer(config: Config, seams: Seams) -> AsyncIterator[Peer]:
    """Run a peer until the block is left. Raises `StartError` where it cannot start.

    Leaving, or cancelling, stops everything in order: what is being downloaded stays, verified,
    without a sentinel; peers hear a goodbye; no task, thread, socket or lock is left behind. It
    takes a fraction of a second, and as long as a write that has begun; a deadline is the caller's.
    """
    if config.trust is not Trust.OPEN:
        raise StartError(f"--trust {config.trust} is not built yet; use open", usage=True)
    catalog = await seams.threads.run(load_catalog, config.catalog)
    state = await seams.threads.run(
        lambda: open_state(
            config.state,
            config.games,
            seams.entropy,
            new_identity=config.new_identity,
            new_token=config.new_token,
        )
    )
    async with AsyncExitStack() as stack:
        stack.callback(state.close)
        peer = Peer(config, seams, state, catalog)
        await peer._start(stack)
        yield peer
