"""The HTTP side of the API's port: what is answered, and what is refused before anything."""

from __future__ import annotations

import contextlib
import json
import re
from importlib import resources

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.api import http as http_module
from lanspread.api import open_api
from lanspread.errors import StartError
from lanspread.proof import is_proof
from lanspread.seams import Address
from tests.api.fake import (
    INSTANCE,
    TOKEN,
    UPGRADE,
    FakeRuntime,
    front_end,
    http,
    port_of,
    request,
    running,
    until,
)

BEARER = f"Bearer {TOKEN}"


async def test_health_needs_no_token() -> None:
    async with running() as (_, server):
        status, headers, body = await http(server, request("/healthz"))
    assert (status, body) == (200, b"ok\n")
    assert headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/metrics", "/schema", "/ws"])
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?token=", {}),
        ("?token=wrong", {}),
        ("", {"Authorization": "Bearer wrong"}),
        ("", {"Authorization": f"Basic {TOKEN}"}),
        (f"?Token={TOKEN}", {}),
        (f"?token=wrong&token={TOKEN}", {}),
        ("?token=%ff%fe", {}),
    ],
)
async def test_without_the_token_nothing_is_shown(
    path: str, query: str, headers: dict[str, str]
) -> None:
    async with running() as (_, server):
        status, answered, _ = await http(server, request(path + query, **headers, **UPGRADE))
    assert status == 401
    assert answered["www-authenticate"] == "Bearer"


async def test_metrics_with_either_form_of_token() -> None:
    async with running() as (_, server):
        for text in (
            request("/metrics", Authorization=BEARER),
            request(f"/metrics?token={TOKEN}"),
        ):
            status, _, body = await http(server, text)
            assert status == 200
            assert b"lanspread_up_bytes_per_second 1.5\n" in body
            assert b"lanspread_loop_lag_p99_seconds 0.02\n" in body
            assert b'lanspread_operations{state="running"} 1.0\n' in body
            assert b'lanspread_fetched_bytes_total{path="quic"} 3.0\n' in body
            assert b'lanspread_fetched_bytes_total{path="bulk"} 4.000000001e+09\n' in body


async def test_schema_describes_methods_and_events() -> None:
    async with running() as (_, server):
        status, _, body = await http(server, request("/schema", Authorization=BEARER))
    assert status == 200
    schema = json.loads(body)
    assert set(schema["x-methods"]) == {
        "subscribe", "status", "games.list", "game.get", "game.download", "game.cancel",
        "game.pause", "game.resume", "game.install", "game.update", "game.uninstall", "game.remove",
        "peers.list", "peers.connect", "settings.get", "settings.set", "settings.set_games_dir",
        "shutdown",
    }  # fmt: skip
    started = {"$ref": "#/$defs/OperationStarted"}
    for method in ("game.download", "game.cancel", "game.remove"):
        assert schema["x-methods"][method]["result"] == started
    for kind in ("install", "update", "uninstall", "remove"):
        for what in ("begin", "progress", "finished", "failed", "cancelled"):
            assert f"{kind}.{what}" in schema["x-events"]
    for kind in ("UpdateFinished", "RemoveFinished"):
        assert "kept" in schema["$defs"][kind]["required"]
        assert "kept_omitted" in schema["$defs"][kind]["properties"]
        assert "kept_omitted" not in schema["$defs"][kind]["required"]
    assert "download.progress" in schema["x-events"]
    assert "warning" in schema["x-events"]
    game = schema["$defs"]["Game"]
    assert "description" not in game["required"]
    assert "local_version" in game["required"]
    # Every reference leads somewhere.
    for reference in body.decode().split('"#/$defs/')[1:]:
        assert reference.partition('"')[0] in schema["$defs"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7374", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil",
     "[::2]", "::1", "127.0.0.1:x", "[::1%; script-src *]", "localhost@evil", "", "a:b:c"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/healthz", f"/ws?token={TOKEN}"])
async def test_foreign_host_is_misdirected(host: str, path: str) -> None:
    async with running() as (_, server):
        status, _, _ = await http(server, request(path, host, **UPGRADE))
    assert status == 421


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:80", "127.8.8.8", "localhost", "LOCALHOST:9", "[::1]", "[::1]:7374"],
)
async def test_loopback_hosts_are_served(host: str) -> None:
    async with running() as (_, server):
        status, _, _ = await http(server, request("/healthz", host))
    assert status == 200


