"""The API of real peers, by a client that is not ours: everything as its schema says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from jsonschema import ValidationError
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lanspread.api import schema
from tests.api.outsider import (
    Judge,
    Outsider,
    RpcFault,
    connection,
    outsider,
    served_schema,
    slow_reader,
)
from tests.cli.processes import Peer
from tests.cli.test_local_operations import GAME, put

BARE = f"bare-{GAME}"
FILES = 300


@attrs.define
class Started:
    """A running peer, what it said, and its schema."""

    peer: Peer
    ready: dict[str, Any]
    judge: Judge

    def restart(self) -> None:
        """End it and start it again on its folders."""
        self.peer.end()
        self.peer = Peer(self.peer.state.parent)
        self.ready = self.peer.ready()


def start(peer: Peer) -> Started:
    ready = peer.ready()
    return Started(peer, ready, Judge(served_schema(ready)))


def put_bare(folder: Path) -> None:
    """A game of many files with long names and no archive in it."""
    game = folder / "games" / BARE
    for number in range(FILES):
        file = game / ("n" * 200) / ("n" * 200) / ("n" * 200) / f"{number:04}{'n' * 200}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (game / "version.ini").write_text("1.0", encoding="utf-8")


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A peer with two games, and nobody else about."""
    folder = tmp_path_factory.mktemp("lone")
    put(folder, "1.0")
    put_bare(folder)
    started = start(Peer(folder))
    yield started
    started.peer.kill()


def until_game(front: Outsider, **fields: Any) -> dict[str, Any]:
    """Wait until the game looks like this; every change is announced, so nothing is polled."""
    while True:
        for game in front.call("games.list"):
            if game["id"] == GAME and fields.items() <= game.items():
                return dict(game)
        front.expect("library.updated")


def refused(front: Outsider, method: str, **params: Any) -> str | None:
    with pytest.raises(RpcFault) as caught:
        front.call(method, **params)
    assert caught.value.number == -32000
    assert caught.value.remedy, "an error without a remedy"
    return caught.value.code


def test_every_command_and_the_events_of_a_game_s_life(tmp_path: Path) -> None:
    put(tmp_path / "source", "1.0")
    large = tmp_path / "source" / "games" / GAME / "large"
    large.write_bytes(bytes(range(256)) * 48_000)
    (tmp_path / "target" / "games" / BARE).mkdir(parents=True)
    (tmp_path / "target" / "games" / BARE / "version.ini").write_text("1.0", encoding="utf-8")
    source, target = Peer(tmp_path / "source"), Peer(tmp_path / "target")
    try:
        began, there = start(target), source.ready()
        with outsider(began.ready, began.judge) as front:
            look(front, began)
            meet(front, there)
            fetch(front)
            live(front, tmp_path)
            leave(front, tmp_path, source, there)
            assert front.called == set(front.hello["capabilities"])
            seen = {event["type"] for event in front.numbered()}
            assert began.judge.schema["x-events"].keys() >= seen
            assert seen >= MUST_BE_SEEN
    finally:
        source.kill()
        target.kill()


MUST_BE_SEEN = {
    "peer.connected", "peer.lost", "library.updated", "game.files",
    "download.begin", "download.paused", "download.resumed", "download.cancelled",
    "download.finished", "install.begin", "install.finished", "install.failed", "update.begin",
    "update.finished", "uninstall.begin", "uninstall.finished", "remove.begin", "remove.failed",
    "remove.finished",
}  # fmt: skip


def look(front: Outsider, began: Started) -> None:
    hello = front.hello
    assert (hello["api_version"], hello["peer_id"]) == (1, began.ready["peer_id"])
    subscribed = front.call("subscribe")
    assert subscribed["instance"] == hello["instance"] == began.ready["instance"]
    assert [game["id"] for game in subscribed["snapshot"]["games"]] == [BARE]
    status = front.call("status")
    assert status["listen"] == began.ready["listen"]
    assert front.call("peers.list") == []
    settings = front.call("settings.get")
    assert settings["games_dir"] == status["games_dir"]
    assert front.call("settings.set", max_down=1.5)["max_down"] == 1.5
    assert refused(front, "game.get", id="no-such-game") == "not_found"
    assert refused(front, "peers.connect", address=began.ready["listen"][0]) == "refused"
    assert refused(front, "game.remove", id="no-such-game") == "not_found"


