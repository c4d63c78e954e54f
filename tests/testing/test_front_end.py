"""A front-end's test against five whole peers, and the same peers behind real ports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock
from trio_websocket import connect_websocket_url

from lanspread.errors import Code, LanspreadError
from lanspread.testing import RpcFault, VirtualPeer, connect_api, open_virtual_lan, serve_api, until

ROOT = Path(__file__).parents[2]


async def test_a_front_end_downloads_a_game(
    autojump_clock: MockClock, peers: tuple[VirtualPeer, ...]
) -> None:
    anna, ben, *_ = peers
    async with connect_api(ben) as api:
        assert api.hello["peer_id"] == ben.peer_id
        snapshot = (await api.subscribe())["snapshot"]
        games = {game["id"]: game for game in snapshot["games"]}
        assert set(games) == {"Quake", "Chess", "Doom", "Tetris", "Worms"}
        assert games["Chess"]["peers"] == [anna.peer_id]
        assert len(games["Quake"]["peers"]) == 2
        operation = await api.call("game.download", id="Quake")
        finished = await api.wait_for("download.finished", "download.failed")
        assert finished["type"] == "download.finished"
        assert finished["data"]["operation_id"] == operation["operation_id"]
    assert ben.read_game("Quake") == anna.read_game("Quake")


async def test_errors_arrive_as_errors(
    autojump_clock: MockClock, peers: tuple[VirtualPeer, ...]
) -> None:
    async with connect_api(peers[0]) as api:
        with pytest.raises(LanspreadError) as caught:
            await api.call("game.download", id="Nothing")
        assert caught.value.code is Code.NOT_FOUND
        with pytest.raises(RpcFault, match="no method"):
            await api.call("game.fly")
        assert len(await api.call("peers.list")) == 4


async def test_many_clients_and_a_peer_that_goes(
    autojump_clock: MockClock, peers: tuple[VirtualPeer, ...]
) -> None:
    anna, ben, *_ = peers
    async with connect_api(anna) as first, connect_api(anna) as second:
        for api in (first, second):
            await api.subscribe()
        await ben.crash()
        for api in (first, second):
            lost = await api.wait_for("peer.lost")
            assert lost["data"]["name"] == "ben"


async def test_shutdown_by_the_api_ends_the_peer(
    autojump_clock: MockClock, peers: tuple[VirtualPeer, ...]
) -> None:
    anna = peers[0]
    async with connect_api(anna) as api:
        await api.call("shutdown")
    await until(lambda: not anna.is_running, 5)
    await anna.start()


async def test_a_real_port_refuses_the_mock_clock(
    autojump_clock: MockClock, peers: tuple[VirtualPeer, ...]
) -> None:
    with pytest.raises(RuntimeError, match="real clock"):
        async with serve_api(peers[0]):
            pass


async def test_a_real_port_in_real_time() -> None:
    with trio.fail_after(30):
        async with open_virtual_lan() as lan:
            peer = await lan.start_peer("anna")
            async with serve_api(peer) as url:
                page, token = url.split("/#token=")
                address = page.replace("http:", "ws:") + f"/ws?token={token}"
                async with trio.open_nursery() as nursery:
                    socket = await connect_websocket_url(nursery, address)
                    hello = json.loads(await socket.get_message())
                    assert hello["params"]["peer_id"] == peer.peer_id
                    await socket.aclose()


def test_the_command_prints_addresses_and_ends_by_a_signal() -> None:
    command = [sys.executable, "-m", "lanspread.testing", "--peers", "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split("\t") for _ in range(3)]
        assert [name for name, _ in lines] == ["anna", "ben", "carl"]
        for _, url in lines:
            with urllib.request.urlopen(url.split("#")[0] + "healthz", timeout=10) as answer:
                assert answer.read() == b"ok\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
