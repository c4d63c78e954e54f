"""The manifests that are kept: a bounded number of bytes, least recently used first out."""

from __future__ import annotations

from lanspread.model import FileEntry, Manifest
from lanspread.transfer.manifests import KnownManifest, KnownManifests


def known(files: int, path: str = "x") -> KnownManifest:
    entries = tuple(FileEntry(f"{path}{number:06}", 1) for number in range(files))
    return KnownManifest(Manifest(entries), 1_024, (bytes(32),) * files)


def key(number: int) -> tuple[bytes, bytes]:
    return number.to_bytes(32, "big"), bytes(32)


def test_least_recently_used_goes_first() -> None:
    one = known(10)
    cache = KnownManifests(3 * one.weight)
    for number in range(3):
        cache.put(key(number), one)
    assert cache.get(key(0)) is one
    cache.put(key(3), one)
    assert cache.get(key(1)) is None
    assert [cache.get(key(number)) for number in (0, 2, 3)] == [one] * 3
    assert cache.weight == 3 * one.weight


def test_both_hashes_count() -> None:
    cache = KnownManifests()
    cache.put((b"m" * 32, b"c" * 32), known(1))
    assert cache.get((b"m" * 32, b"d" * 32)) is None
    assert cache.get((b"n" * 32, b"c" * 32)) is None


def test_what_is_larger_than_all_there_is_room_for_is_not_kept() -> None:
    small = known(10)
    cache = KnownManifests(2 * small.weight)
    cache.put(key(0), small)
    cache.put(key(1), known(1_000))
    assert len(cache) == 1
    assert cache.get(key(0)) is small
    for number in range(100):
        cache.put(key(number), known(number % 20))
        assert cache.weight <= 2 * small.weight


def test_long_paths_weigh_what_they_take() -> None:
    assert known(10, "long" * 200).weight > known(10).weight + 10 * 800