async def test_configured_hosts_are_served() -> None:
    async with running(hosts=("Box.lan", "fd00::1")) as (_, server):
        for host in ("box.lan", "BOX.LAN:7374", "[fd00::1]:80"):
            assert (await http(server, request("/healthz", host)))[0] == 200
        assert (await http(server, request("/healthz", "other.lan")))[0] == 421


async def test_the_host_of_the_api_address_is_served() -> None:
    async with running(address=Address("0.0.0.0", 0)) as (_, server):
        assert server.url.startswith("http://127.0.0.1:")
        assert (await http(server, request("/healthz", "0.0.0.0")))[0] == 200


async def test_two_hosts_are_refused() -> None:
    async with running() as (_, server):
        status, _, _ = await http(
            server, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: localhost\r\n\r\n"
        )
    assert status == 400


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", ""]
)
async def test_foreign_origin_may_not_open_a_websocket(origin: str) -> None:
    async with running() as (_, server):
        host = f"127.0.0.1:{port_of(server)}"
        text = request(f"/ws?token={TOKEN}", host, Origin=origin, **UPGRADE)
        assert (await http(server, text))[0] == 403


async def test_unknown_path_and_method() -> None:
    async with running() as (_, server):
        assert (await http(server, request("/nothing")))[0] == 404
        assert (await http(server, request("/../etc/passwd")))[0] == 404
        status, headers, _ = await http(server, request("/", method="POST"))
        assert (status, headers["allow"]) == (405, "GET")


async def test_websocket_path_without_an_upgrade() -> None:
    async with running() as (_, server):
        assert (await http(server, request("/ws", Authorization=BEARER)))[0] == 426
        old = {**UPGRADE, "Sec_WebSocket_Version": "8"}
        assert (await http(server, request("/ws", Authorization=BEARER, **old)))[0] == 426
        no_key = {name: value for name, value in UPGRADE.items() if "Key" not in name}
        assert (await http(server, request("/ws", Authorization=BEARER, **no_key)))[0] == 400


async def test_the_page_is_strict_and_holds_no_token() -> None:
    async with running() as (_, server):
        for path, kind in (("/", "html"), ("/app.js", "javascript"), ("/base.css", "css")):
            status, headers, body = await http(server, request(path, "localhost:9"))
            assert status == 200
            assert kind in headers["content-type"]
            assert TOKEN.encode() not in body
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
            assert "connect-src 'self' ws://localhost:9;" in policy
        status, _, body = await http(server, request("/"))
        # Nothing inline, nothing from elsewhere: the policy would not allow it.
        assert b"<script>" not in body
        assert b"style=" not in body
        # That every address is ours or a mere example is shown of each file below.
        assert b"http" not in re.sub(rb"<code>[^<]*</code>", b"", body)


@pytest.mark.parametrize(
    "garbage", ["\r\n\r\n", "hello\r\n\r\n", "GET / HTTP/1.1\r\nHost x\r\n\r\n", "\x16\x03\x01" * 9]
)
async def test_what_is_not_http_is_refused(garbage: str) -> None:
    async with running() as (_, server):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        async with stream:
            await stream.send_all(garbage.encode("latin-1") + b"\r\n\r\n")
            with trio.fail_after(10):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")
        assert (await http(server, request("/healthz")))[0] == 200


async def test_endless_head_is_refused() -> None:
    async with running() as (_, server):
        status, _, _ = await http(
            server,
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + "x" * limits.MAX_HTTP_HEAD_BYTES * 8,
        )
    assert status == 431


async def test_slow_head_is_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanspread.api.server.HEAD_TIMEOUT_S", 0.2)
    async with running() as (_, server):
        assert (await http(server, "GET / HTTP/1.1\r\n"))[0] == 408


async def test_who_says_nothing_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_API_CONNECTIONS", 3)
    async with running() as (_, server):
        streams = [await trio.open_tcp_stream("127.0.0.1", port_of(server)) for _ in range(3)]
        await until(lambda: server.clients == 3)
        assert (await http(server, request("/healthz")))[0] == 200
        with trio.fail_after(5):
            with contextlib.suppress(trio.BrokenResourceError):
                assert await streams[0].receive_some() == b""
        for stream in streams:
            await stream.aclose()
        await until(lambda: not server.clients)


