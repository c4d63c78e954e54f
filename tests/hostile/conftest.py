"""Fixtures of the hostile-peer tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread.testing import VirtualLan, open_virtual_lan
from tests.hostile.support import Scene, open_scene
from tests.peers.support import Party, open_party


@pytest.fixture
async def lan() -> AsyncIterator[VirtualLan]:
    # pytest-trio sees a clock only among the test's own arguments.
    assert isinstance(trio.lowlevel.current_clock(), MockClock), "the test lacks autojump_clock"
    async with open_virtual_lan(seed=1) as lan:
        yield lan


@pytest.fixture
async def party(lan: VirtualLan) -> AsyncIterator[Party]:
    async with open_party() as party:
        yield party


@pytest.fixture
async def scene(lan: VirtualLan, party: Party, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(lan, party, tmp_path) as scene:
        yield scene
