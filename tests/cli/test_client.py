"""Commands against the real API server with a fake peer behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from lanspread import limits
from lanspread.api import ApiServer
from lanspread.cli import app, get, look, operate, variants
from lanspread.cli.client import Endpoint, NoPeerError, PeerBusyError, open_endpoint
from lanspread.commands import DownloadGame, GetGame, InstallGame, OperationStarted, PeerCommand
from lanspread.errors import Code, LanspreadError
from lanspread.events import InstallFinished, PeerEvent, UpdateFinished
from lanspread.views import GameDetail, OperationKind, OperationState, OperationView, VariantView
from tests.api.fake import (
    TOKEN,
    FakeRuntime,
    a_game,
    a_peer,
    begin,
    finished,
    front_end,
    progress,
    running,
    until,
    warning,
)

STATE = "/the/state"


def found(monkeypatch: pytest.MonkeyPatch, server: ApiServer, token: str = TOKEN) -> None:
    """Let commands find this server."""
    endpoint = Endpoint(api_url=server.url, token=token, pid=1)
    monkeypatch.setattr("lanspread.cli.client.find_peer", lambda state: endpoint)


async def code_of(work: Awaitable[int]) -> int | None:
    """The exit code, errors included."""
    try:
        return await work
    except (BaseExceptionGroup, NoPeerError, PeerBusyError) as error:
        return app._explain(error)


def printed_json(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


async def test_looking(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async with running() as (runtime, server):
        found(monkeypatch, server)
        runtime.all_games = (a_game("quake", name="Quake \x1b[31m [bold]"),)
        runtime.all_peers = (a_peer(name="\x9bevil"),)
        assert await look.games(STATE, as_json=True) == 0
        (games,) = printed_json(capsys)
        assert games[0]["id"] == "quake"
        assert await look.peers(STATE, as_json=True) == 0
        assert printed_json(capsys)[0][0]["state"] == "connected"
        assert await look.status(STATE, as_json=True) == 0
        assert printed_json(capsys)[0]["name"] == "mine"
        assert await look.games(STATE, as_json=False) == 0
        shown = capsys.readouterr().out
        assert "1.0 kB" in shown
        assert "[bold]" in shown
        assert "\x1b" not in shown
        assert await look.peers(STATE, as_json=False) == 0
        assert "\x9b" not in capsys.readouterr().out
        assert await look.status(STATE, as_json=False) == 0
        assert "receiving" in capsys.readouterr().out


async def test_get_prints_events_and_the_last_one_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running() as (_, server):
        found(monkeypatch, server)
        assert await get.get_game(STATE, "quake", None, False, True) == 0
        events = printed_json(capsys)
        assert [event["type"] for event in events] == ["download.begin", "download.finished"]
        assert set(events[0]) == {"seq", "time", "type", "data"}
        assert await get.get_game(STATE, "quake", None, False, False) == 0
        assert "1.0 kB in 2.0 s" in capsys.readouterr().out


class InstallsUnasked(FakeRuntime):
    """It is updating, or installing, or what it was busy with is over; then calls are taken."""

    def __init__(self, kind: OperationKind | None) -> None:
        super().__init__()
        self.kind = kind

    async def execute(self, command: PeerCommand) -> object:
        if not isinstance(command, InstallGame):
            return await super().execute(command)
        if [one for one in self.executed if isinstance(one, InstallGame)]:
            self._end(InstallFinished)
            return OperationStarted("op-3")
        self.executed.append(command)
        if self.kind is not None:
            view = OperationView(
                operation_id="op-3",
                kind=self.kind,
                state=OperationState.RUNNING,
                done_bytes=1,
                total_bytes=2,
            )
            self.all_games = (attrs.evolve(self.all_games[0], operation=view),)
            if self.kind is OperationKind.UPDATE:
                self._end(partial(UpdateFinished, kept=()))
            else:
                self._end(InstallFinished)
        raise LanspreadError(Code.BUSY, "quake is busy: something is under way", "wait for it")

    def _end(self, event: Callable[..., PeerEvent]) -> None:
        self.events.publish(event(operation_id="op-3", id="quake", version="1.0", seconds=1.0))


@pytest.mark.parametrize(
    ("kind", "code", "end"),
    [
        (OperationKind.UPDATE, 0, "update.finished"),
        (OperationKind.INSTALL, 0, "install.finished"),
        (None, 0, "install.finished"),
        (OperationKind.UNINSTALL, 1, "download.finished"),
    ],
)
async def test_get_follows_what_the_peer_installs_unasked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: OperationKind | None,
    code: int,
    end: str,
) -> None:
    async with running(InstallsUnasked(kind)) as (_, server):
        found(monkeypatch, server)
        work = get.get_game(STATE, "quake", None, False, True, install=True)
        assert await code_of(work) == code
        assert printed_json(capsys)[-1]["type"] == end


async def test_get_without_waiting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running() as (_, server):
        found(monkeypatch, server)
        assert await get.get_game(STATE, "stuck", None, True, True) == 0
        assert printed_json(capsys) == [{"operation_id": "op-2"}]


async def test_get_of_an_unknown_game(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running() as (_, server):
        found(monkeypatch, server)
        assert await code_of(get.get_game(STATE, "none", None, False, True)) == 4
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err == "lanspread: there is no such game (see `games`)\n"


async def test_get_prints_progress_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int | None] = []
    async with running() as (runtime, server), trio.open_nursery() as nursery:
        found(monkeypatch, server)

        async def work() -> None:
            codes.append(await get.get_game(STATE, "stuck", None, False, False))

        nursery.start_soon(work)
        await until(lambda: bool(runtime.executed))
        runtime.events.publish(begin("another"))
        runtime.events.publish(begin("op-2"))
        for done in range(20):
            runtime.events.publish(progress("op-2", done * 10))
            await trio.sleep(0.01)
        runtime.events.publish(finished("another"))
        runtime.events.publish(finished("op-2", fetched=0))
    lines = capsys.readouterr().out.splitlines()
    assert codes == [0]
    assert len(lines) == 3
    assert "nothing had to be fetched" in lines[2]


async def test_a_connection_that_is_lost_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int | None] = []
    async with trio.open_nursery() as nursery, running() as (runtime, server):
        found(monkeypatch, server)

        async def work() -> None:
            codes.append(await code_of(get.get_game(STATE, "stuck", None, False, True)))

        nursery.start_soon(work)
        await until(lambda: bool(runtime.executed))
        await trio.sleep(0.1)
    assert codes == [1]
    assert capsys.readouterr().err.startswith("lanspread: the connection to the peer was lost")


async def test_cancel_waits_for_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running() as (_, server):
        found(monkeypatch, server)
        assert await operate.cancel_game(STATE, "quake", as_json=True) == 0
        assert [event["type"] for event in printed_json(capsys)] == ["download.cancelled"]


async def test_connect_to_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running() as (_, server):
        found(monkeypatch, server)
        assert await code_of(look.connect(STATE, "127.0.0.1:9", as_json=False)) == 4
        assert "nobody is there" in capsys.readouterr().err


async def test_shutdown_waits_for_the_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery, running() as (runtime, server):
        found(monkeypatch, server)
        monkeypatch.setattr(look, "is_published", lambda state, instance: False)

        async def end() -> None:
            await runtime.shutdown_requested.wait()
            await server.stop()

        nursery.start_soon(end)
        assert await look.shutdown(STATE, as_json=False) == 0


async def test_watch_prints_what_happens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int | None] = []
    async with trio.open_nursery() as nursery, running() as (runtime, server):
        found(monkeypatch, server)

        async def work() -> None:
            codes.append(await code_of(look.watch(STATE, as_json=False)))

        nursery.start_soon(work)
        await until(lambda: runtime.events.subscribers == 1)
        runtime.events.publish(warning(7))
        await trio.sleep(0.1)
    assert codes == [1]
    assert capsys.readouterr().out == "04:05:06 warning            7\n"


async def test_a_wrong_token_is_no_running_peer() -> None:
    async with running() as (_, server):
        with pytest.raises((BaseExceptionGroup, NoPeerError)) as caught:
            async with open_endpoint(Endpoint(api_url=server.url, token="x", pid=1), STATE):
                pass
    assert app._find(caught.value, (NoPeerError,)) is not None


@asynccontextmanager
async def another_program(answer: bytes, heard: list[bytes]) -> AsyncIterator[Endpoint]:
    """What has the port of a peer that is gone; `heard` is what it was told."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            heard.append(await stream.receive_some())
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield Endpoint(api_url=f"http://127.0.0.1:{port}", token=TOKEN, pid=1)
        nursery.cancel_scope.cancel()