async def test_a_client_too_many_is_told_and_who_only_asks_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 2)
    async with running() as (_, server), front_end(server), front_end(server):
        upgrade = request(f"/ws?token={TOKEN}", **UPGRADE)
        status, headers, body = await http(server, upgrade)
        assert (status, headers["retry-after"]) == (503, "5")
        assert body == b"this peer serves 2 clients already\n"
        assert (await http(server, request("/ws?token=wrong", **UPGRADE)))[0] == 401
        assert (await http(server, request("/healthz")))[0] == 200
    async with running() as (_, server):
        async with front_end(server), front_end(server):
            pass
        await until(lambda: not server.sockets)
        async with front_end(server) as front:
            assert "result" in await front.call("status")


NONCE = "0123456789-abcdef_"


async def test_who_has_the_token_proves_it_without_giving_it() -> None:
    async with running() as (_, server):
        status, headers, body = await http(server, request(f"/healthz?nonce={NONCE}"))
        assert (status, headers["content-type"]) == (200, "application/json")
        told = json.loads(body)
        assert set(told) == {"instance", "proof"}
        assert told["instance"] == INSTANCE
        assert is_proof(told["proof"], TOKEN, INSTANCE, NONCE)
        for token, instance, nonce in (
            ("another", INSTANCE, NONCE),
            (TOKEN, "another", NONCE),
            (TOKEN, INSTANCE, NONCE + "1"),
        ):
            assert not is_proof(told["proof"], token, instance, nonce)
        assert TOKEN.encode() not in body
        for poor in ("short", "x" * 129, "", "%00" * 20):
            assert (await http(server, request(f"/healthz?nonce={poor}")))[2] == b"ok\n"


async def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_API_CONNECTIONS", 2)
    async with running() as (_, server), front_end(server), front_end(server):
        stream = await trio.open_tcp_stream("127.0.0.1", port_of(server))
        with trio.fail_after(5):
            with contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        await stream.aclose()


async def test_a_port_that_was_given_and_is_taken_is_an_error() -> None:
    async with running() as (_, server):
        with pytest.raises(StartError, match="the port is taken") as caught:
            async with open_api(FakeRuntime(), Address("127.0.0.1", port_of(server))):
                pass
        assert not caught.value.usage


async def test_the_default_port_that_is_taken_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as (_, server):
        taken = Address("127.0.0.1", port_of(server))
        monkeypatch.setattr("lanspread.api.server.DEFAULT_ADDRESS", taken)
        async with open_api(FakeRuntime(), None) as second:
            assert port_of(second) != port_of(server)
            assert (await http(second, request("/healthz")))[0] == 200


@given(st.binary(max_size=300))
def test_no_head_makes_the_parser_fail(data: bytes) -> None:
    try:
        http_module.parse_head(data)
    except http_module.Refused as refused:
        assert 400 <= refused.status < 600  # noqa: PT017


@given(st.text(max_size=40))
def test_only_loopback_is_allowed_without_configuration(header: str) -> None:
    if http_module.host_allowed(header, ()):
        name = http_module.host_name(header)
        assert name is not None
        assert name == "localhost" or name == "::1" or name.startswith("127.") or ":" in name


async def test_a_picture_needs_its_key_and_nothing_else() -> None:
    async with running() as (_, server):
        status, headers, body = await http(server, request("/cover/a%2Fb%20c?key=good"))
        assert (status, body) == (200, b"a/b c")
        assert headers["content-type"] == "image/png"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        for path in ("/cover/quake", "/cover/quake?key=", f"/cover/quake?token={TOKEN}", "/cover/"):
            status, headers, _ = await http(server, request(path))
            assert status == 404
            assert headers["cache-control"] == "no-store"
        status, _, _ = await http(server, request("/cover/quake?key=good", host="evil.example"))
        assert status == 421


async def test_the_page_is_every_file_of_its_folder_and_none_from_elsewhere() -> None:
    folder = resources.files("lanspread.api").joinpath("static")
    there = {entry.name for entry in folder.iterdir()}
    assert there == {name for name, _ in http_module.PAGE.values()}
    for entry in folder.iterdir():
        text = entry.read_text("utf-8")
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        for address in re.findall(r"https?://[^\s\"'`]+", text):
            # An example in a text for people is no address that is loaded.
            example = address.startswith("http://127.0.0.1:7374/#token=…<")
            assert example or address == "http://www.w3.org/2000/svg", (entry.name, address)
