"""A whole peer on a virtual host: production code, with a switch, a disk and a user."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from lanspread.commands import DownloadGame
from lanspread.config import Config
from lanspread.eventhub import PublishedEvent
from lanspread.peer import Peer, open_peer
from lanspread.testing.faults import Crashed
from lanspread.testing.games import Games, game_files
from lanspread.testing.parts import ManualWatcher
from lanspread.testing.power import EVERYTHING_KEPT, PowerLoss
from lanspread.testing.waiting import DOWNLOAD_ENDS, EventLog, until
from lanspread.views import PeerState

if TYPE_CHECKING:
    from lanspread.testing.host import VirtualHost

# Small, so that small games have many blocks.
BLOCK_BYTES = 16 * 1024
# Far longer than a peer takes to leave; only a fault of ours comes near it.
_CRASH_S = 60.0


class VirtualPeer:
    """One peer on one host, running or not. Made by `VirtualLan.add_peer`.

    Its identity, its library's revision and its games survive `stop` and `crash`; every method that
    waits does so in trio's time. One task calls `start`, `stop` and `crash` at a time.
    """

    def __init__(
        self,
        host: VirtualHost,
        state: Path,
        games: Games,
        *,
        watched: bool = True,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.host = host
        self.state = state
        self.games = games
        self._watched = watched
        self._settings = dict(settings or {})
        self._watcher = ManualWatcher()
        self._peer: Peer | None = None
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._ended.set()
        self._is_cut_off = False

    def __repr__(self) -> str:
        return f"<VirtualPeer {self.name} {'running' if self.is_running else 'off'}>"

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def is_running(self) -> bool:
        return self._peer is not None

    @property
    def peer(self) -> Peer:
        """The running peer: `games()`, `peers()`, `status()`, `execute(command)`.

        Another object after each start. Raises `RuntimeError` while none runs.
        """
        if self._peer is None:
            raise RuntimeError(f"no peer runs on {self.name}")
        return self._peer

    @property
    def peer_id(self) -> str:
        return self.peer.peer_id

    @property
    def scope(self) -> trio.CancelScope:
        """The scope of the peer's task; cancelling it stops the peer in order."""
        return self._scope

    @property
    def ended(self) -> trio.Event:
        """Set while no task of this peer is left."""
        return self._ended

    # -- the switch -------------------------------------------------------------------------------

    async def start(self, **settings: object) -> Peer:
        """Start, after `stop` or `crash` too, and return when the peer is ready.

        `settings` are fields of `Config`, for this start only. Raises as `open_peer`, `Crashed` at
        a step of `crash_at_step`, and `RuntimeError` if it runs. Cancelled, nothing runs.
        """
        if not self._ended.is_set():
            raise RuntimeError(f"a peer runs on {self.name} already")
        if not self.host.alive:
            self.host.come_back()
        nursery = self.host.lan.nursery
        peer: Peer = await nursery.start(self._run, {**self._settings, **settings})
        return peer

    async def stop(self) -> None:
        """Shut down in order: downloads are left resumable, others hear a goodbye."""
        self._scope.cancel()
        await self._ended.wait()

    async def crash(self, loss: PowerLoss = EVERYTHING_KEPT) -> None:
        """Switch the machine off. Nobody hears of it, and nothing more reaches its disk.

        The state folder stays as it is at this moment, and games in memory as `loss` says of what
        was not synced, although the tasks are cancelled and clean up. With games in a real folder,
        what they still write there stays; `ValueError` for such a peer and any other `loss`. It
        takes the peer's own deadlines for leaving, in virtual time.
        """
        if not self._is_cut_off:
            self._cut_off(loss)
        if self._ended.is_set():
            self._come_back()
        deadline = trio.current_time() + _CRASH_S
        with trio.CancelScope(deadline=deadline, shield=True):
            await self.stop()

    def crash_at_step(
        self, step: int, *, torn: bool = False, loss: PowerLoss = EVERYTHING_KEPT
    ) -> None:
        """Switch the machine off right before a step in the games folder, or in the middle of it.

        0 is the next step from now on; `Step` says what is one. `ended` is set when the peer is
        gone. A call of the test's own that takes the step raises `Crashed`, and so does `start`.
        """
        files = self.games.files
        files.crash_at(files.steps + step, torn=torn, on_crash=lambda: self._cut_off(loss))

    async def restart(self, **settings: object) -> Peer:
        """`stop` and `start`."""
        await self.stop()
        return await self.start(**settings)

    def wipe_state(self) -> None:
        """Forget identity, revision, token and index: the next start is another peer.

        Raises `RuntimeError` while it runs.
        """
        self._must_be_off()
        shutil.rmtree(self.state, ignore_errors=True)
        self.host.forget_index(str(self.state))

    def clone(self, name: str) -> VirtualPeer:
        """A peer on a new host, not started, whose state folder is a copy of this one's.

        That is what a copied machine image is: the same identity twice. Its games folder is empty.
        """
        twin = self.host.lan.add_peer(name, watched=self._watched, **self._settings)  # type: ignore[arg-type]
        # A running peer's lock and address are not part of an image that is any use.
        ignored = shutil.ignore_patterns("lock", "api.json")
        if self.state.is_dir():
            shutil.copytree(self.state, twin.state, ignore=ignored)
        return twin

    # -- the disk ---------------------------------------------------------------------------------

    def put_game(
        self, game_id: str, files: Mapping[str, bytes | int] | None = None, *, version: str = "1.0"
    ) -> None:
        """Copy a game into the games folder, or replace it there; a running peer is told.

        `files`: path to content, or to a number of bytes; by default one small archive. See
        `game_files`.
        """
        chosen = {"data.eti": 40_000} if files is None else files
        self.games.put(game_id, game_files(game_id, chosen, version))
        self._hint(game_id)

    def remove_game(self, game_id: str) -> None:
        """Delete a game's folder, behind the peer's back; a running peer is told."""
        self.games.remove(game_id)
        self._hint(game_id)

    def read_game(self, game_id: str) -> dict[str, bytes]:
        """Path to content of what is in a game's folder; reserved names are left out."""
        return self.games.read(game_id)

    # -- what it sees -----------------------------------------------------------------------------

    def offers(self, game_id: str) -> tuple[str, ...]:
        """The peer_ids of the others that offer a game, as this peer sees it, content known."""
        for game in self.peer.games():
            if game.id == game_id:
                return game.peers if game.content_hash is not None else ()
        return ()

    def has_game(self, game_id: str) -> bool:
        """Whether the game is downloaded here, as this peer sees it."""
        return any(game.id == game_id and game.downloaded for game in self.peer.games())

    def connected(self) -> set[str]:
        """The peer_ids of the others that it is connected to."""
        return {view.peer_id for view in self.peer.peers() if view.state is PeerState.CONNECTED}

    def events(self) -> EventLog:
        """Everything that it reports from now on, until it ends."""
        return EventLog(self.peer)

    async def fetch(
        self, game_id: str, *, variant: str | None = None, timeout_s: float = 300.0
    ) -> PublishedEvent:
        """Download a game and return the event that ended it, whichever it is.

        Raises `LanspreadError` if it cannot begin, `trio.TooSlowError`. Cancelled, the download
        goes on.
        """
        events = self.events()
        await self.peer.execute(DownloadGame(id=game_id, variant=variant))
        return await events.wait_for(*DOWNLOAD_ENDS, timeout_s=timeout_s)

    # -- inside -----------------------------------------------------------------------------------

    async def _run(
        self, settings: Mapping[str, object], task_status: trio.TaskStatus[Peer]
    ) -> None:
        self._ended = trio.Event()
        started = False
        try:
            with trio.CancelScope() as self._scope:
                async with self._open(settings) as peer:
                    self._peer = peer
                    task_status.started(peer)
                    started = True
                    await peer.shutdown_requested.wait()
        except* Crashed:
            if not started:
                raise Crashed("the machine was switched off while the peer started") from None
        finally:
            self._peer = None
            if self._is_cut_off:
                self._come_back()
            self._ended.set()

    def _open(self, settings: Mapping[str, object]) -> AbstractAsyncContextManager[Peer]:
        config = Config(
            games=self.games.path,
            state=str(self.state),
            name=self.name,
            block_bytes=BLOCK_BYTES,
        )
        config = attrs.evolve(config, **settings)  # type: ignore[arg-type]
        seams = self.host.lan.seams(
            self.host,
            mdns=config.mdns,
            files=self.games.files,
            watcher=self._watcher if self._watched else None,
        )
        return open_peer(config, seams)

    def _cut_off(self, loss: PowerLoss) -> None:
        """The power is gone. What the tasks still do is for nothing."""
        self.games.cut_off(loss)
        self._is_cut_off = True
        self.host.vanish()
        if self.state.is_dir():
            shutil.copytree(self.state, self._kept_state)
        self._scope.cancel()

    def _come_back(self) -> None:
        """No task is left: the disk is what it was when the power went."""
        self._is_cut_off = False
        self.games.come_back()
        if self._kept_state.is_dir():
            shutil.rmtree(self.state)
            self._kept_state.rename(self.state)

    @property
    def _kept_state(self) -> Path:
        return self.state.with_name(f"{self.state.name}.crashed")

    def _hint(self, game_id: str) -> None:
        self._watcher.changed(game_id)

    def _must_be_off(self) -> None:
        if not self._ended.is_set():
            raise RuntimeError(f"a peer runs on {self.name}")


