"""The demo: it works, it says so, it leaves nothing behind; and its comparison can fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lanspread.cli import demo_tree


def test_the_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lanspread", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["files_differing"] == 0
    assert report["bytes"] > 90_000_000
    assert set(report["sources"]) == {"alice", "bob"}
    assert list(tmp_path.iterdir()) == []


def test_the_demo_ends_with_ctrl_c_and_takes_its_peers_along(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "lanspread", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    time.sleep(3)
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=15)
    assert demo.returncode == 130, err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two games folders with the same game."""
    monkeypatch.setattr(demo_tree, "LARGE_BYTES", 10_000)
    one, other = tmp_path / "one", tmp_path / "other"
    demo_tree.write_game(one)
    demo_tree.copy_game(one, other)
    return one, other


def test_equal_trees(two: tuple[Path, Path]) -> None:
    assert demo_tree.differences(*two) == []


def test_every_difference_is_seen(two: tuple[Path, Path]) -> None:
    one, other = two
    game = other / demo_tree.GAME_ID
    (game / "empty.dat").write_bytes(b"x")
    (game / "version.ini").unlink()
    (game / "more").write_bytes(b"")
    assert demo_tree.differences(one, other) == [
        "version.ini is missing",
        "more is too many",
        "empty.dat differs",
    ]
