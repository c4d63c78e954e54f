"""Clients that do not read: each is told 4008 as far as TCP lets it be, and cut off; nobody else
notices. Real sockets, on which nothing is read until the server has parted from them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, suppress

import pytest
import trio
import trio.testing

from lanspread import limits
from lanspread.api import ApiServer
from lanspread.api import stream as stream_module
from lanspread.api.session import TOO_SLOW_FRAME
from lanspread.api.stream import ClientStream
from tests.api.fake import FakeRuntime, a_game, front_end, running, until, warning
from tests.api.raw import CLOSE, frame, frames, raw_websocket, read_to_the_end

SUBSCRIBE = frame(b'{"jsonrpc":"2.0","id":1,"method":"subscribe"}')
GAMES = frame(b'{"jsonrpc":"2.0","id":1,"method":"games.list"}')
WORDS = b"\x0f\xa8this client does not read"


async def stalled(server: ApiServer) -> trio.SocketStream:
    """A client that subscribes and reads nothing more."""
    before = server.sockets
    stream = await raw_websocket(server, receive_bytes=4096)
    await stream.send_all(SUBSCRIBE)
    assert server.sockets == before + 1
    return stream


def is_told(data: bytes) -> bool:
    """Whether what arrived ends with 4008; until then it is whole events, in order."""
    got = list(frames(data))
    events = [json.loads(payload) for opcode, payload in got if opcode == 1]
    seqs = [event["params"]["seq"] for event in events if event.get("method") == "event"]
    assert seqs == list(range(1, len(seqs) + 1))
    return bool(got) and got[-1] == (CLOSE, WORDS)


async def test_who_reads_no_events_is_told_behind_what_was_on_its_way() -> None:
    async with running() as (runtime, server), front_end(server) as other:
        await other.call("subscribe")
        stream = await stalled(server)
        await until(lambda: runtime.events.subscribers == 2)
        number = 0
        with trio.fail_after(30):
            while runtime.events.subscribers == 2:
                number += 1
                runtime.events.publish(warning(number, padding=60_000))
                assert (await other.event())["seq"] == number
        began = trio.current_time()
        await until(lambda: server.sockets == 1)
        assert trio.current_time() - began < 1.2
        assert "result" in await other.call("status")
        assert is_told(await read_to_the_end(stream))
        await stream.aclose()


async def test_who_takes_nothing_for_too_long_is_told_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "STALL_S", 0.3)
    async with running() as (runtime, server), front_end(server) as other:
        await other.call("subscribe")
        stream = await stalled(server)
        await until(lambda: runtime.events.subscribers == 2)
        for number in range(1, 200):  # fewer than may wait
            runtime.events.publish(warning(number, padding=10_000))
            assert (await other.event())["seq"] == number
        await until(lambda: server.sockets == 1)
        assert runtime.events.subscribers == 1
        assert is_told(await read_to_the_end(stream))
        await stream.aclose()


async def test_who_reads_no_answers_is_cut_off_however_much_it_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "STALL_S", 0.3)
    runtime = FakeRuntime()
    runtime.all_games = tuple(a_game(f"game-{number}") for number in range(5_000))
    async with running(runtime) as (_, server):
        stream = await raw_websocket(server)
        with trio.fail_after(20), suppress(trio.BrokenResourceError):
            while server.clients:
                await stream.send_all(GAMES + frame(b"are you there", opcode=9))
                await trio.sleep(0.005)
        await until(lambda: not server.clients)
        await trio.aclose_forcefully(stream)


async def test_a_message_larger_than_the_system_takes_is_cut_off_in_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "STALL_S", 0.2)
    monkeypatch.setattr(stream_module, "FAREWELL_S", 0.2)
    runtime = FakeRuntime()
    runtime.all_games = tuple(a_game(f"game-{number}") for number in range(20_000))
    async with running(runtime) as (_, server):
        stream = await raw_websocket(server, receive_bytes=4096)
        await stream.send_all(GAMES)
        await until(lambda: not server.clients)
        assert list(frames(await read_to_the_end(stream))) == []
        await stream.aclose()


async def test_nobody_notices_even_if_all_others_read_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 12)
    async with AsyncExitStack() as stack:
        runtime, server = await stack.enter_async_context(running())
        other = await stack.enter_async_context(front_end(server))
        await other.call("subscribe")
        streams = [await stalled(server) for _ in range(11)]
        assert server.sockets == limits.MAX_CLIENTS
        await until(lambda: runtime.events.subscribers == 12)
        with trio.fail_after(60):
            number = 0
            while runtime.events.subscribers > 1:
                number += 1
                runtime.events.publish(warning(number, padding=60_000))
                assert (await other.event())["seq"] == number
        began = trio.current_time()
        await until(lambda: server.sockets == 1)
        assert trio.current_time() - began < 1.5
        for stream in streams:
            assert is_told(await read_to_the_end(stream))
            await stream.aclose()
        late = await stack.enter_async_context(front_end(server))
        assert "result" in await late.call("status")


async def test_a_stream_that_is_no_socket_gets_whole_frames_or_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = ClientStream(ours, b"", TOO_SLOW_FRAME)
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"an event that nobody takes")
    assert trio.current_time() == stream_module.STALL_S
    assert client.expelled
    assert not client.told
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"another")
    await client.expel()  # returns

    ours, theirs = trio.testing.lockstep_stream_pair()
    client = ClientStream(ours, b"", TOO_SLOW_FRAME)
    got = b""

    async def read() -> None:
        nonlocal got
        await trio.sleep(stream_module.FAREWELL_S / 2)
        got = bytes(await theirs.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await client.expel()
    assert client.told
    assert got == TOO_SLOW_FRAME
