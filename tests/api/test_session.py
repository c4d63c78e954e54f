"""The WebSocket: calls, errors, subscription, and clients that misbehave. Real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket

from lanspread import limits
from lanspread.commands import (
    DownloadGame,
    GetStatus,
    InstallGame,
    PauseGame,
    PeerCommand,
    RemoveGame,
    ResumeGame,
    SetSettings,
    UninstallGame,
    UpdateGame,
)
from tests.api.fake import (
    INSTANCE,
    OTHER_ID,
    TOKEN,
    FakeRuntime,
    Front,
    begin,
    finished,
    front_end,
    port_of,
    progress,
    running,
    until,
    warning,
)


async def test_hello_comes_first() -> None:
    async with (
        running() as (_, server),
        open_websocket(
            "127.0.0.1",
            port_of(server),
            "/ws",
            use_ssl=False,
            extra_headers=[
                (b"Authorization", f"Bearer {TOKEN}".encode()),
                (b"Origin", server.url.encode()),
            ],
        ) as socket,
    ):
        hello = await Front(socket).receive()
    assert hello["method"] == "hello"
    assert hello["params"]["api_version"] == 1
    assert hello["params"]["instance"] == INSTANCE
    assert hello["params"]["name"] == "mine"
    assert "subscribe" in hello["params"]["capabilities"]
    assert "id" not in hello


async def test_answers_have_the_shape_of_the_contract() -> None:
    async with running() as (_, server), front_end(server) as front:
        games = (await front.call("games.list", {}))["result"]
        assert games[0]["local_version"] is None
        assert "description" not in games[0]
        assert games[0]["peers"] == [OTHER_ID]
        detail = (await front.call("game.get", {"id": "quake"}))["result"]
        assert detail["id"] == "quake"
        assert detail["year"] == 1996
        assert detail["availability"] == "ready"
        assert detail["files"] == [{"path": "version.ini", "size": 3}]
        assert detail["variants"][0]["content_hash"] is None
        peers = (await front.call("peers.list"))["result"]
        assert peers[0]["state"] == "connected"
        assert peers[0]["features"] == {"x": 1}
        status = (await front.call("status"))["result"]
        assert status["operations"][0]["operation_id"] == "op-0"
        started = await front.call("game.download", {"id": "stuck", "files": ["a"], "variant": "f"})
        assert started["result"] == {"operation_id": "op-2"}


@pytest.mark.parametrize("id_", ["text", "", 7, -(2**53), None])
async def test_ids_are_echoed(id_: object) -> None:
    async with running() as (_, server), front_end(server) as front:
        answer = await front.call("status", id_=id_)
    assert answer["id"] == id_
    assert answer["jsonrpc"] == "2.0"


FAULTS: list[tuple[str, int]] = [
    ("", -32700),
    ("{", -32700),
    ("nonsense", -32700),
    ('{"a": 1} x', -32700),
    ("[" * 100_000, -32700),
    ("[]", -32600),
    ('[{"jsonrpc": "2.0", "id": 1, "method": "status"}]', -32600),
    ("1", -32600),
    ("null", -32600),
    ("{}", -32600),
    ('{"jsonrpc": "1.0", "id": 1, "method": "status"}', -32600),
    ('{"jsonrpc": 2.0, "id": 1, "method": "status"}', -32600),
    ('{"jsonrpc": "2.0", "id": true, "method": "status"}', -32600),
    ('{"jsonrpc": "2.0", "id": 1.5, "method": "status"}', -32600),
    ('{"jsonrpc": "2.0", "id": [], "method": "status"}', -32600),
    ('{"jsonrpc": "2.0", "id": 99999999999999999999, "method": "status"}', -32600),
    ('{"jsonrpc": "2.0", "id": 1}', -32600),
    ('{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
    ('{"jsonrpc": "2.0", "id": 1, "method": "nothing"}', -32601),
    ('{"jsonrpc": "2.0", "id": 1, "method": "game.play", "params": {"id": "x"}}', -32601),
    ('{"jsonrpc": "2.0", "id": 1, "method": "status", "params": []}', -32602),
    ('{"jsonrpc": "2.0", "id": 1, "method": "status", "params": null}', -32602),
    ('{"jsonrpc": "2.0", "id": 1, "method": "game.get"}', -32602),
]


@pytest.mark.parametrize(("frame", "code"), FAULTS)
async def test_protocol_faults(frame: str, code: int) -> None:
    async with running() as (_, server), front_end(server) as front:
        await front.socket.send_message(frame)
        answer = await front.receive()
        assert answer["error"]["code"] == code
        assert (await front.call("status"))["result"]["peers"] == 1


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("game.get", {"id": 5}, "id"),
        ("game.get", {"id": None}, "id"),
        ("game.get", {"id": ["quake"]}, "id"),
        ("game.get", {"id": "quake", "extra": 1}, "extra"),
        ("game.download", {"id": "quake", "files": "a"}, "files"),
        ("game.download", {"id": "quake", "files": [1]}, "files"),
        ("game.download", {"id": "quake", "variant": 12}, "variant"),
        ("peers.connect", {"address": {}}, "address"),
        ("subscribe", {"since": 5}, "since"),
        ("subscribe", {"since": {"instance": "x"}}, "since.seq"),
        ("subscribe", {"since": {"instance": "x", "seq": "1"}}, "since.seq"),
        ("subscribe", {"since": {"instance": "x", "seq": 1.0}}, "since.seq"),
        ("subscribe", {"since": {"instance": "x", "seq": True}}, "since.seq"),
        ("subscribe", {"until": 1}, "until"),
    ],
)
async def test_wrong_parameters_are_named(method: str, params: Any, name: str) -> None:
    async with running() as (runtime, server), front_end(server) as front:
        error = (await front.call(method, params))["error"]
    assert error["code"] == -32602
    assert name in error["message"]
    assert runtime.executed == []


async def test_application_errors_carry_code_and_remedy() -> None:
    async with running() as (_, server), front_end(server) as front:
        error = (await front.call("peers.connect", {"address": "x:1"}))["error"]
    assert error == {
        "code": -32000,
        "message": "nobody is there",
        "data": {"code": "not_found", "remedy": "check the address"},
    }


@pytest.mark.parametrize("id_", ["broken", "odd"])
async def test_a_bug_is_one_answer_and_nothing_else(id_: str) -> None:
    async with running() as (_, server), front_end(server) as front, front_end(server) as other:
        error = (await front.call("game.get", {"id": id_}))["error"]
        assert error["data"]["code"] == "internal"
        assert "only this test" not in json.dumps(error)
        assert "result" in await front.call("status")
        assert "result" in await other.call("status")


async def test_notifications_are_carried_out_and_not_answered() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        await front.send(jsonrpc="2.0", method="status")
        await front.send(jsonrpc="2.0", method="game.get", params={"id": "none"})
        await front.send(jsonrpc="2.0", method="unknown")
        answer = await front.call("status", id_=9)
    assert answer["id"] == 9
    assert runtime.executed.count(GetStatus()) == 2


async def test_a_call_that_waits_holds_up_no_other() -> None:
    runtime = FakeRuntime()
    runtime.hold = trio.Event()
    async with running(runtime) as (_, server), front_end(server) as front:
        await front.send(jsonrpc="2.0", id=1, method="game.get", params={"id": "hold"})
        assert (await front.call("status", id_=2))["id"] == 2
        runtime.hold.set()
        assert (await front.receive())["id"] == 1


async def test_calls_that_wait_are_bounded() -> None:
    runtime = FakeRuntime()
    runtime.hold = trio.Event()
    async with running(runtime) as (_, server), front_end(server) as front:
        for number in range(40):
            await front.send(jsonrpc="2.0", id=number, method="game.get", params={"id": "hold"})
        await trio.sleep(0.2)
        assert runtime.waiting == 32
        runtime.hold.set()
        answered = {(await front.receive())["id"] for _ in range(40)}
    assert answered == set(range(40))


# -- subscription ---------------------------------------------------------------------------------


async def test_subscribe_gives_a_snapshot_then_events_without_a_gap() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        runtime.events.publish(warning(0))
        result = (await front.call("subscribe", {}))["result"]
        assert result["instance"] == INSTANCE
        assert result["seq"] == 1
        assert result["snapshot"]["games"][0]["id"] == "quake"
        assert result["snapshot"]["peers"][0]["peer_id"] == OTHER_ID
        assert result["snapshot"]["status"]["games"] == 1
        for number in (1, 2, 3):
            runtime.events.publish(warning(number))
        for number in (1, 2, 3):
            event = await front.event()
            assert event["seq"] == number + 1
            assert event["time"] == "2025-02-03T04:05:06.789Z"
            assert event["type"] == "warning"
            assert event["data"]["message"] == str(number)


async def test_without_subscribe_no_events_come() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        runtime.events.publish(warning(0))
        assert (await front.call("status", id_=4))["id"] == 4


async def test_since_replays_what_was_missed() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        for number in range(5):
            runtime.events.publish(warning(number))
        since = {"instance": INSTANCE, "seq": 2}
        result = (await front.call("subscribe", {"since": since}))["result"]
        assert result == {"instance": INSTANCE, "seq": 2}
        runtime.events.publish(warning(5))
        assert [(await front.event())["seq"] for _ in range(4)] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "since",
    [
        {"instance": "another", "seq": 0},
        {"instance": INSTANCE, "seq": 1},
        {"instance": INSTANCE, "seq": 999_999},
        {"instance": INSTANCE, "seq": -1},
        {"instance": INSTANCE, "seq": -(2**60)},
    ],
)
async def test_since_that_is_not_known_needs_a_resync(since: dict[str, Any]) -> None:
    async with running() as (runtime, server), front_end(server) as front:
        for number in range(limits.EVENT_HISTORY + 2):
            runtime.events.publish(warning(number))
        error = (await front.call("subscribe", {"since": since}))["error"]
        assert error["data"]["code"] == "resync_required"
        assert "snapshot" in (await front.call("subscribe"))["result"]


async def test_the_whole_history_can_be_replayed() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        for number in range(limits.EVENT_HISTORY + 2):
            runtime.events.publish(warning(number))
        await front.call("subscribe", {"since": {"instance": INSTANCE, "seq": 2}})
        runtime.events.publish(warning(0))
        seqs = [(await front.event())["seq"] for _ in range(limits.EVENT_HISTORY + 1)]
    assert seqs == list(range(3, limits.EVENT_HISTORY + 4))


async def test_subscribing_again_replaces_the_subscription() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        for _ in range(20):
            await front.call("subscribe")
        assert runtime.events.subscribers == 1
        runtime.events.publish(warning(1))
        assert (await front.event())["seq"] == 1
        assert (await front.call("status", id_=3))["id"] == 3
    await until(lambda: not runtime.events.subscribers)


async def test_progress_has_no_number_and_never_follows_its_end() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        await front.call("subscribe")
        runtime.events.publish(begin("op-1"))
        for done in range(50):
            runtime.events.publish(progress("op-1", done))
        event = await front.event()
        assert event["type"] == "download.begin"
        event = await front.event()
        assert (event["seq"], event["data"]["done_bytes"]) == (None, 49)
        runtime.events.publish(progress("op-1", 60))
        runtime.events.publish(finished("op-1"))
        runtime.events.publish(progress("op-1", 70))
        runtime.events.publish(warning(1))
        assert (await front.event())["type"] == "download.finished"
        assert (await front.event())["type"] == "warning"


async def test_fifty_front_ends_see_the_same() -> None:
    async with running() as (runtime, server), trio.open_nursery() as nursery:
        seen: list[list[int]] = []
        ready = []

        async def one() -> None:
            async with front_end(server) as front:
                await front.call("subscribe")
                ready.append(1)
                seen.append([(await front.event())["seq"] for _ in range(100)])

        for _ in range(50):
            nursery.start_soon(one)
        await until(lambda: len(ready) == 50)
        for number in range(100):
            runtime.events.publish(warning(number))
    assert seen == [list(range(1, 101))] * 50


async def test_downloads_answer_with_their_operation() -> None:
    async with running() as (runtime, server), front_end(server) as front:
        await front.call("subscribe")
        await front.send(jsonrpc="2.0", id=5, method="game.download", params={"id": "quake"})
        seen = [await front.receive() for _ in range(3)]
    kinds = [message["params"]["type"] for message in seen if "method" in message]
    assert kinds == ["download.begin", "download.finished"]
    assert [message["result"] for message in seen if "id" in message] == [{"operation_id": "op-1"}]
    assert runtime.executed == [DownloadGame(id="quake")]


@pytest.mark.parametrize(
    ("method", "params", "command"),
    [
        ("game.install", {"id": "x"}, InstallGame(id="x")),
        ("game.update", {"id": "x"}, UpdateGame(id="x")),
        ("game.uninstall", {"id": "x"}, UninstallGame(id="x")),
        ("game.remove", {"id": "x"}, RemoveGame(id="x", force=False)),
        ("game.remove", {"id": "x", "force": True}, RemoveGame(id="x", force=True)),
        ("game.pause", {"id": "x"}, PauseGame(id="x")),
        ("game.resume", {"id": "x"}, ResumeGame(id="x")),
        ("settings.set", {"max_up": 3}, SetSettings(max_up=3.0)),
    ],
)
async def test_what_can_be_done_with_a_game_is_asked_for_by_name(
    method: str, params: dict[str, object], command: PeerCommand
) -> None:
    async with running() as (runtime, server), front_end(server) as front:
        answer = await front.call(method, params)
        assert answer["error"]["data"]["code"] == "not_found"
        wrong = await front.call(method, {**params, "saves": "too"})
        assert wrong["error"]["code"] == -32602
    assert runtime.executed == [command]
