"""The order of the download transaction's writes, and a fault at every step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fs.support import (
    NEW,
    OLD,
    RecordingFolder,
    download,
    open_descriptors,
    open_folder,
    read_tree,
    transaction_for,
    write_tree,
)


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "games" / "g"
    path.mkdir(parents=True)
    return path


# -- the order of writes ---------------------------------------------------------------------------

CHANGES = {
    "open-create",
    "open-write",
    "truncate",
    "write",
    "make_folder",
    "rename",
    "link_or_copy",
    "set_attributes",
    "remove_file",
    "remove_folder",
}
SYNCS = {"sync", "sync_folder", "sync_all"}


def recorded_update(game: Path) -> list[tuple[str, ...]]:
    with open_folder(game) as folder:
        download(folder, OLD)
    log: list[tuple[str, ...]] = []
    with RecordingFolder(open_folder(game), log) as folder:
        download(folder, NEW)
    assert read_tree(game) == NEW
    return [call for call in log if call[0] in CHANGES | SYNCS]


def test_no_byte_changes_before_the_sentinel_is_durably_gone(game: Path) -> None:
    log = recorded_update(game)
    gone = log.index(("rename", "version.ini", ".version.ini.discarded"))
    assert log[gone + 1] == ("sync_folder", "")
    # Before it only the plan was written, and synced with the folders that lead to it.
    for call in log[:gone]:
        assert all(
            name in ("", ".lanspread") or name.startswith(".lanspread/") for name in call[1:]
        )
    plan = log.index(("rename", ".lanspread/plan.json.tmp", ".lanspread/plan.json"))
    assert log[plan - 1] == ("sync", ".lanspread/plan.json.tmp")
    assert ("sync_folder", ".lanspread") in log[plan:gone]
    assert ("sync_folder", "") in log[plan:gone]


def test_everything_is_synced_before_the_sentinel_appears(game: Path) -> None:
    log = recorded_update(game)
    commit = log.index(("rename", ".version.ini.tmp", "version.ini"))
    assert log[commit + 1] == ("sync_folder", "")
    sync_all = next(i for i, call in enumerate(log) if call[0] == "sync_all")
    files, folders = " ".join(log[sync_all][1:]).split("|")
    assert set(files.split()) == set(NEW) - {"version.ini"}
    # "" is in it, too: it is the element that makes two blanks of one.
    assert set(log[sync_all][1:]) >= {"", "data", "more", "more/deep", "was-file"}
    assert "gone" not in folders
    # Between the sync and the commit nothing but our own files changes, each synced itself.
    between = [call for call in log[sync_all:commit] if call[0] in CHANGES]
    assert {name for call in between for name in call[1:]} == {
        ".version.ini.tmp",
        ".lanspread/download.json.tmp",
        ".lanspread/download.json",
    }
    assert ("sync", ".version.ini.tmp") in log[sync_all:commit]
    assert ("sync", ".lanspread/download.json.tmp") in log[sync_all:commit]
    # And before the sync, version.ini was not even mentioned.
    begun = log.index(("rename", "version.ini", ".version.ini.discarded"))
    assert not [call for call in log[begun + 1 : commit] if "version.ini" in call[1:]]
    # Scratch goes when the commit is durable.
    assert log[commit + 2 :] == [
        ("remove_file", ".version.ini.discarded"),
        ("remove_file", ".lanspread/plan.json"),
        ("remove_file", ".lanspread/journal"),
    ]


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["nothing", "a download", "a copy", "unfinished"])
def test_a_fault_at_every_step(tmp_path: Path, before: str) -> None:
    for step in range(10_000):
        game = tmp_path / f"{step}"
        game.mkdir()
        with open_folder(game) as folder:
            if before == "a download":
                download(folder, OLD)
            elif before == "a copy":
                copied = [name for name in OLD if not name.startswith(("was-", "gone"))]
                write_tree(game, {name: OLD[name] for name in copied if name != "data/two"})
            elif before == "unfinished":
                unfinished = transaction_for(folder, OLD)
                unfinished.begin()
                unfinished.close()
            start = read_tree(game)
        descriptors = open_descriptors()
        log: list[tuple[str, ...]] = []
        with RecordingFolder(open_folder(game), log, fail_at=step) as folder:
            try:
                download(folder, NEW)
                done = True
            except OSError:
                done = False
            assert folder.open_files == 0
        assert open_descriptors() == descriptors
        if (game / "version.ini").exists():
            assert read_tree(game) in (start, NEW)
        # The next download takes up where this one broke off.
        with open_folder(game) as folder:
            download(folder, NEW)
        assert read_tree(game) == NEW
        assert sorted(os.listdir(game / ".lanspread")) == ["download.json"]
        if done and len(log) <= step:
            break
    else:
        pytest.fail("the download never got through")
    assert step > 40
