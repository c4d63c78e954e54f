"""`make screenshots`: a picture of each state of the page, into docs/screenshots."""

from __future__ import annotations

from pathlib import Path

from tests.browser.scenes import SCENES, open_scene
from tests.browser.support import open_browser

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"


def main() -> None:
    """Take the pictures; those of scenes that are gone are removed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open_browser() as browser:
        for scene in SCENES:
            with open_scene(browser, scene, samples=45) as page:
                path = FOLDER / f"{scene.name}.png"
                page.screenshot(path=path, animations="disabled", caret="hide")
                print(f"{path.relative_to(Path.cwd())}  {path.stat().st_size // 1000} kB")
    for old in set(FOLDER.glob("*.png")) - {FOLDER / f"{scene.name}.png" for scene in SCENES}:
        old.unlink()


if __name__ == "__main__":
    main()
