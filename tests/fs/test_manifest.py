"""The hashes that peers compare."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.manifest import (
    block_digest,
    check_manifest,
    content_hash,
    manifest_hash,
    manifest_of,
    version_of,
)
from lanspread.fs.paths import UnsafePath
from lanspread.model import FileEntry, Manifest


def test_manifest_hash_is_of_canonical_cbor() -> None:
    manifest = manifest_of([FileEntry("b", 300), FileEntry("a", 0)])
    # [["a", 0], ["b", 300]]
    assert (
        manifest_hash(manifest) == hashlib.sha256(bytes.fromhex("828261610082616219012c")).digest()
    )


def test_content_hash_is_of_canonical_cbor() -> None:
    first, second = b"\x11" * 32, b"\x22" * 32
    encoded = bytes.fromhex("835820") + first + bytes.fromhex("190400815820") + second
    assert content_hash(first, 1024, [second]) == hashlib.sha256(encoded).digest()


def test_block_digest_is_blake3() -> None:
    assert block_digest(b"").hex().startswith("af1349b9f5f9a1a6a0404dea36dcc949")


def test_order_is_of_utf8_bytes() -> None:
    # By code point U+FF5E is below U+1F600; by UTF-16 it would be above.
    names = ["\U0001f600", "\uff5e", "z", "a/b", "a.b"]
    assert [entry.path for entry in manifest_of(FileEntry(n, 1) for n in names).files] == [
        "a.b",
        "a/b",
        "z",
        "\uff5e",
        "\U0001f600",
    ]


@pytest.mark.parametrize(
    "files",
    [
        [FileEntry("b", 1), FileEntry("a", 1)],
        [FileEntry("a", -1)],
        [FileEntry("a", 1 << 51)],
        [FileEntry("a", 1 << 49), FileEntry("b", 1 << 49), FileEntry("c", 1)],
        [FileEntry("version.ini", 1 << 21)],
        [FileEntry("../a", 1)],
    ],
)
def test_refuses_manifests(files: list[FileEntry]) -> None:
    with pytest.raises(UnsafePath):
        check_manifest(Manifest(tuple(files)))


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"", ""),
        (b"1.2\r\nmore", "1.2"),
        (b"\xef\xbb\xbf 1.2 \n", "1.2"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"1\x1b[2J\n", "1[2J"),
        (b"\n1.2", ""),
        (b"9" * 100, "9" * 64),
    ],
)
def test_version_is_the_first_line(data: bytes, version: str) -> None:
    assert version_of(data) == version


@given(st.binary(max_size=200))
def test_any_sentinel_has_a_version(data: bytes) -> None:
    version = version_of(data)
    assert len(version) <= 64
    assert version.isprintable()
