"""What all tests share: how long the long versions are, and a virtual LAN."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import hypothesis
import pytest

from lanspread.testing import VirtualLan
from tests.peers.support import Party, open_party

pytest_plugins = ["lanspread.testing.plugin", "pytester"]

SOAK = os.environ.get("LANSPREAD_SOAK") == "1"

# No deadline: the machine that runs the tests is shared, and a slow example is not a wrong one.
hypothesis.settings.register_profile("short", max_examples=100, deadline=None, derandomize=True)
hypothesis.settings.register_profile("soak", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile("soak" if SOAK else "short")


@pytest.fixture
def soak() -> bool:
    """Whether this run is the long one (`make soak`)."""
    return SOAK


@pytest.fixture
def lan(virtual_lan: VirtualLan) -> VirtualLan:
    """The virtual LAN of the test."""
    return virtual_lan


@pytest.fixture
async def party(virtual_lan: VirtualLan) -> AsyncIterator[Party]:
    """Peers on folders of the test's own."""
    async with open_party() as party:
        yield party
