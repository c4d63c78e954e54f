"""What is read back from a game's `.lanspread/`, hostile or not."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs.download.records import (
    PLAN,
    RECORD,
    DownloadRecord,
    Plan,
    PlanState,
    RecordedFile,
    decode_plan,
    decode_record,
    encode_plan,
    encode_record,
    read_plan,
    read_record,
    set_plan_state,
)
from lanspread.model import clean_version
from lanspread.testing import MemoryFileSystem, crash_points
from tests.fs.support import (
    NEW,
    RecordingFolder,
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
    update=st.booleans(),
    selection=st.none() | st.lists(PATHS).map(tuple),
    since_ns=st.integers(0, 2**62),
    state=st.sampled_from(PlanState),
).flatmap(
    lambda plan: st.builds(
        attrs.evolve,
        st.just(plan),
        made=st.none()
        | st.dictionaries(
            st.sampled_from(sorted(plan.files)),
            st.tuples(st.integers(0, 2**60), st.integers(0, 2**62)),
        )
        if plan.files
        else st.none() | st.just({}),
    )
)


@given(PLANS)
def test_plans_come_back(plan: Plan) -> None:
    assert decode_plan(encode_plan(plan)) == plan


@given(PLANS, st.data())
def test_a_plan_without_a_part_is_none(plan: Plan, data: st.DataObject) -> None:
    value = json.loads(encode_plan(plan))
    del value[data.draw(st.sampled_from(sorted(value.keys() - {"update"})))]
    assert decode_plan(json.dumps(value).encode()) is None


def test_a_plan_from_before_updates_were_noted_is_none_of_an_update() -> None:
    plan = Plan(
        version="1",
        manifest_hash=bytes(32),
        content_hash=bytes(32),
        block_bytes=limits.MIN_BLOCK_BYTES,
        total_bytes=1,
        files={"a": 1},
        copied=False,
        update=True,
    )
    value = json.loads(encode_plan(plan))
    del value["update"]
    assert decode_plan(json.dumps(value).encode()) == attrs.evolve(plan, update=False)


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
        {"made": [[1, 4, 0]]},
        {"made": [[0, -1, 0]]},
        {"made": {"a": [4, 0]}},
        {"since_ns": None},
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


# -- a state that takes no space -------------------------------------------------------------------


@pytest.mark.parametrize("state", [PlanState.PAUSED, PlanState.STOPPED])
def test_a_full_disk_keeps_no_state_from_being_changed(state: PlanState) -> None:
    files = MemoryFileSystem(capacity_bytes=4 * limits.MIB)
    files.make_folders("/g")
    with files.open_folder("/g") as folder:
        transaction = transaction_for(folder, NEW)
        transaction.begin()
        transaction.close()
        before = read_plan(folder)
        assert before is not None
        files.write_file("/filler", bytes(folder.free_bytes()))
        assert folder.free_bytes() == 0
        set_plan_state(folder, state)
        assert read_plan(folder) == attrs.evolve(before, state=state)


def test_a_crash_leaves_the_old_state_or_the_new_one() -> None:
    def build(files: MemoryFileSystem) -> None:
        files.make_folders("/g")
        with files.open_folder("/g") as folder:
            transaction = transaction_for(folder, NEW)
            transaction.begin()
            transaction.close()

    seen = set()
    for survivor in crash_points(
        "/g", lambda folder: set_plan_state(folder, PlanState.STOPPED), build=build
    ):
        with survivor.files().open_folder("/g") as folder:
            plan = read_plan(folder)
        assert plan is not None, survivor.story
        assert plan.state is PlanState.STOPPED or not survivor.finished, survivor.story
        seen.add(plan.state)
    assert seen == {PlanState.RUNNING, PlanState.STOPPED}


def test_a_plan_with_another_name_is_not_written_through(game: Path) -> None:
    with open_folder(game) as folder:
        transaction = transaction_for(folder, NEW)
        transaction.begin()
        transaction.close()
        (game / "kept").hardlink_to(game / PLAN)
        kept = (game / "kept").read_bytes()
        set_plan_state(folder, PlanState.PAUSED)
        assert (game / "kept").read_bytes() == kept
        changed = read_plan(folder)
    assert changed is not None
    assert changed.state is PlanState.PAUSED


# -- garbage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("decode", [decode_plan, decode_record])
@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"[[]]," * 200_000 + b"[]]",
        b'{"format":1,"version":' + b"[" * 200_000,
        b'{"format":1,"files":[' + b'["a",1],' * 600_000 + b'["a",1]]}',
        b'{"format":1,"junk":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=["list", "deep", "long", "junk"],
)
def test_garbage_is_not_built(decode: Callable[[bytes], object], data: bytes) -> None:
    tracemalloc.start()
    try:
        assert decode(data) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(data) + limits.MIB


def test_a_file_that_is_longer_than_any_of_ours_is_not_read(game: Path) -> None:
    log: list[tuple[str, ...]] = []
    (game / ".lanspread").mkdir()
    for name in (PLAN, RECORD):
        with (game / name).open("wb") as file:
            file.truncate(300 * limits.MIB)
    with RecordingFolder(open_folder(game), log) as folder:
        assert read_plan(folder) is None
        assert read_record(folder) is None
    assert not [call for call in log if call[0] == "read"]
