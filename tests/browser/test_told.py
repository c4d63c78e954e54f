"""What the page says of a game, a peer or a mistake is what is so."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import attrs
import pytest
from playwright.sync_api import Page, expect

from lanspread.commands import RemoveGame, SetGamesDir
from lanspread.events import DownloadPaused, PeerLost, RemoveFailed, Warning_
from lanspread.model import Availability
from lanspread.views import PeerState, VariantView
from tests.browser.stage import (
    ANNA,
    BEN,
    MB,
    Stage,
    StageRuntime,
    open_stage,
    some_games,
    some_peers,
)
from tests.browser.support import action, card, toast


def happen(warning: Warning_, runtime: StageRuntime) -> None:
    runtime.happen(warning)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with open_stage(some_games(), some_peers()) as stage:
        yield stage


def test_what_a_cancelled_download_left_is_said_and_can_be_removed(
    stage: Stage, page: Page
) -> None:
    stage.do(lambda runtime: runtime.set("meridian", availability=Availability.LOCAL_ONLY))
    page.goto(stage.url)
    expect(card(page, "Meridian")).to_contain_text("Partly here")
    card(page, "Meridian").click()
    expect(page.locator("#game-standing")).to_have_text("Partly here")
    expect(page.locator("#game-facts")).to_contain_text("Downloadedpartly")
    expect(action(page, "Download")).to_be_visible()
    action(page, "Remove").click()
    expect(page.get_by_role("alertdialog")).to_contain_text("This deletes what is here of it.")
    page.get_by_role("alertdialog").get_by_role("button", name="Remove").click()
    expect(toast(page, "Meridian")).to_be_visible()
    assert RemoveGame(id="meridian") in stage.runtime.commands


def test_the_variant_that_is_here_is_marked(stage: Stage, page: Page) -> None:
    one = VariantView(
        version="1.2", manifest_hash="ab" * 32, content_hash="cd" * 32, size=MB, peers=(ANNA,)
    )
    ours = attrs.evolve(one, content_hash="ef" * 32, peers=(BEN,), here=True)
    page.goto(stage.url)
    stage.do(lambda runtime: runtime.variants.update({"turbine": (one, ours)}))
    card(page, "Turbine").click()
    rows = page.locator("tbody tr")
    expect(rows.nth(0).get_by_role("button")).to_have_count(1)
    expect(rows.nth(1).get_by_role("button")).to_have_count(0)
    expect(rows.nth(1)).to_contain_text("Here")
    page.keyboard.press("Escape")
    others = (one, attrs.evolve(ours, here=False))
    stage.do(lambda runtime: runtime.variants.update({"turbine": others}))
    card(page, "Turbine").click()
    expect(page.locator("#game-detail")).to_contain_text("What is here is none of these.")


def test_speeds_are_of_now_only_while_something_comes(stage: Stage, page: Page) -> None:
    stage.do(lambda runtime: runtime.operation("hexmoor", 0.2))
    stage.do(lambda runtime: runtime.operation("skyhook", 0.2))
    page.goto(stage.url)
    anna = page.locator(".peer").filter(has_text="anna")
    ben = page.locator(".peer").filter(has_text="ben's laptop")
    stage.do(lambda runtime: runtime.rates("hexmoor", 3e6, {ANNA: 1e6, BEN: 2e6}))
    stage.do(lambda runtime: runtime.rates("skyhook", 4e6, {ANNA: 4e6}))
    expect(anna).to_contain_text("5.0\u00a0MB/s now, 4.0\u00a0MB/s at best")
    expect(ben).to_contain_text("2.0\u00a0MB/s now")
    # One of two pauses: the other goes on.
    paused = DownloadPaused(operation_id="op-hexmoor", id="hexmoor", reason="user")
    stage.do(lambda runtime: runtime.happen(paused))
    expect(ben.locator(".peer-speed")).to_have_text("2.0\u00a0MB/s at best")
    expect(anna).to_contain_text("4.0\u00a0MB/s now")
    lost = attrs.evolve(some_peers()[0], state=PeerState.LOST)
    stage.do(lambda runtime: runtime.happen(PeerLost(peer=lost, reason="silent")))
    expect(anna.locator(".peer-speed")).to_have_text("4.0\u00a0MB/s at best")


def test_a_name_at_the_beginning_of_a_message_is_written_as_it_is(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    expect(card(page, "Alpine Rally")).to_be_visible()
    failed = RemoveFailed(
        operation_id="op-1",
        id="quarry-9",
        code="busy",
        message="quarry-9 is busy: it is being installed",
        remedy="wait for it",
    )
    stage.do(lambda runtime: runtime.happen(failed))
    expect(toast(page, "Quarry 9")).to_contain_text("quarry-9 is busy: it is being installed.")
    expect(toast(page, "Quarry 9")).to_contain_text("Wait for it.")
    for message, said in (
        ("anna sent what nobody asked for", "anna sent what"),
        ("annals of the disk are full", "Annals of the disk"),
    ):
        warning = Warning_(code="test", message=message, remedy="")
        stage.do(partial(happen, warning))
        expect(toast(page, said)).to_be_visible()


def test_an_empty_games_folder_is_not_said_to_be_saved(stage: Stage, page: Page) -> None:
    page.goto(stage.url)
    expect(page.locator("#connection")).to_have_text("Connected to living room")
    page.get_by_role("button", name="Settings").click()
    dialog = page.get_by_role("dialog")
    folder = dialog.get_by_label("Games folder")
    folder.fill(" ")
    dialog.get_by_role("button", name="Save").click()
    note = dialog.locator("#settings-note")
    expect(note).to_contain_text("Games folder: a peer always has one; it is as it was.")
    expect(folder).to_have_value("/home/eva/games")
    expect(folder).to_be_focused()
    assert not [one for one in stage.runtime.commands if isinstance(one, SetGamesDir)]
