"""The clients in docs/api.md, as they stand there, with real peers and a cable that is pulled."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from scripts.generate import ROOT
from tests.api.cable import Cable
from tests.api.outsider import Judge, Outsider, outsider, served_schema
from tests.browser.support import PATIENCE_MS, open_browser
from tests.cli.processes import Peer
from tests.cli.test_local_operations import GAME, put

LINES = 41


def example(language: str) -> str:
    """The first block in this language under its own heading."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    _, _, part = page.partition(f"## A client in {language}\n")
    found = re.search(r"```\w+\n(.*?)```\n", part, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_clients_are_short() -> None:
    class_alone = example("Python").partition('\n\nif __name__ == "__main__"')[0]
    for code in (example("JavaScript"), class_alone):
        assert len([line for line in code.splitlines() if line.strip()]) <= LINES


LARGE = bytes(range(256)) * 48_000


def offered(front: Outsider, game: str = GAME) -> None:
    """Wait until the game can be fetched."""
    front.call("subscribe")
    while game not in {game["id"] for game in front.call("games.list")}:
        front.expect("library.updated")


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events if event["seq"] is not None]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A peer with two games; one is that of the page's program."""
    put(tmp_path / "peer", "1.0")
    games = tmp_path / "peer" / "games"
    (games / "quake").mkdir()
    for game in (GAME, "quake"):
        (games / game / "large").write_bytes(LARGE)
    (games / "quake" / "version.ini").write_text("1.0", encoding="utf-8")
    peer = Peer(tmp_path / "peer")
    yield peer
    peer.kill()


@pytest.fixture
def fetching(peer: Peer, tmp_path: Path) -> Iterator[Peer]:
    """One that may fetch them, 12 MB each at half a megabyte a second."""
    address = peer.ready()["listen"][0]
    fetching = Peer(tmp_path / "fetching", "--peer", address, "--max-down", "0.5")
    fetching.address = address
    yield fetching
    fetching.kill()


# How long what happens is missed: as long as a laptop is carried to another table.
AWAY_S = 30.0


def test_the_python_client_misses_half_a_minute_and_a_restart_and_loses_nothing(
    fetching: Peer, tmp_path: Path
) -> None:
    ready = fetching.ready()
    cable = Cable(ready["api_url"])
    program, api = tmp_path / "client.py", tmp_path / "api.json"
    program.write_text(example("Python"), encoding="utf-8")
    api.write_text(json.dumps({**ready, "api_url": cable.url}), encoding="utf-8")
    with outsider(ready, Judge(served_schema(ready))) as witness:
        offered(witness)
        client = start(sys.executable, str(program), str(api), GAME)
        events = [json.loads(line) for line in until(client, "download.progress")]
        cable.pull()
        # What it does not see: this is the one test that lets real time pass.
        witness.call("game.pause", id=GAME)
        witness.expect("download.paused")
        back_at = time.monotonic() + AWAY_S
        while time.monotonic() < back_at:
            witness.call("game.get", id=GAME)
            time.sleep(0.5)
        witness.call("game.resume", id=GAME)
        last = witness.expect("download.resumed")["seq"]
        cable.plug(ready["api_url"])
        for line in lines(client):
            events.append(json.loads(line))
            if events[-1]["seq"] == last:
                break
        missed = [one for one in witness.numbered() if one["seq"] > numbers(events)[0]]
        seen = {one["seq"]: one for one in events if one["seq"] is not None}
        assert [one for one in missed if one["seq"] <= last and seen.get(one["seq"]) != one] == []
        assert len([one for one in events if one["type"] == "game.files"]) > 5
    assert numbers(events) == list(range(numbers(events)[0], last + 1))
    cable.pull()
    again = again_without_a_limit(fetching)
    try:
        cable.plug(again.ready()["api_url"])
        out, err = client.communicate(timeout=60)
    finally:
        again.kill()
        client.kill()
    assert (client.returncode, err) == (0, "")
    # Another instance counts from one again; what led to its first snapshot is in that.
    later = [json.loads(line) for line in out.splitlines()]
    fresh = later[next(n for n, one in enumerate(later) if (one["seq"] or last) < last) :]
    assert numbers(fresh) == list(range(numbers(fresh)[0], numbers(fresh)[0] + len(numbers(fresh))))
    assert (later[-1]["type"], later[-1]["data"]["id"]) == ("download.finished", GAME)
    ticks = [datetime.fromisoformat(one["time"]) for one in events if one["seq"] is None]
    # At most two a second.
    assert all((third - first).total_seconds() > 0.9 for first, third in pairwise(ticks[::2]))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def lines(client: subprocess.Popen[str]) -> Iterator[str]:
    """What it prints, as it comes; it must not end meanwhile."""
    assert client.stdout is not None
    while line := client.stdout.readline():
        yield line
    assert client.stderr is not None
    raise AssertionError(client.stderr.read())


def until(client: subprocess.Popen[str], word: str) -> list[str]:
    """What it prints up to the line in which this is said."""
    said = []
    for line in lines(client):
        said.append(line)
        if word in line:
            break
    return said


def again_without_a_limit(fetching: Peer) -> Peer:
    """The same peer, after it ended in the middle of a download; now it may be fast."""
    fetching.end()
    return Peer(fetching.state.parent, "--peer", fetching.address)


