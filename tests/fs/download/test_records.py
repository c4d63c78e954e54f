"""What is read back from a game's `.lanspread/`, hostile or not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.download.records import (
    DownloadRecord,
    Plan,
    RecordedFile,
    decode_plan,
    decode_record,
    encode_plan,
    encode_record,
)
from tests.fs.support import (
    NEW,
    download,
    open_folder,
    read_tree,
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


@given(st.dictionaries(PATHS, st.integers(0, 2**60)), st.booleans())
def test_plans_come_back(files: dict[str, int], copied: bool) -> None:
    plan = Plan(files=files, copied=copied)
    assert decode_plan(encode_plan(plan)) == plan


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
