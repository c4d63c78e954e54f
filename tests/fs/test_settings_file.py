"""Writing one setting into lanspread.toml."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.config import MAX_SETTINGS_BYTES, SETTINGS_FILE
from lanspread.fs.settings_file import save_setting

OWNERS = """\
# what I want
name = "anna"   # me

games = "/old"  # on the big disk
peer = ["10.0.0.1:7373"]
"""


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    save_setting(str(tmp_path), "games", "/games")
    file = tmp_path / SETTINGS_FILE
    assert tomllib.loads(file.read_text()) == {"games": "/games"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_everything_else_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / SETTINGS_FILE
    file.write_text(OWNERS)
    file.chmod(0o640)
    save_setting(str(tmp_path), "games", "/new")
    assert file.read_text() == OWNERS.replace("/old", "/new")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles.toml"
    elsewhere.write_text(OWNERS)
    (tmp_path / "state").mkdir()
    os.symlink(elsewhere, tmp_path / "state" / SETTINGS_FILE)
    save_setting(str(tmp_path / "state"), "games", "/new")
    assert (tmp_path / "state" / SETTINGS_FILE).is_symlink()
    assert tomllib.loads(elsewhere.read_text())["games"] == "/new"


@pytest.mark.parametrize(
    "text", ["not [toml", "games = 1\ngames = 2\n", "x" * (MAX_SETTINGS_BYTES + 1)]
)
def test_a_file_that_is_not_ours_to_repair_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / SETTINGS_FILE
    file.write_text(text)
    with pytest.raises(ValueError, match=SETTINGS_FILE):
        save_setting(str(tmp_path), "games", "/new")
    assert file.read_text() == text


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / SETTINGS_FILE
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="utf-8"):
        save_setting(str(tmp_path), "games", "/new")
    assert file.read_bytes() == b"\xff\xfe"


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_path_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    folder = tmp_path_factory.mktemp("state")
    for _ in range(2):
        save_setting(str(folder), "games", value)
        assert tomllib.loads((folder / SETTINGS_FILE).read_text())["games"] == value
