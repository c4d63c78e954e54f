"""The link that `lanspread status` shows opens the page of that peer, let in."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.cli.processes import Peer, command


def test_the_link_of_status_opens_the_page(tmp_path: Path, page: Page) -> None:
    peer = Peer(tmp_path, "--name", "cellar")
    try:
        token = peer.ready()["token"]
        shown = command(peer, "status").stdout
        (link,) = (line.split()[1] for line in shown.splitlines() if line.startswith("page "))
        assert link.endswith(f"/#token={token}")
        page.goto(link)
        expect(page.locator("#connection")).to_have_text("Connected to cellar")
        # For programs it is one of two: the API's address, and the token beside it.
        api = json.loads((peer.state / "api.json").read_text())
        assert link == f"{api['api_url']}/#token={api['token']}"
    finally:
        peer.kill()
