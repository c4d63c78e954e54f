"""A browser for each file of tests, a fresh page for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.support import PATIENCE_MS, Complaints, open_browser


# Not for the whole session: playwright leaves its event loop in this thread while it runs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def complaints() -> Complaints:
    """What the page complains of; a test may say what is to be expected."""
    return Complaints()


@pytest.fixture
def page(browser: Browser, complaints: Complaints) -> Iterator[Page]:
    """A page that may not complain, and asks nobody but the peer."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    complaints.watch(page)
    try:
        yield page
    finally:
        context.close()
    assert complaints.heard == []
