"""The intent log and the install record are read back from folders that anyone may have filled."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.install.intent import (
    NO_INTENT,
    Intent,
    IntentKind,
    clear_intent,
    decode_intent,
    encode_intent,
    read_intent,
    write_intent,
)
from lanspread.fs.install.record import (
    InstalledFile,
    InstallRecord,
    decode_install_record,
    encode_install_record,
    read_install_record,
    write_new_record,
)
from lanspread.testing import FaultyFileSystem, MemoryFileSystem
from tests.fs.install.support import PATH, new_files

KINDS = [IntentKind.INSTALLING, IntentKind.UPDATING, IntentKind.UNINSTALLING]


@pytest.fixture
def files() -> MemoryFileSystem:
    files = new_files()
    files.make_folders(PATH)
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_an_intent_comes_back(files: MemoryFileSystem, kind: IntentKind) -> None:
    with files.open_folder(PATH) as folder:
        assert read_intent(folder) == NO_INTENT
        write_intent(folder, kind, "1.0 ä")
        assert read_intent(folder) == Intent(kind, "1.0 ä")
        clear_intent(folder)
        clear_intent(folder)
        assert read_intent(folder) == NO_INTENT
        assert folder.list() == []


def test_the_intent_log_is_what_the_page_says() -> None:
    assert encode_intent(IntentKind.UPDATING, "2") == (
        b'{"format":1,"intent":"updating","version":"2"}'
    )


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 4000,
        b'{"format":2,"intent":"updating","version":"2"}',
        b'{"format":true,"intent":"updating","version":"2"}',
        b'{"format":1,"intent":"moving","version":"2"}',
        b'{"format":1,"intent":"none","version":"2"}',
        b'{"format":1,"intent":"unreadable","version":"2"}',
        b'{"format":1,"intent":"updating","version":2}',
        b'{"format":1,"intent":"updating"}',
        b'{"format":1,"intent":"updating","version":"2","more":1}',
        b'{"format":1,"intent":"updating","version":"2"} x',
        b'{"format":1,"intent":"updating","version":"' + b"9" * 5000 + b'"}',
    ],
)
def test_an_intent_that_cannot_be_understood(files: MemoryFileSystem, data: bytes) -> None:
    files.write_file(f"{PATH}/.lanspread.json", data)
    with files.open_folder(PATH) as folder:
        assert read_intent(folder).kind is IntentKind.UNREADABLE
        assert read_intent(folder).why


def test_an_empty_intent_is_that_of_an_uninstall(files: MemoryFileSystem) -> None:
    files.write_file(f"{PATH}/.lanspread.json", b"")
    with files.open_folder(PATH) as folder:
        assert read_intent(folder) == Intent(IntentKind.UNINSTALLING)


def test_an_intent_that_is_no_file(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        files.make_link(f"{PATH}/.lanspread.json", "/elsewhere")
        assert read_intent(folder).kind is IntentKind.UNREADABLE
        files.discard(f"{PATH}/.lanspread.json")
        files.make_folders(f"{PATH}/.lanspread.json")
        assert read_intent(folder).kind is IntentKind.UNREADABLE


def test_a_disk_that_does_not_give_the_intent(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        write_intent(folder, IntentKind.UPDATING, "")
    faulty = FaultyFileSystem(files)
    faulty.fail(errno.EIO, operations={"read_at"})
    with faulty.open_folder(PATH) as folder, pytest.raises(OSError, match="Input/output"):
        read_intent(folder)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_answer(data: bytes) -> None:
    assert decode_intent(data).kind in IntentKind
    assert decode_install_record(data) is None


FILES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.builds(InstalledFile, st.integers(0, 1 << 50), st.binary(min_size=32, max_size=32)),
    max_size=5,
)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(version=TEXT, files=FILES, folders=st.frozensets(TEXT, max_size=3))
def test_a_record_comes_back(
    version: str, files: dict[str, InstalledFile], folders: frozenset[str]
) -> None:
    record = InstallRecord(version, files, folders)
    assert decode_install_record(encode_install_record(record)) == record


GOOD = b'{"format":1,"version":"1","files":[["a",1,"' + b"0" * 64 + b'"]],"folders":["b"]}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"format":1', b'"format":2'),
        (b'"version":"1"', b'"version":1'),
        (b'["a",1,', b'["a",-1,'),
        (b'["a",1,', b'["a",1.5,'),
        (b'["a",1,', b'["a",true,'),
        (b'["a",1,', b'["a",99999999999999999999,'),
        (b'["a",1,', b"[1,1,"),
        (b'["a",1,', b'["a",'),
        (b"0" * 64, b"0" * 63),
        (b"0" * 64, b"0" * 66),
        (b"0" * 64, b"Z" * 64),
        (b"0" * 64, b"0" * 63 + b"\\n"),
        (b"[[", b"[" * 5000 + b"[["),
        (b'["b"]', b'"b"'),
        (b'["b"]', b"[1]"),
        (b"}", b""),
    ],
)
def test_a_record_that_no_install_wrote(old: bytes, new: bytes) -> None:
    assert decode_install_record(GOOD) is not None
    assert old in GOOD
    assert decode_install_record(GOOD.replace(old, new)) is None


def test_a_record_counts_when_it_has_its_name(files: MemoryFileSystem) -> None:
    with files.open_folder(PATH) as folder:
        assert read_install_record(folder) is None
        write_new_record(folder, InstallRecord("1", {}))
        assert read_install_record(folder) is None
        folder.rename(".lanspread/install.json.new", ".lanspread/install.json")
        assert read_install_record(folder) == InstallRecord("1", {})
