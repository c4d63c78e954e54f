"""Real peers in processes of their own, and a person at the page of one of them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pair import GAMES, Pair, put_game
from tests.browser.support import Complaints, action, card, check_accessible, toast
from tests.fs.pictures import png


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    for game, size in GAMES.items():
        put_game(folder / "other" / "games", game, "1.0", size)
    pair = Pair(folder)
    try:
        yield pair
    finally:
        pair.end()


def bar_of(page: Page) -> float:
    value: float = page.locator("#game-meter progress").evaluate("bar => bar.value")
    return value


def test_from_the_link_to_an_installed_game_and_back(pair: Pair, page: Page) -> None:
    page.goto(pair.url)
    expect(page.locator("#connection")).to_have_text("Connected to ours")
    expect(page.locator(".peer").filter(has_text="other")).to_contain_text("Connected")
    card(page, "quake").click()
    expect(page.get_by_role("heading", name="quake")).to_be_focused()
    expect(page.locator(".who")).to_contain_text("other")

    action(page, "Download").click()
    page.wait_for_function(
        """() => {
          const bar = document.querySelector("#game-meter progress");
          if (bar) (window.seen ??= new Set()).add(bar.value);
          return [...window.seen ?? []].filter((value) => value > 0 && value < 100).length >= 2;
        }"""
    )
    expect(page.locator("#game-meter")).to_contain_text("from other")
    expect(toast(page, "quake is downloaded")).to_be_visible()
    assert (pair.ours.games / "quake" / "version.ini").read_text() == "1.0"

    action(page, "Install").click()
    expect(toast(page, "quake is installed")).to_be_visible()
    expect(page.locator("#game-standing")).to_have_text("Installed")
    local = pair.ours.games / "quake" / "local"
    expect(page.locator("#game-facts")).to_contain_text(str(local))
    assert (local / "play.txt").read_text() == "quake 1.0"

    (local / "save.dat").write_text("level 7")
    put_game(pair.other.games, "quake", "2.0", 1_000_000)
    expect(action(page, "Update")).to_be_visible()
    action(page, "Update").click()
    expect(toast(page, "quake is updated")).to_contain_text("save.dat")
    expect(page.locator("#game-facts")).to_contain_text("2.0")
    assert (local / "play.txt").read_text() == "quake 2.0"
    assert (local / "save.dat").read_text() == "level 7"

    action(page, "Uninstall").click()
    asked = page.get_by_role("alertdialog")
    expect(asked).to_contain_text("saved games")
    page.keyboard.press("Escape")
    expect(asked).to_have_count(0)
    assert local.exists()
    action(page, "Uninstall").click()
    asked.get_by_role("button", name="Uninstall and delete saves").click()
    expect(toast(page, "quake is uninstalled")).to_be_visible()
    expect(page.locator("#game-standing")).to_have_text("Downloaded")
    assert not local.exists()

    action(page, "Remove").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Remove").click()
    expect(toast(page, "The download of quake is removed")).to_be_visible()
    expect(action(page, "Download")).to_be_visible()


def test_with_the_keyboard_alone(pair: Pair, page: Page) -> None:
    page.goto(pair.url)
    expect(card(page, "worms")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("worm")
    expect(page.locator(".card:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(card(page, "worms")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="worms")).to_be_focused()
    page.keyboard.press("Tab")
    expect(action(page, "Download")).to_be_focused()
    page.keyboard.press("Enter")
    # The button is gone; its place has the focus, so nothing is pressed by mistake.
    expect(page.get_by_role("group", name="What to do")).to_be_focused()
    expect(action(page, "Install")).to_be_visible()
    page.keyboard.press("Tab")
    expect(action(page, "Install")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#game-standing")).to_have_text("Installed")
    page.keyboard.press("Escape")
    expect(card(page, "worms")).to_be_focused()
    expect(card(page, "worms")).to_contain_text("Installed")


def test_a_download_that_fails_says_what_to_do(pair: Pair, page: Page) -> None:
    mine = pair.ours.games / "doom"
    mine.mkdir()
    (mine / "doom.eti").mkdir()
    (mine / "doom.eti" / "diary.txt").write_text("not to be touched")
    page.goto(f"{pair.url}&game=doom")
    action(page, "Download").click()
    failed = toast(page, "doom could not be downloaded")
    expect(failed).to_be_visible()
    expect(failed).to_have_role("alert")
    assert len(failed.locator(".remedy").inner_text()) > 10
    check_accessible(page)
    failed.get_by_role("button", name="Dismiss").click()
    expect(failed).to_have_count(0)
    assert (mine / "doom.eti" / "diary.txt").read_text() == "not to be touched"


def test_ours_is_restarted_while_the_page_is_open(
    pair: Pair, page: Page, complaints: Complaints
) -> None:
    complaints.allowed = ("ERR_CONNECTION_REFUSED", "WebSocket connection to", "net::ERR_")
    page.goto(pair.url)
    expect(card(page, "tetris")).to_be_visible()
    before = pair.ready
    assert pair.ours.end()[0] == 0
    expect(page.locator("#banner")).to_contain_text("Not connected")
    pair.start_ours_again()
    assert pair.ready["token"] == before["token"]
    assert pair.ready["instance"] != before["instance"]
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#connection")).to_have_text("Connected to ours")
    card(page, "tetris").click()
    expect(page.locator(".who")).to_contain_text("other")


def test_the_name_is_changed_and_others_see_it(pair: Pair, page: Page) -> None:
    page.goto(pair.url)
    page.get_by_role("button", name="Settings").click()
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_label("Name that others see")
    expect(name).to_have_value("ours")
    name.fill("Ève's sofa")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("#settings-note")).to_have_text("Saved.")
    page.keyboard.press("Escape")
    expect(page.locator("#connection")).to_have_text("Connected to Ève's sofa")
    page.goto(f"{pair.other_ready['api_url']}/#token={pair.other_ready['token']}")
    expect(page.locator(".peer")).to_contain_text("Ève's sofa")
    page.goto(pair.url)
    page.get_by_role("button", name="Settings").click()
    name.fill("ours")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("#settings-note")).to_have_text("Saved.")


# Last: the other peer does not come back.
def test_a_peer_that_leaves_in_the_middle(pair: Pair, page: Page) -> None:
    page.goto(f"{pair.url}&game=tetris")
    action(page, "Download").click()
    page.wait_for_function("() => document.querySelector('#game-meter progress')?.value > 0")
    pair.other.process.send_signal(signal.SIGTERM)
    expect(page.locator("#game-meter")).to_contain_text("Waiting for a peer that has it")
    expect(page.locator(".peer").filter(has_text="other")).to_contain_text("Gone")
    check_accessible(page)
    action(page, "Cancel").click()
    expect(toast(page, "tetris: cancelled")).to_be_visible()
    expect(page.locator("#game-meter")).to_be_hidden()
    # What came before it vanished is kept, and can be removed; then nobody is left who has it.
    expect(page.locator("#game-standing")).to_have_text("Partly here")
    expect(page.locator("#game-detail")).to_contain_text("Nobody else who is connected now")
    action(page, "Remove").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Remove").click()
    expect(toast(page, "The download of tetris is removed")).to_be_visible()
    expect(page.locator("#game-gone")).to_contain_text("nobody who is connected has it")
    assert not (pair.folder / "ours" / "games" / "tetris").exists()


def test_a_peer_that_vanishes_without_a_goodbye(tmp_path: Path, page: Page) -> None:
    put_game(tmp_path / "other" / "games", "tetris", "1.0", 60_000_000)
    pair = Pair(tmp_path, program=("-m", "tests.browser.impatient"))
    try:
        page.goto(f"{pair.url}&game=tetris")
        action(page, "Download").click()
        expect(page.locator("#game-meter")).to_contain_text("from other")
        pair.other.process.send_signal(signal.SIGKILL)
        expect(page.locator(".peer").filter(has_text="other")).to_contain_text("Gone")
        expect(page.locator("#game-meter")).to_contain_text("Waiting for a peer that has it")
        expect(page.locator("#peers-count")).to_have_text("0")
        # It comes back, and the download goes on by itself.
        pair.start_other_again()
        expect(page.locator("#game-meter")).to_contain_text("from other")
        expect(page.locator(".peer").filter(has_text="other")).to_contain_text("Connected")
    finally:
        pair.end()


def test_pictures_of_a_catalog(tmp_path: Path, page: Page, complaints: Complaints) -> None:
    complaints.allowed = ("404",)
    folder = tmp_path / "catalog"
    folder.mkdir()
    listed = [{"id": "tetris", "name": "Tetris", "cover": "tetris.png"}]
    (folder / "catalog.json").write_text(json.dumps(listed))
    (folder / "tetris.png").write_bytes(png())
    put_game(tmp_path / "other" / "games", "tetris", "1.0", 1000)
    pair = Pair(tmp_path, "--catalog", str(folder / "catalog.json"))
    try:
        page.goto(pair.url)
        picture = card(page, "Tetris").locator("img")
        expect(picture).to_have_js_property("naturalWidth", 6)
        # Replaced, and asked for with the old key by a page that had not kept it.
        (folder / "new.png").write_bytes(png(9, 12))
        (folder / "new.png").replace(folder / "tetris.png")
        address = picture.get_attribute("src")
        assert (
            page.evaluate("url => fetch(url, {cache: 'reload'}).then((r) => r.status)", address)
            == 404
        )
        expect(picture).to_have_js_property("naturalWidth", 9)
    finally:
        pair.end()
