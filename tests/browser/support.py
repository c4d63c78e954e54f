"""Chromium for the tests of the page, and what is asked of every page that it shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The machine that runs the tests is shared; nothing here waits longer than it has to.
PATIENCE_MS = 20_000


def chromium() -> str:
    """The system's Chromium. A test without it is skipped loudly, and fails in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found
    reason = "no chromium here; scripts/system-packages installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(f"NOT TESTED, {reason}")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """One Chromium, until the block is left."""
    program = chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGS))
        try:
            yield browser
        finally:
            browser.close()


@attrs.define
class Complaints:
    """What a page said in its console, and what it asked for that was not the peer's."""

    allowed: tuple[str, ...] = ()
    heard: list[str] = attrs.Factory(list)

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.heard.append(f"error: {error}"))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.allowed):
            self.heard.append(f"{kind}: {text}")

    def _request(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:")):
            self.heard.append(f"asked for {url}")


def check_accessible(page: Page) -> None:
    """No violation that axe finds, in light and in dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page).response["violations"]
        assert not found, f"{scheme}: " + "; ".join(map(_told, found))
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")


def _told(violation: dict[str, Any]) -> str:
    nodes = [f"{node['html'][:160]} ({node['failureSummary']})" for node in violation["nodes"][:3]]
    return f"{violation['id']}: {violation['help']}: {nodes}"


def card(page: Page, name: str) -> Locator:
    """A game on the shelf."""
    return page.locator(".card").filter(has=page.get_by_text(name, exact=True))


def action(page: Page, label: str) -> Locator:
    """A button on a game's page."""
    return page.get_by_role("group", name="What to do").get_by_role(
        "button", name=label, exact=True
    )


def toast(page: Page, text: str) -> Locator:
    """A notification."""
    return page.locator(".toast").filter(has_text=text)