def everyone_connected(peers: list[VirtualPeer] | tuple[VirtualPeer, ...]) -> bool:
    """Whether each running peer is connected to all the others."""
    running = [peer for peer in peers if peer.is_running]
    ids = {peer.peer_id for peer in running}
    return all(peer.connected() >= ids - {peer.peer_id} for peer in running)


async def until_connected(
    peers: list[VirtualPeer] | tuple[VirtualPeer, ...], timeout_s: float = 60.0
) -> None:
    """Wait until each running peer is connected to all the others. Raises `trio.TooSlowError`."""
    await until(lambda: everyone_connected(peers), timeout_s)


def open_virtual_peer(
    host: VirtualHost, folder: Path, *, mdns: bool = True, **settings: object
) -> AbstractAsyncContextManager[Peer]:
    """Run a peer on `host` until the block is left, with `folder/games` and `folder/state`.

    For tests of the start and the end themselves; `VirtualLan.add_peer` is the usual way. Both
    folders are real and made if they are missing; a second start on the same is the same peer
    again. `settings` are fields of `Config`.
    """
    games, state = folder / "games", folder / "state"
    for path in (games, state):
        path.mkdir(parents=True, exist_ok=True)
    config = Config(games=str(games), state=str(state), name=host.name, mdns=mdns)
    config = attrs.evolve(config, **settings)  # type: ignore[arg-type]
    return open_peer(config, host.lan.seams(host, mdns=config.mdns))
