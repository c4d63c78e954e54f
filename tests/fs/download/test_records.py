"""What is read back from a game's `.lanspread/`, hostile or not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs.download.records import (
    DownloadRecord,
    Plan,
    PlanState,
    RecordedFile,
    decode_plan,
    decode_record,
    encode_plan,
    encode_record,
    read_plan,
    set_plan_state,
)
from lanspread.model import clean_version
from tests.fs.support import (
    NEW,
    download,
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


# -- what is read back from the folder -------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan.json", "download.json"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b'{"format": 2, "files": []}',
        b'{"format": 1, "files": [["../../victim", 7]], "copied": true}',
        b'{"format": 1, "version": "1", "manifest_hash": "", "block_bytes": 1024,'
        b' "files": [["../../victim", 7, 0, ""]]}',
    ],
)
def test_a_hostile_record_removes_nothing(game: Path, name: str, data: bytes) -> None:
    victim = game.parent.parent / "victim"
    victim.write_bytes(b"victim!")
    os.utime(victim, ns=(0, 0))
    write_tree(game, {f".lanspread/{name}": data})
    with open_folder(game) as folder:
        download(folder, NEW)
    assert victim.read_bytes() == b"victim!"
    assert read_tree(game) == NEW


def test_a_record_that_names_what_it_must_not_is_none(game: Path) -> None:
    value = {"format": 1, "files": [["local/save", 4]], "copied": False}
    write_tree(game, {"local/save": b"mine", ".lanspread/plan.json": json.dumps(value).encode()})
    with open_folder(game) as folder:
        download(folder, NEW)
    assert (game / "local" / "save").read_bytes() == b"mine"


PATHS = st.sampled_from(["a", "b/c", "ü", "x" * 50])


HASHES = st.binary(min_size=32, max_size=32)
PLANS = st.builds(
    Plan,
    version=st.text(max_size=10).map(clean_version),
    manifest_hash=HASHES,
    content_hash=HASHES,
    block_bytes=st.integers(limits.MIN_BLOCK_BYTES, limits.MAX_BLOCK_BYTES),
    total_bytes=st.integers(0, limits.MAX_GAME_BYTES),
    files=st.dictionaries(PATHS, st.integers(0, 2**60)),
    copied=st.booleans(),
    named=st.booleans(),
    selection=st.none() | st.lists(PATHS).map(tuple),
    state=st.sampled_from(PlanState),
)


@given(PLANS)
def test_plans_come_back(plan: Plan) -> None:
    assert decode_plan(encode_plan(plan)) == plan


@given(PLANS, st.data())
def test_a_plan_without_a_part_is_none(plan: Plan, data: st.DataObject) -> None:
    value = json.loads(encode_plan(plan))
    del value[data.draw(st.sampled_from(sorted(value)))]
    assert decode_plan(json.dumps(value).encode()) is None


@pytest.mark.parametrize(
    "change",
    [
        {"state": "deleted"},
        {"block_bytes": 0},
        {"block_bytes": 2**40},
        {"manifest_hash": "00"},
        {"selection": ["../x"]},
        {"selection": "x"},
        {"total_bytes": -1},
        {"files": [["local/save", 4]]},
    ],
)
def test_a_plan_that_says_what_none_of_ours_says_is_none(change: dict[str, object]) -> None:
    plan = Plan(
        version="1",
        manifest_hash=bytes(32),
        content_hash=bytes(32),
        block_bytes=1024,
        total_bytes=4,
        files={"a": 4},
        copied=False,
    )
    value = json.loads(encode_plan(plan))
    assert decode_plan(json.dumps(value).encode()) == plan
    assert decode_plan(json.dumps({**value, **change}).encode()) is None


def test_the_state_of_a_plan_is_changed_alone(game: Path) -> None:
    with open_folder(game) as folder:
        set_plan_state(folder, PlanState.PAUSED)
        assert list(game.iterdir()) == []
        transaction = transaction_for(folder, NEW)
        transaction.begin()
        transaction.close()
        before = read_plan(folder)
        assert before is not None
        set_plan_state(folder, PlanState.PAUSED)
        assert read_plan(folder) == attrs.evolve(before, state=PlanState.PAUSED)


@given(
    st.dictionaries(
        PATHS,
        st.tuples(st.integers(0, 2**60), st.integers(0, 2**62), st.integers(0, 3)),
    ),
    st.text(max_size=10).filter(lambda text: text.isprintable()),
)
def test_records_come_back(files: dict[str, tuple[int, int, int]], version: str) -> None:
    record = DownloadRecord(
        version=version,
        manifest_hash=b"\x01" * 32,
        block_bytes=1024,
        files={
            path: RecordedFile(path, size, mtime, (b"\x02" * 32,) * count)
            for path, (size, mtime, count) in files.items()
        },
    )
    assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=100))
def test_any_bytes_are_a_record_or_none(data: bytes) -> None:
    assert decode_record(data) is None
    assert decode_plan(data) is None
