"""The page in Firefox: the other engine sees, does and complains of the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.firefox import open_tab
from tests.browser.pair import Pair, put_game
from tests.fs.pictures import png


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    games = tmp_path / "other" / "games"
    put_game(games, "worms", "1.0", 1_000_000)
    ours = tmp_path / "ours" / "games" / "doom"
    ours.mkdir(parents=True)
    (ours / "cover.png").write_bytes(png())
    (ours / "version.ini").write_text("1.0")
    pair = Pair(tmp_path)
    try:
        yield pair
    finally:
        pair.end()


async def test_a_game_is_seen_and_fetched(pair: Pair, tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    profile.mkdir()
    async with open_tab(profile) as tab:
        await tab.goto(pair.url)
        await tab.wait("document.querySelector('#connection').textContent === 'Connected to ours'")
        await tab.wait("document.querySelector('.card[data-id=doom] img')?.naturalWidth === 6")
        await tab.wait("document.querySelector('.card[data-id=worms] .monogram')")
        await tab.evaluate("document.querySelector('.card[data-id=worms]').click()")
        await tab.wait("document.querySelector('.who')?.textContent.includes('other')")
        await tab.evaluate("document.querySelector('#game-actions .primary').click()")
        await tab.wait(
            "document.querySelector('.toast')?.textContent.includes('worms is downloaded')"
        )
        assert (pair.ours.games / "worms" / "version.ini").read_text() == "1.0"
        wide = await tab.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        assert await tab.complaints() == []
        await tab.reload()
        await tab.wait("document.querySelector('#game-standing').textContent === 'Downloaded'")
        assert await tab.complaints() == []

        # The ears are open: what may not be is heard.
        await tab.evaluate(
            "document.body.setAttribute('style', 'color: red'); console.error('ouch')"
        )
        await tab.wait("window.complaints.length > 0")
        heard = await tab.complaints()
        assert "policy: style-src-attr inline" in heard
        assert "error: ouch" in heard