def meet(front: Outsider, there: dict[str, Any]) -> None:
    assert front.call("peers.connect", address=there["listen"][0]) == {}
    connected = front.expect("peer.connected", peer_id=there["peer_id"])
    assert connected["data"]["state"] == "connected"
    assert until_game(front)["peers"] == [there["peer_id"]]
    detail = front.call("game.get", id=GAME)
    assert {file["path"] for file in detail["files"]} == {"version.ini", "game.eti", "large"}
    assert front.expect("game.files", id=GAME)["data"]["left_out"] == []


def fetch(front: Outsider) -> None:
    # The rate is 1.5 MB/s and the game 12 MB: there is time to do all this in the middle of it.
    begun = front.call("game.download", id=GAME)
    assert front.call("game.download", id=GAME) == begun
    assert front.expect("download.begin")["data"]["operation_id"] == begun["operation_id"]
    assert front.call("game.pause", id=GAME) == begun
    assert front.expect("download.paused", **begun)["data"]["reason"] == "user"
    assert refused(front, "settings.set_games_dir", path="/") == "busy"
    assert refused(front, "game.install", id=GAME) == "busy"
    assert front.call("game.resume", id=GAME) == begun
    front.expect("download.resumed", **begun)
    front.expect("download.progress", **begun)
    assert front.call("game.cancel", id=GAME) == begun
    front.expect("download.cancelled", **begun)
    assert until_game(front)["operation"] is None

    front.call("settings.set", max_down=0)
    part = front.call("game.download", id=GAME, files=["game.eti"])
    front.expect("download.finished", **part)
    assert until_game(front)["downloaded"] is False
    whole = front.call("game.download", id=GAME)
    assert front.expect("download.finished", **whole)["data"]["bytes_fetched"] > 0
    # Told after it is visible.
    (game,) = (game for game in front.call("games.list") if game["id"] == GAME)
    assert (game["downloaded"], game["local_version"], game["operation"]) == (True, "1.0", None)
    again = front.call("game.download", id=GAME)
    assert front.expect("download.finished", **again)["data"]["bytes_fetched"] == 0


def live(front: Outsider, folder: Path) -> None:
    installed = front.call("game.install", id=GAME)
    front.expect("install.begin", **installed)
    front.expect("install.finished", **installed)
    local = folder / "target" / "games" / GAME / "local"
    (local / "save").write_bytes(b"level 7")
    put(folder / "source", "2.0")
    until_game(front, eti_version="2.0", update_available=True)
    updated = front.call("game.update", id=GAME)
    front.expect("download.finished", **updated)
    front.expect("update.begin", **updated)
    assert front.expect("update.finished", **updated)["data"]["kept"] == ["save"]
    assert until_game(front)["installed_version"] == "2.0"
    gone = front.call("game.uninstall", id=GAME)
    front.expect("uninstall.finished", **gone)
    assert refused(front, "game.uninstall", id=GAME) == "not_available"
    removed = front.call("game.remove", id=GAME)
    assert front.expect("remove.finished", **removed)["data"]["kept"] == []
    for kind, code in (("install", "nothing_to_install"), ("remove", "folder_not_empty")):
        failed = front.call(f"game.{kind}", id=BARE)
        data = front.expect(f"{kind}.failed", **failed)["data"]
        assert data["code"] == code
        assert data["remedy"]


def leave(front: Outsider, folder: Path, source: Peer, there: dict[str, Any]) -> None:
    assert source.end()[0] == 0
    lost = front.expect("peer.lost", peer_id=there["peer_id"])["data"]
    assert lost["reason"].startswith("goodbye")
    assert lost["state"] == "lost"
    other = folder / "other"
    shutil.copytree(folder / "source" / "games", other)
    assert front.call("settings.set_games_dir", path=str(other)) == {}
    assert until_game(front)["local_version"] == "2.0"
    assert front.call("shutdown") == {}
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            front.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def happen(front: Outsider) -> int:
    """An event; its number."""
    front.call("game.get", id=GAME)
    seq: int = front.expect("game.files")["seq"]
    return seq


