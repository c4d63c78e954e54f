"""Games whose archives are real ones, good and hostile, on a real disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanspread import limits
from lanspread.fs.archives import (
    ArchiveBomb,
    ArchiveDamaged,
    ArchiveEncrypted,
    ArchiveError,
    ArchiveUnsupported,
    open_archive,
)
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.errors import UnsafePath
from lanspread.fs.install.install import install
from lanspread.fs.install.recovery import Recovery, recover
from lanspread.fs.install.update import update
from lanspread.seams import Folder
from tests.fs.archives.making import Put, rar4, rar5, rar5_with_encrypted_headers, tarred, zipped
from tests.fs.install.support import files_in, own_names, tree
from tests.fs.support import open_descriptors

OLD = {"game.exe": b"1" * 100, "data/level": b"level"}
NEW = {"game.exe": b"2" * 3000, "data/level": b"level", "more/x": b"x"}


@pytest.fixture
def game(tmp_path: Path) -> Path:
    path = tmp_path / "g"
    path.mkdir()
    put(path, "1.0", zipped(OLD))
    return path


@pytest.fixture
def folder(game: Path) -> Iterator[Folder]:
    before = open_descriptors()
    with DiskFileSystem().open_folder(str(game)) as folder:
        yield folder
    assert open_descriptors() == before


def put(game: Path, version: str, *volumes: bytes) -> None:
    """The files of a version, as a download would leave them."""
    for old in game.glob("*.eti"):
        old.unlink()
    (game / "version.ini").write_text(version)
    for number, data in enumerate(volumes, 1):
        (game / f"game.part{number}.eti").write_bytes(data)


def rar_puts() -> list[Put]:
    return [Put(name=name, data=data) for name, data in NEW.items()]


@pytest.mark.parametrize(
    "volumes",
    [
        [zipped(NEW)],
        [tarred(NEW, "gz")],
        rar4(*rar_puts()),
        rar5(*rar_puts()),
        rar5(*rar_puts(), volume_bytes=700),
    ],
    ids=["zip", "tar.gz", "RAR4", "RAR5", "RAR5 in volumes"],
)
def test_a_game_that_is_updated_from_a_real_archive(
    game: Path, folder: Folder, volumes: list[bytes]
) -> None:
    install(folder, open_archive)
    assert files_in(folder, "local") == dict(sorted(OLD.items()))
    (game / "local/save").write_bytes(b"saved")
    put(game, "2.0", *volumes)
    assert update(folder, open_archive).kept == ("save",)
    assert files_in(folder, "local") == dict(sorted({**NEW, "save": b"saved"}.items()))


def bomb() -> bytes:
    """1:1,000 is what the format gives, so a bomb has a little more than that."""
    return zipped({"bomb": bytes(limits.ARCHIVE_BOMB_BYTES + limits.MIB)}, level=9)


def damaged() -> bytes:
    data = bytearray(zipped({"a": os.urandom(5000)}))
    data[2000] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (lambda: zipped({"fine": b"", "../evil": b"evil"}), UnsafePath),
        (lambda: zipped({"/evil": b"evil"}), UnsafePath),
        (lambda: zipped({"a/.lanspread_owned": b"", ".LANSPREAD_OWNED": b""}), UnsafePath),
        (lambda: zipped({"A": b"", "a": b""}), UnsafePath),
        (lambda: rar5(Put(name="link", link=1))[0], UnsafePath),
        (bomb, ArchiveBomb),
        (damaged, ArchiveDamaged),
        (lambda: zipped(NEW)[:-30], ArchiveError),
        (rar5_with_encrypted_headers, ArchiveEncrypted),
        (lambda: rar5(*rar_puts(), volume_bytes=700)[1], ArchiveDamaged),
        (lambda: b"no archive at all", ArchiveUnsupported),
    ],
)
def test_a_bad_archive_leaves_the_old_install_as_it_was(
    game: Path, folder: Folder, data: object, error: type[Exception]
) -> None:
    assert callable(data)
    install(folder, open_archive)
    before = tree(folder, "local")
    put(game, "2.0", data())
    with pytest.raises(error):
        update(folder, open_archive)
    assert recover(folder).blocked is None
    assert recover(folder) == Recovery()
    assert own_names(folder) == [".lanspread"]
    assert tree(folder, "local") == before
    assert sorted(os.listdir(game.parent)) == ["g"]
