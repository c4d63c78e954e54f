"""The merged view: which version is here, installed, and newer elsewhere."""

from __future__ import annotations

import pytest

from lanspread.fs.catalog import Catalog
from lanspread.fs.local_game import GameFiles, LocalGame
from lanspread.model import Manifest
from lanspread.sync.merge import merge_games
from lanspread.views import GameView


def a_local(
    name: str, version: str = "1", installed_version: str | None = None, *, installed: bool = False
) -> LocalGame:
    return LocalGame(
        id=name,
        version=version,
        downloaded=True,
        installed=installed,
        installed_version=installed_version,
        unfinished=False,
        size=0,
        manifest_hash=None,
        content_hash=None,
        problem=None,
        files=GameFiles(Manifest(()), ()),
    )


def a_view(version: str, installed_version: str | None, *, installed: bool = True) -> GameView:
    game = a_local("quake", version, installed_version, installed=installed)
    (view,) = merge_games({"quake": game}, [], Catalog(), lambda game_id: None)
    return view


@pytest.mark.parametrize(
    ("installed_version", "update_available"),
    # Whatever differs: an older archive that was fetched on purpose is one to install too.
    [("1", False), ("01", False), ("0.9", True), ("2", True), (None, False)],
)
def test_what_is_installed_is_compared_with_what_is_downloaded(
    installed_version: str | None, update_available: bool
) -> None:
    view = a_view("1", installed_version)
    assert (view.installed, view.installed_version) == (True, installed_version)
    assert view.update_available is update_available


def test_some_games_are_listed_without_the_others() -> None:
    here = {name: a_local(name) for name in ("doom", "quake")}

    def listed(*only: str) -> list[str]:
        views = merge_games(here, [], Catalog(), lambda game_id: None, only=frozenset(only))
        return [view.id for view in views]

    assert listed("quake") == ["quake"]
    assert listed("worms", "doom") == ["doom"]
    assert listed() == []
