"""The clients in docs/api.md, as they stand there, with real peers and a cable that is pulled."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
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

LINES = 50


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


def offered(front: Outsider) -> None:
    """Wait until the game can be fetched."""
    front.call("subscribe")
    while GAME not in {game["id"] for game in front.call("games.list")}:
        front.expect("library.updated")


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events if event["seq"] is not None]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A peer with the game."""
    put(tmp_path / "peer", "1.0")
    (tmp_path / "peer" / "games" / GAME / "large").write_bytes(LARGE)
    peer = Peer(tmp_path / "peer")
    yield peer
    peer.kill()


@pytest.fixture
def fetching(peer: Peer, tmp_path: Path) -> Iterator[Peer]:
    """One that may fetch the game, 12 MB of it at 4 MB/s."""
    address = peer.ready()["listen"][0]
    fetching = Peer(tmp_path / "fetching", "--peer", address, "--max-down", "4")
    yield fetching
    fetching.kill()


def test_the_python_client_loses_nothing(fetching: Peer, tmp_path: Path) -> None:
    ready = fetching.ready()
    cable = Cable(ready["api_url"])
    program, api = tmp_path / "client.py", tmp_path / "api.json"
    program.write_text(example("Python"), encoding="utf-8")
    api.write_text(json.dumps({**ready, "api_url": cable.url}), encoding="utf-8")
    with outsider(ready, Judge(served_schema(ready))) as witness:
        offered(witness)
        client = subprocess.Popen(
            [sys.executable, str(program), str(api), GAME],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert client.stdout is not None
            events = []
            for line in client.stdout:
                events.append(json.loads(line))
                if events[-1]["type"] == "download.progress":
                    break
            cable.pull()
            # What it does not see.
            for kind, told in (("pause", "paused"), ("resume", "resumed")):
                witness.call(f"game.{kind}", id=GAME)
                witness.expect(f"download.{told}")
            cable.plug(ready["api_url"])
            out, err = client.communicate(timeout=30)
        finally:
            client.kill()
    events += [json.loads(line) for line in out.splitlines()]
    assert (client.returncode, err) == (0, "")
    seen = numbers(events)
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    kinds = [event["type"] for event in events if event["type"].startswith("download.")]
    ticks = [datetime.fromisoformat(event["time"]) for event in events if event["seq"] is None]
    # At most two a second.
    assert all((third - first).total_seconds() > 0.9 for first, third in pairwise(ticks[::2]))
    assert [kind for kind in kinds if kind != "download.progress"] == [
        "download.begin", "download.paused", "download.resumed", "download.finished",
    ]  # fmt: skip


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
