"""What a person may see: each scene is looked at by axe in the tests, and is a picture of the
documents (`make screenshots`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
from playwright.sync_api import Browser, Page, expect

from lanspread.events import DownloadFailed, DownloadPaused, InstallFinished
from lanspread.views import OperationKind, OperationState, VariantView
from tests.browser.stage import (
    ANNA,
    BEN,
    CARL,
    MB,
    Stage,
    StageRuntime,
    open_stage,
    some_games,
    some_peers,
)
from tests.browser.support import action, card

DESK = (1180, 740)
PHONE = (390, 780)
WALL = (3840, 2160)


@attrs.frozen
class Scene:
    """A state of the page. `name` is that of its picture, too."""

    name: str
    arrange: Callable[[Page, Stage], None]
    empty: bool = False
    size: tuple[int, int] = DESK
    scheme: str = "light"


@contextmanager
def open_scene(browser: Browser, scene: Scene, samples: int = 3) -> Iterator[Page]:
    """A page in that state, until the block is left; its graphs have so many points."""
    games = () if scene.empty else some_games()
    peers = () if scene.empty else some_peers()
    width, height = scene.size
    context = browser.new_context(viewport={"width": width, "height": height})
    try:
        with open_stage(games, peers) as stage:
            stage.samples = samples
            page = context.new_page()
            page.emulate_media(color_scheme="dark" if scene.scheme == "dark" else "light")
            page.goto(stage.url)
            expect(page.locator("#connection")).to_have_text("Connected to living room")
            scene.arrange(page, stage)
            page.mouse.move(0, 0)
            yield page
    finally:
        context.close()


def _busy(runtime: StageRuntime) -> None:
    runtime.operation("deep-current", 0.42)
    runtime.operation("astro-foundry", 0.7, OperationKind.INSTALL)
    runtime.operation("hexmoor", 0.2, state=OperationState.WAITING)


def _speed(runtime: StageRuntime, at: int) -> None:
    rate = (72 + 18 * math.sin(at / 4) + 9 * math.sin(at * 1.7)) * MB
    runtime.rates("deep-current", rate, {ANNA: rate * 0.5, BEN: rate * 0.2, CARL: rate * 0.3})


def _shelf(page: Page, stage: Stage) -> None:
    _show_busy(page, stage)


def _show_busy(page: Page, stage: Stage) -> None:
    stage.do(_busy)
    page.reload()
    expect(card(page, "Deep Current")).to_contain_text("42 %")
    _draw_speeds(page, stage)
    expect(page.locator(".operation").filter(has_text="Hexmoor")).to_contain_text("Waiting for")


def _draw_speeds(page: Page, stage: Stage) -> None:
    paused = DownloadPaused(operation_id="op-hexmoor", id="hexmoor", reason="no_sources")
    stage.do(lambda runtime: runtime.happen(paused))
    for at in range(stage.samples):
        stage.do(lambda runtime, at=at: _speed(runtime, at))  # type: ignore[misc]
        # One by one: of several that wait, a client gets only the last.
        page.wait_for_function(
            """points => [...document.querySelectorAll(".operation .graph-line")]
              .some((line) => line.getAttribute("d").split("L").length >= points)""",
            arg=at,
        )


def _game(page: Page, stage: Stage) -> None:
    _show_busy(page, stage)
    card(page, "Deep Current").click()
    expect(page.locator(".who")).to_contain_text("cellar")


def _question(page: Page, stage: Stage) -> None:
    card(page, "Ember Knights").click()
    expect(page.locator(".who")).to_be_visible()
    action(page, "Uninstall").click()
    expect(page.get_by_role("alertdialog")).to_be_visible()


def _failed(page: Page, stage: Stage) -> None:
    card(page, "Alpine Rally").click()
    expect(page.locator(".who")).to_be_visible()
    failed = DownloadFailed(
        operation_id="op-1",
        id="alpine-rally",
        code="no_space",
        message="the disk has 31 MB free, and 40 MB are needed",
        remedy="free some space, or choose another games folder in the settings, then try again",
    )
    stage.do(lambda runtime: runtime.happen(failed))
    expect(page.locator(".toast")).to_be_visible()


def _full(page: Page, stage: Stage) -> None:
    stage.do(lambda runtime: runtime.operation("blockfall", 0.6))
    page.reload()
    card(page, "Blockfall").click()
    expect(action(page, "Pause")).to_be_visible()
    full = DownloadPaused(
        operation_id="op-blockfall", id="blockfall", reason="disk_full", needed_bytes=492 * MB
    )
    stage.do(lambda runtime: runtime.happen(full))
    expect(page.locator("#game-meter")).to_contain_text("The disk is full")


def _paused(page: Page, stage: Stage) -> None:
    stage.do(lambda runtime: runtime.operation("hexmoor", 0.2, state=OperationState.PAUSED))
    page.reload()
    card(page, "Hexmoor").click()
    expect(page.locator("#game-meter")).to_contain_text("Paused")


def _installed(page: Page, stage: Stage) -> None:
    card(page, "Ember Knights").click()
    expect(page.locator("#game-facts")).to_contain_text("Play it from")
    expect(page.locator(".who")).to_be_visible()
    finished = InstallFinished(operation_id="op-1", id="ember-knights", version="1.2", seconds=4.0)
    stage.do(lambda runtime: runtime.happen(finished))
    expect(page.locator(".toast")).to_contain_text("is installed")


def _update(page: Page, stage: Stage) -> None:
    page.get_by_role("radio", name="Updates").check()
    page.locator(".card:visible").click()
    expect(action(page, "Update")).to_be_visible()
    expect(page.locator(".who")).to_be_visible()


def _peers(page: Page, stage: Stage) -> None:
    page.get_by_role("button", name="Show the 24 games of anna").click()
    expect(page.locator("#found")).to_contain_text("found")
    page.get_by_text("Connect by address", exact=True).click()
    expect(page.locator("#peer-address")).to_be_visible()


def _wrong_token(page: Page, stage: Stage) -> None:
    page.goto(stage.url.replace("#token=", "?#token=wrong"))
    expect(page.locator("#banner")).to_contain_text("not valid")


def _nobody(page: Page, stage: Stage) -> None:
    expect(page.get_by_role("heading", name="Nobody is here yet")).to_be_visible()
    expect(page.locator("#listen code").nth(0)).to_be_visible()


def _lost(page: Page, stage: Stage) -> None:
    expect(card(page, "Deep Current")).to_be_visible()
    stage.end()
    expect(page.locator("#banner")).to_contain_text("Not connected")


def _settings(page: Page, stage: Stage) -> None:
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def _variants(page: Page, stage: Stage) -> None:
    one = VariantView(
        version="1.2", manifest_hash="ab" * 32, content_hash="cd" * 32, size=9 * MB, peers=(ANNA,)
    )
    other = attrs.evolve(one, content_hash="ef" * 32, peers=(BEN, CARL))
    stage.do(lambda runtime: runtime.variants.update({"turbine": (other, one)}))
    page.locator("#search").fill("turb")
    card(page, "Turbine").click()
    expect(page.get_by_role("heading", name="Variants")).to_be_visible()
    page.get_by_text("3 files").click()
    expect(page.locator(".files")).to_contain_text("version.ini")


def _nothing_fits(page: Page, stage: Stage) -> None:
    page.locator("#search").fill("no such game")
    expect(page.get_by_role("heading", name="No game fits")).to_be_visible()


SCENES = (
    Scene("shelf", _shelf),
    Scene("shelf-dark", _shelf, scheme="dark"),
    Scene("wall", _shelf, size=WALL),
    Scene("game", _game),
    Scene("paused", _paused, scheme="dark"),
    Scene("disk-full", _full),
    Scene("installed", _installed),
    Scene("update", _update, scheme="dark"),
    Scene("peers", _peers),
    Scene("uninstall", _question, scheme="dark"),
    Scene("failed", _failed),
    Scene("nobody", _nobody, empty=True),
    Scene("phone", _shelf, size=PHONE),
    Scene("phone-game", _game, size=PHONE, scheme="dark"),
    Scene("disconnected", _lost),
    Scene("wrong-link", _wrong_token),
    Scene("settings", _settings),
    Scene("variants", _variants),
    Scene("no-match", _nothing_fits),
)
