"""Clients that misbehave or vanish, and the end of the API. Real sockets."""

from __future__ import annotations

import contextlib
import json

import pytest
import trio

from lanspread import limits
from tests.api.fake import (
    FakeRuntime,
    a_game,
    a_peer,
    closing,
    front_end,
    port_of,
    running,
    until,
)
from tests.api.raw import frame, raw_websocket


async def test_a_frame_of_a_mebibyte_is_read_and_a_larger_one_closes() -> None:
    async with running() as (_, server), front_end(server) as front:
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "nothing", "x": ""})
        await front.socket.send_message(
            text[:-2] + "x" * (limits.MAX_MESSAGE_BYTES - len(text)) + text[-2:]
        )
        assert (await front.receive())["error"]["code"] == -32601
        await front.socket.send_message("x" * (limits.MAX_MESSAGE_BYTES + 1))
        assert await closing(front) == 1009


async def test_the_limit_counts_bytes() -> None:
    async with running() as (_, server), front_end(server) as front:
        await front.socket.send_message("地" * (limits.MAX_MESSAGE_BYTES // 3 + 1))
        assert await closing(front) == 1009


async def test_binary_frames_are_not_taken() -> None:
    async with running() as (_, server), front_end(server) as front:
        await front.socket.send_message(b"{}")
        assert await closing(front) == 1003


@pytest.mark.parametrize(
    "data",
    [b"\xff" * 64, b"\x81\x05hello", frame(b"\xff\xfe"), b"\x88\x80\0\0\0\0", b"\x80\x80\0\0\0\0"],
)
async def test_broken_framing_ends_that_client_only(data: bytes) -> None:
    async with running() as (_, server), front_end(server) as other:
        stream = await raw_websocket(server)
        async with stream:
            await stream.send_all(data)
            with trio.fail_after(5):
                while await stream.receive_some():
                    pass
        assert "result" in await other.call("status")


async def test_fragments_that_make_no_message_are_not_collected_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lanspread.api.stream.MAX_UNFINISHED_BYTES", 600_000)
    async with running() as (_, server), front_end(server) as other:
        stream = await raw_websocket(server)
        first, empty = bytes([0x01, 0x80, 0, 0, 0, 0]), bytes([0x00, 0x80, 0, 0, 0, 0])
        await stream.send_all(first)
        with trio.fail_after(60), contextlib.suppress(trio.BrokenResourceError):
            while server.clients == 2:
                await stream.send_all(empty * 10_000)
                await trio.sleep(0.001)
        assert "result" in await other.call("status")
        await trio.aclose_forcefully(stream)


async def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    async with running() as (runtime, server):
        stream = await raw_websocket(server)
        call = b'{"jsonrpc":"2.0","id":1,"method":"subscribe"}'
        await stream.send_all(frame(call))
        await until(lambda: runtime.events.subscribers > 0)
        await trio.aclose_forcefully(stream)
        await until(lambda: not (server.clients or runtime.events.subscribers))


async def test_values_no_encoder_takes_do_not_break_the_answer() -> None:
    runtime = FakeRuntime()
    odd = {"big": 2**70, "raw": b"\xff", "nan": float("nan"), "deep": {"lone": "\ud800"}}
    runtime.all_peers = (a_peer(features=odd, name="a\ud800b"),)
    runtime.all_games = (a_game("x\udcff"), a_game("quake"))
    async with running(runtime) as (_, server), front_end(server) as front:
        peer = (await front.call("peers.list"))["result"][0]
        assert peer["features"] == {
            "big": str(2**70), "raw": "ff", "nan": None, "deep": {"lone": "?"},
        }  # fmt: skip
        assert [game["id"] for game in (await front.call("games.list"))["result"]][1] == "quake"


# -- the end --------------------------------------------------------------------------------------


async def test_shutdown_is_answered_then_everyone_is_told() -> None:
    async with (
        running() as (runtime, server),
        front_end(server) as front,
        front_end(server) as other,
        trio.open_nursery() as nursery,
    ):

        async def ask() -> None:
            assert (await front.call("shutdown"))["result"] == {}
            assert await closing(front) == 1001

        nursery.start_soon(ask)
        await runtime.shutdown_requested.wait()
        with trio.fail_after(2):
            await server.stop()
        assert await closing(other) == 1001


async def test_leaving_is_quick_with_a_client_that_does_not_answer() -> None:
    runtime = FakeRuntime()
    runtime.hold = trio.Event()
    async with running(runtime) as (_, server):
        stream = await raw_websocket(server)
        call = b'{"jsonrpc":"2.0","id":1,"method":"game.get","params":{"id":"hold"}}'
        await stream.send_all(frame(call))
        slow = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        await trio.sleep(0.1)
        started = trio.current_time()
    assert trio.current_time() - started < 1.5
    await trio.aclose_forcefully(stream)
    await trio.aclose_forcefully(slow)