def lie(**told: object) -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(told).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nok\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 60_000,
        b"x" * 1_000_000,
        lie(instance="i", proof="0" * 64),
        lie(instance="\ud800", proof="\ud800"),
        lie(instance=1, proof=None),
    ],
)
async def test_another_program_on_the_port_never_sees_the_token(
    capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    heard: list[bytes] = []

    async def ask(endpoint: Endpoint) -> int:
        async with open_endpoint(endpoint, STATE):
            raise AssertionError("it was taken for a peer")

    async with another_program(answer, heard) as endpoint:
        assert await code_of(ask(endpoint)) == 3
        assert "another program answers at" in capsys.readouterr().err
    assert len(heard) == 1
    assert heard[0].startswith(b"GET /healthz?nonce=")
    assert TOKEN.encode() not in heard[0]


async def test_who_hangs_up_may_be_a_busy_peer(capsys: pytest.CaptureFixture[str]) -> None:
    async def ask(endpoint: Endpoint) -> int:
        async with open_endpoint(endpoint, STATE):
            return 0

    async with another_program(b"", []) as endpoint:
        assert await code_of(ask(endpoint)) == 1
    assert "hung up: either" in capsys.readouterr().err


async def test_a_peer_that_serves_all_it_can_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 2)
    async with running() as (_, server), front_end(server), front_end(server):
        found(monkeypatch, server)
        assert await code_of(look.status(STATE, as_json=True)) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "runs and serves as many clients as it can" in captured.err


