"""A crash at every step of a download, with every kind of power loss, then on to the end.

Never a sentinel over wrong bytes; never a block fetched again that was behind a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice

import attrs
import pytest

from lanspread.fs.download.reference import Reference
from lanspread.fs.download.transaction import DownloadTransaction
from lanspread.fs.paths import VERSION_INI
from lanspread.seams import Folder
from lanspread.testing import (
    CONTENTS_LOST,
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    POWER_LOSSES,
    MemoryFileSystem,
    PowerLoss,
    check_faults,
    crash_points,
)
from tests.fs.support import BLOCK, download, missing_blocks, reference_of

PATH = "/games/g"


def bytes_of(seed: int, size: int) -> bytes:
    return bytes((seed + at // 7) % 251 for at in range(size))


V1 = {
    "version.ini": b"1.0\n",
    "game.eti": bytes_of(1, 2 * BLOCK + 500),
    "old.eti": b"gone",
    "data/same": bytes_of(2, BLOCK + 1),
}
V2 = {
    "version.ini": b"2.0\n",
    "game.eti": V1["game.eti"][:BLOCK] + bytes_of(9, BLOCK) + V1["game.eti"][2 * BLOCK :],
    "data/same": V1["data/same"],
    "more/new": bytes_of(3, BLOCK),
    "empty": b"",
}
# Same names and sizes as V2, other bytes.
V2B = {**V2, "game.eti": bytes_of(5, 2 * BLOCK + 500), "more/new": bytes_of(6, BLOCK)}

Block = tuple[str, int, bytes]


def content(folder: Folder, rel: str = "") -> dict[str, bytes]:
    """All files of the game but our own."""
    found = {}
    for entry in folder.list(rel):
        path = f"{rel}/{entry.name}" if rel else entry.name
        if entry.name.startswith("."):
            continue
        if entry.kind.value == "folder":
            found.update(content(folder, path))
        else:
            with folder.open(path, "read") as file:
                found[path] = file.read_at(entry.size, 0)
    return found


@attrs.define
class Fetcher:
    """Downloads some files, with a checkpoint after every second block, and remembers."""

    files: Mapping[str, bytes]
    selection: Sequence[str] | None = None
    fetched: list[Block] = attrs.Factory(list)
    # What was behind a checkpoint that returned.
    safe: set[Block] = attrs.Factory(set)

    def reference(self) -> Reference:
        return reference_of(self.files)

    def run(self, folder: Folder) -> None:
        self.fetched = []
        self.safe = set()
        reference = self.reference()
        transaction = DownloadTransaction(folder, reference, selection=self.selection)
        try:
            transaction.check()
            transaction.begin()
            wanted = set(reference.wanted(self.selection))
            for number, offset, data in missing_blocks(transaction, self.files):
                if number not in wanted:
                    continue
                transaction.write([(number, offset, data)])
                self.fetched.append((reference.manifest.files[number].path, offset, data))
                if len(self.fetched) % 2 == 0:
                    transaction.checkpoint()
                    self.safe = set(self.fetched)
            if self.selection is None:
                transaction.commit()
            else:
                transaction.finish_selection()
        finally:
            transaction.close()


def is_sound(folder: Folder, *whole: Mapping[str, bytes]) -> bool:
    """No sentinel but over a complete game. Whether there is one."""
    if not folder.exists(VERSION_INI):
        return False
    found = content(folder)
    assert any(found == files for files in whole), sorted(found)
    return True


def nothing(files: MemoryFileSystem) -> None:
    files.make_folders(PATH)


def downloaded(*versions: Mapping[str, bytes]) -> Callable[[MemoryFileSystem], None]:
    def build(files: MemoryFileSystem) -> None:
        files.make_folders(PATH)
        with files.open_folder(PATH) as folder:
            for version in versions:
                download(folder, version)

    return build


def copied(files: MemoryFileSystem) -> None:
    files.write_tree(PATH, V1)


def unfinished(of: Mapping[str, bytes], count: int) -> Callable[[MemoryFileSystem], None]:
    """A download that stopped after some blocks, with a checkpoint."""

    def build(files: MemoryFileSystem) -> None:
        files.make_folders(PATH)
        with files.open_folder(PATH) as folder:
            transaction = DownloadTransaction(folder, reference_of(of))
            transaction.begin()
            transaction.write(missing_blocks(transaction, of)[:count])
            transaction.checkpoint()
            transaction.close()

    return build


BEFORE = {
    "nothing": (nothing, V2),
    "v1": (downloaded(V1), V2),
    "a copy": (copied, V2),
    "another variant, unfinished": (unfinished(V2B, 3), V2),
    "the same, unfinished": (unfinished(V2, 3), V2),
}


@pytest.mark.parametrize("before", BEFORE)
def test_a_crash_at_every_step_of_a_download(before: str) -> None:
    build, files = BEFORE[before]
    first, second = Fetcher(files), Fetcher(files)
    count = finished = safe = 0
    for survivor in crash_points(PATH, first.run, build=build):
        count += 1
        with survivor.files().open_folder(PATH) as folder:
            try:
                whole = is_sound(folder, V1, files)
                assert whole or not survivor.finished
                second.run(folder)
                assert not first.safe.intersection(second.fetched)
                assert is_sound(folder, files)
                assert [entry.name for entry in folder.list(".lanspread")] == ["download.json"]
            except BaseException as error:
                error.add_note(survivor.story)
                raise
        finished += survivor.finished
        safe += bool(first.safe)
    assert count > 50
    assert finished
    assert safe


LOSSES = (EVERYTHING_KEPT, EVERYTHING_LOST, CONTENTS_LOST)


@pytest.mark.parametrize("then", [V2, V2B])
def test_a_crash_of_what_goes_on_after_a_crash(then: Mapping[str, bytes]) -> None:
    """Twice, and the second time perhaps for another variant of the same sizes."""
    first, second, third = Fetcher(V2), Fetcher(then), Fetcher(V2)
    count = 0
    crashes = crash_points(PATH, first.run, build=downloaded(V1), losses=LOSSES[:1])
    for crash in islice(crashes, 0, None, 3):
        safe = set(first.safe)
        built = partial(MemoryFileSystem.restore, snapshot=crash.snapshot)
        for again in crash_points(PATH, second.run, build=built, losses=LOSSES):
            count += 1
            with again.files().open_folder(PATH) as folder:
                try:
                    is_sound(folder, V1, V2, then)
                    third.run(folder)
                    if then is V2:
                        assert not safe.union(second.safe).intersection(third.fetched)
                    assert is_sound(folder, V2)
                except BaseException as error:
                    error.add_note(f"{crash.story}; then {again.story}")
                    raise
    assert count > 300


@pytest.mark.parametrize("loss", POWER_LOSSES, ids=str)
def test_a_selection_and_then_all_of_it(loss: PowerLoss) -> None:
    some = Fetcher(V2, selection=["game.eti", "empty"])
    rest = Fetcher(V2)
    for survivor in crash_points(PATH, some.run, build=nothing, losses=[loss]):
        with survivor.files().open_folder(PATH) as folder:
            assert not folder.exists(VERSION_INI)
            rest.run(folder)
            assert not some.safe.intersection(rest.fetched)
            if survivor.finished:
                assert {path for path, _, _ in rest.fetched} == {"data/same", "more/new"}
            assert is_sound(folder, V2)


@pytest.mark.parametrize("before", ["nothing", "v1"])
def test_a_fault_at_every_step_with_checkpoints(before: str) -> None:
    build, files = BEFORE[before]
    again = Fetcher(files)

    def finish(folder: Folder) -> None:
        is_sound(folder, V1, files)
        again.run(folder)

    count = check_faults(
        PATH,
        build=build,
        act=Fetcher(files).run,
        recover=finish,
        check=lambda folder: is_sound(folder, files),
    )
    assert count > 100
