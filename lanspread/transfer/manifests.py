"""Manifests that were verified once, so that the next who asks moves a few hundred bytes.

What is kept follows from its key alone: `manifest_hash` binds names and sizes, `content_hash` the
block size and every digest. So it does not matter which peer sent it, and a peer that says
NotModified can only ever bring back what its announced hashes say. Least recently used goes first.
Source: docs/protocol.md, "Fetching a game".
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from lanspread import limits
from lanspread.model import Manifest

_ROW_BYTES = 250
_DIGEST_BYTES = 80


@attrs.frozen
class KnownManifest:
    """A manifest with all digests, checked against both hashes of its key."""

    manifest: Manifest
    block_bytes: int
    digests: tuple[bytes, ...]

    @property
    def weight(self) -> int:
        """About what it takes in memory, in bytes."""
        paths = sum(4 * len(entry.path) for entry in self.manifest.files)
        rows = _ROW_BYTES * len(self.manifest.files)
        return paths + rows + _DIGEST_BYTES * len(self.digests)


# (manifest_hash, content_hash)
Key = tuple[bytes, bytes]


class KnownManifests:
    """A bounded number of bytes of them. Everything returns at once."""

    def __init__(self, max_bytes: int = limits.MAX_CACHED_MANIFEST_BYTES) -> None:
        self._max_bytes = max_bytes
        self._known: OrderedDict[Key, tuple[KnownManifest, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> KnownManifest | None:
        """The manifest with these hashes, which counts as just used."""
        found = self._known.get(key)
        if found is None:
            return None
        self._known.move_to_end(key)
        return found[0]

    def put(self, key: Key, known: KnownManifest) -> None:
        """Keep it, unless it alone is more than there is room for."""
        weight = known.weight
        if weight > self._max_bytes or key in self._known:
            return
        self._known[key] = (known, weight)
        self.weight += weight
        while self.weight > self._max_bytes:
            _, (_, gone) = self._known.popitem(last=False)
            self.weight -= gone