async def test_a_whole_library_fits_in_one_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = FakeRuntime()
    runtime.all_games = tuple(a_game(f"game {number}") for number in range(20_000))
    async with running(runtime) as (_, server):
        found(monkeypatch, server)
        assert await look.games(STATE, as_json=True) == 0
    assert len(printed_json(capsys)[0]) == 20_000


def offered(*hashes: str, here: str = "") -> GameDetail:
    """A game of which these contents are offered."""
    variants = tuple(
        VariantView(
            version="1.0",
            manifest_hash="ab" * 32,
            content_hash=(one * 16)[:64],
            size=1000,
            peers=("p",),
            here=one == here,
        )
        for one in hashes
    )
    return GameDetail(game=a_game(downloaded=True), files=(), variants=variants)


class Variants(FakeRuntime):
    """It has a game in several variants, and takes a download of any."""

    def __init__(self, detail: GameDetail) -> None:
        super().__init__()
        self.detail = detail

    async def execute(self, command: PeerCommand) -> object:
        if isinstance(command, GetGame):
            return self.detail
        return await super().execute(command)


@pytest.mark.parametrize("here", ["beef", ""])
async def test_variants_are_listed_and_the_one_that_is_here_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: str
) -> None:
    async with running(Variants(offered("beef", "cafe", here=here))) as (_, server):
        found(monkeypatch, server)
        assert await variants.variants(STATE, "quake", as_json=False) == 0
        title, first, second, *rest = capsys.readouterr().out.splitlines()
        assert title.split() == ["VARIANT", "VERSION", "SIZE", "PEERS", "HERE"]
        assert first.split() == ["beefbeefbe", "1.0", "1.0", "kB", "1", "here" if here else "-"]
        assert second.split()[0] == "cafecafeca"
        assert rest == ([] if here else ["what is here is none of these"])
        assert await variants.variants(STATE, "quake", as_json=True) == 0
        assert [one["content_hash"] for one in printed_json(capsys)[0]] == [
            "beef" * 16,
            "cafe" * 16,
        ]


@pytest.mark.parametrize(
    ("given", "asked", "code"),
    [
        ("BEEFbeefbe", "beef" * 16, 0),
        ("beef" * 16, "beef" * 16, 0),
        ("ababab", "ab" * 32, 0),
        ("dead", "dead", 0),
        ("bee", "bee", 0),
        ("c0ff", None, 1),
    ],
)
async def test_the_start_of_a_hash_is_enough(
    monkeypatch: pytest.MonkeyPatch, given: str, asked: str | None, code: int
) -> None:
    runtime = Variants(offered("beef", "c0ffee", "c0ff00"))
    async with running(runtime) as (_, server):
        found(monkeypatch, server)
        assert await code_of(get.get_game(STATE, "quake", given, True, True)) == code
        downloads = [one for one in runtime.executed if isinstance(one, DownloadGame)]
        assert [one.variant for one in downloads] == ([] if asked is None else [asked])


def test_hashes_are_shown_as_far_as_they_differ() -> None:
    long = "a" * 12 + "b" * 52
    assert variants.shortest("a" * 64, ["a" * 64, long]) == "a" * 13
    assert variants.shortest(long, [long]) == "a" * 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"availability": "local_only"}, "partly here"),
        ({"availability": "local_only", "downloaded": True}, "downloaded, local only"),
        ({"availability": "local_only", "installed": True}, "installed"),
        ({}, "-"),
    ],
)
def test_what_is_here_is_said(changes: dict[str, object], said: str) -> None:
    other = {"downloaded": False, "installed": False, "availability": None, "operation": None}
    assert look._here({"update_available": False, **other, **changes}) == said
