"""Manifests and their hashes: what "the same files" and "the same bytes" mean. Pure.

The encodings are part of the protocol: docs/protocol.md, "Manifest", with test vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import cbor2
from blake3 import blake3

from lanspread import limits
from lanspread.fs.paths import VERSION_INI, UnsafePath, check_manifest_paths
from lanspread.model import FileEntry, Manifest, clean_version

DIGEST_BYTES: Final = 32
# A sentinel is held in memory while a game is committed.
MAX_SENTINEL_BYTES: Final = limits.MIB
# What of it is looked at for its first line.
VERSION_BYTES: Final = 4 * limits.KIB


def path_key(path: str) -> bytes:
    """The order of files in a manifest: UTF-8 bytes."""
    return path.encode()


def manifest_of(files: Iterable[FileEntry]) -> Manifest:
    """A manifest in its one order."""
    return Manifest(tuple(sorted(files, key=lambda entry: path_key(entry.path))))


def check_manifest(manifest: Manifest) -> None:
    """Whether a manifest may be written to a disk or offered. Raises `UnsafePath`.

    Sizes, order, number and all rules of `check_manifest_paths`.
    """
    check_manifest_paths(entry.path for entry in manifest.files)
    total = 0
    last = b""
    for entry in manifest.files:
        key = path_key(entry.path)
        if key <= last:
            raise UnsafePath(entry.path, "is not in its place in the manifest")
        last = key
        total += entry.size
        if entry.size < 0 or total > limits.MAX_GAME_BYTES:
            raise UnsafePath(entry.path, "has an impossible size")
        if entry.path == VERSION_INI and entry.size > MAX_SENTINEL_BYTES:
            raise UnsafePath(entry.path, f"is larger than {MAX_SENTINEL_BYTES} bytes")


def manifest_hash(manifest: Manifest) -> bytes:
    """SHA-256 of the canonical CBOR array of [path, size]: the same names and sizes."""
    return hashlib.sha256(
        cbor2.dumps([[entry.path, entry.size] for entry in manifest.files], canonical=True)
    ).digest()


def content_hash(manifest_hash: bytes, block_bytes: int, digests: Sequence[bytes]) -> bytes:
    """SHA-256 of the canonical CBOR of [manifest_hash, block_bytes, digests]: the same bytes.

    `digests` holds 32 bytes for every block, files in manifest order, blocks by offset.
    """
    return hashlib.sha256(
        cbor2.dumps([manifest_hash, block_bytes, list(digests)], canonical=True)
    ).digest()


def block_digest(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3 of one block."""
    return blake3(data).digest()


def block_hasher() -> blake3:
    """For a block that comes in parts: `update` with each; `digest` then is as `block_digest`."""
    return blake3()


def version_of(version_ini: bytes) -> str:
    """The version that a sentinel carries: its first line, cleaned."""
    lines = version_ini[:VERSION_BYTES].decode("utf-8", "replace").splitlines()
    # The byte-order mark is not printable, so it goes here too.
    return clean_version("".join(char for char in lines[0] if char.isprintable())) if lines else ""
