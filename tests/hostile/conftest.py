"""Fixtures of the hostile-peer tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lanspread.testing import VirtualLan
from tests.hostile.support import Scene, open_scene
from tests.peers.support import Party


@pytest.fixture
async def scene(lan: VirtualLan, party: Party, tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(lan, party, tmp_path) as scene:
        yield scene