def javascript() -> str:
    """Both blocks: the class, and the program that uses it."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    _, _, part = page.partition("## A client in JavaScript\n")
    blocks = re.findall(r"```js\n(.*?)```\n", part.partition("\n## ")[0], re.DOTALL)
    assert len(blocks) == 2
    return "\n".join(blocks)


def node() -> list[str]:
    """How Node is called so that it has a WebSocket; empty where there is none that has."""
    program = shutil.which("node")
    for options in ([], ["--experimental-websocket"]):
        if program is not None:
            asked = [program, *options, "-p", "typeof WebSocket"]
            said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
            if said.stdout.strip() == "function":
                return [program, *options, "--no-warnings"]
    return []


class InNode:
    """The program of the page in Node; what it logs."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        (folder / "client.mjs").write_text(javascript(), encoding="utf-8")
        self._client = start(*node(), str(folder / "client.mjs"), url, token)

    def wait_for(self, *words: str) -> None:
        for word in words:
            until(self._client, word)

    def end(self) -> None:
        self._client.kill()
        self._client.communicate()


class InChromium:
    """The same in a page of the peer's origin; the script comes from the test, not the peer."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self._stack = ExitStack()
        browser = self._stack.enter_context(open_browser())
        self._page = browser.new_context(bypass_csp=True).new_page()
        self._page.set_default_timeout(PATIENCE_MS)
        self._said: list[str] = []
        self._page.on("console", lambda message: self._said.append(message.text))
        self._page.goto(f"{url}/healthz#token={token}")
        self._page.add_script_tag(content=javascript())

    def wait_for(self, *words: str) -> None:
        for word in words:
            deadline = time.monotonic() + PATIENCE_MS / 1000
            while not (found := [n for n, one in enumerate(self._said) if word in one]):
                assert time.monotonic() < deadline, (word, self._said)
                self._page.wait_for_timeout(50)
            del self._said[: found[0] + 1]

    def end(self) -> None:
        self._stack.close()


@pytest.mark.parametrize("runs", [InChromium, *([InNode] if node() else [])])
def test_the_javascript_program_runs_through_a_loss_and_a_restart(
    fetching: Peer, tmp_path: Path, runs: type[InNode] | type[InChromium]
) -> None:
    ready = fetching.ready()
    cable = Cable(ready["api_url"])
    with outsider(ready, Judge(served_schema(ready))) as witness:
        offered(witness, "quake")
        client = runs(tmp_path, cable.url, ready["token"])
        try:
            client.wait_for("quake", "download.begin", "download.progress")
            cable.pull()
            witness.call("game.pause", id="quake")
            witness.expect("download.paused")
            witness.call("game.resume", id="quake")
            witness.expect("download.resumed")
            cable.plug(ready["api_url"])
            # In this order, and none of it a second time.
            client.wait_for("download.paused", "download.resumed", "download.progress")
            cable.pull()
            again = again_without_a_limit(fetching)
            try:
                cable.plug(again.ready()["api_url"])
                client.wait_for("quake", "download.finished")
            finally:
                again.kill()
        finally:
            client.end()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of the peer's origin; the script comes from the test, not from the peer."""
    with open_browser() as browser:
        page = browser.new_context(bypass_csp=True).new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page


USE = """
window.snapshots = []; window.events = [];
window.client = new Lanspread(location.origin, "TOKEN");
client.onsnapshot = (snapshot) => snapshots.push(snapshot);
client.onevent = (event) => events.push(event);
"""


def test_the_javascript_client_loses_nothing_and_resyncs(peer: Peer, page: Page) -> None:
    ready = peer.ready()
    judge = Judge(served_schema(ready))
    cable = Cable(ready["api_url"])
    page.goto(f"{cable.url}/healthz")
    page.add_script_tag(content=example("JavaScript"))
    with outsider(ready, judge) as witness:
        witness.call("subscribe")
        page.add_script_tag(content=USE.replace("TOKEN", ready["token"]))
        page.wait_for_function("snapshots.length === 1")
        first = page.evaluate("client.since.seq")
        detail = page.evaluate(f"client.call('game.get', {{id: '{GAME}'}})")
        judge.result("game.get", detail)
        error = page.evaluate("client.call('game.get', {id: ''}).catch((error) => error)")
        assert error["data"]["code"] == "not_found"
        cable.pull()
        page.wait_for_function("client.socket.readyState === WebSocket.CLOSED")
        assert "not connected" in page.evaluate("client.call('status').catch(String)")
        for _ in range(5):
            witness.call("game.get", id=GAME)
        last = witness.expect("game.files")["seq"] + 5
        cable.plug(ready["api_url"])
        page.wait_for_function(f"client.since.seq >= {last}")
        seen = numbers(page.evaluate("events"))
        assert seen == list(range(first + 1, first + 1 + len(seen)))
        assert page.evaluate("snapshots.length") == 1
    cable.pull()
    peer.end()
    again = Peer(peer.state.parent)
    try:
        cable.plug(again.ready()["api_url"])
        page.wait_for_function("snapshots.length === 2")
        instance = page.evaluate("client.since.instance")
        assert instance != ready["instance"]
        assert page.evaluate("client.call('status')")["instance"] == instance
    finally:
        again.kill()