def test_what_was_missed_comes_back_and_a_restart_is_told(lone: Started) -> None:
    with outsider(lone.ready, lone.judge) as stays:
        stays.call("subscribe")
        with outsider(lone.ready, lone.judge) as leaves:
            leaves.call("subscribe")
            happen(stays)
            last = leaves.expect("game.files")["seq"]
            leaves.socket.socket.close()  # without a word
        for _ in range(8):
            happen(stays)
        with outsider(lone.ready, lone.judge) as back:
            since = {"instance": lone.ready["instance"], "seq": last}
            assert back.call("subscribe", since=since) == since
            newest = happen(stays)
            while not back.events or back.events[-1]["seq"] < newest:
                back.receive()
            assert back.numbered() == [one for one in stays.numbered() if one["seq"] > last]
            assert len(back.events) >= 9
            assert refused(back, "subscribe", since={**since, "seq": 10**9}) == "resync_required"
    token = lone.ready["token"]
    lone.restart()
    assert lone.ready["token"] == token
    with outsider(lone.ready, lone.judge) as back:
        assert back.hello["instance"] != since["instance"]
        assert refused(back, "subscribe", since=since) == "resync_required"
        assert back.call("subscribe")["snapshot"]["status"]["games"] == 2


def test_each_that_misbehaves_gets_its_answer_and_nobody_else_notices(lone: Started) -> None:
    with outsider(lone.ready, lone.judge) as bystander:
        bystander.call("subscribe")
        turned_away(lone)
        too_much(lone)
        nonsense(lone)
        one_that_never_reads(lone, bystander)
        assert bystander.numbered()
        assert bystander.call("status")["instance"] == lone.ready["instance"]


def turned_away(lone: Started) -> None:
    port = urlsplit(lone.ready["api_url"]).port
    own, token = lone.ready["api_url"], lone.ready["token"]
    cases: list[tuple[int, str | None, dict[str, Any]]] = [
        (401, None, {}),
        (401, "wrong", {}),
        (401, token[:-1], {}),
        (401, None, {"origin": own}),
        (403, token, {"origin": "http://evil.example"}),
        (403, token, {"origin": "null"}),
        (421, token, {"host": f"evil.example:{port}", "sock": slow_reader(lone.ready)}),
    ]
    for status, given, options in cases:
        with pytest.raises(InvalidStatus) as answer, connection(lone.ready, given, **options):
            pass
        assert answer.value.response.status_code == status, options
    with outsider(lone.ready, lone.judge, origin=own) as front:
        assert front.hello


def too_much(lone: Started) -> None:
    with outsider(lone.ready, lone.judge) as front:
        front.socket.send("x" * (2**20 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            front.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def nonsense(lone: Started) -> None:
    with outsider(lone.ready, lone.judge) as front:
        for text, code in (
            ("{", -32700),
            ("[]", -32600),
            ('{"jsonrpc": "2.0", "id": 1, "method": "game.play"}', -32601),
            ('{"jsonrpc": "2.0", "id": 1, "method": "game.get", "params": {"name": 1}}', -32602),
        ):
            front.socket.send(text)
            assert front.receive()["error"]["code"] == code
        assert front.call("status")


def one_that_never_reads(lone: Started, bystander: Outsider) -> None:
    with connection(
        lone.ready, lone.ready["token"], sock=slow_reader(lone.ready), max_queue=1
    ) as stalled:
        stalled.send('{"jsonrpc": "2.0", "id": 1, "method": "subscribe"}')
        bystander.judging = False
        sent = 0
        # More than may wait for one client: 32 MiB, of files' names.
        while sent < 32 * 2**20 * 1.5:
            sent += len(str(bystander.call("game.get", id=BARE)))
        bystander.judging = True
        got = 0
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                got += len(stalled.recv(timeout=10))
    # It learns why if it reads soon enough; it was cut off otherwise.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 4008
    assert got < sent / 2


def test_the_judge_can_say_no() -> None:
    judge = Judge(schema.build())
    game = {"seq": 1, "time": "2025-02-03T04:05:06.789Z", "type": "recovery.blocked"}
    good = {"jsonrpc": "2.0", "method": "event", "params": {**game, "data": {"id": "", "why": ""}}}
    judge.frame(good)
    for data in ({"id": ""}, {"id": "", "why": 1}, {"id": "", "why": "", "more": 1}):
        with pytest.raises(ValidationError):
            judge.frame({**good, "params": {**game, "data": data}})
    with pytest.raises(ValidationError):
        judge.frame({**good, "params": {**good["params"], "seq": None}})  # type: ignore[dict-item]
    with pytest.raises(ValidationError):
        judge.result("games.list", [{"id": "quake"}])
