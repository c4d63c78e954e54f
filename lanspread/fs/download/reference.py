"""What a download puts on the disk: one manifest, and the digest of every block of it. Pure.

Every block is verified against it, whoever sent the block or however it came to lie on the disk.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import attrs

from lanspread.fs.paths import VERSION_INI
from lanspread.model import Manifest, block_count, block_length


@attrs.define(kw_only=True, slots=False, eq=False)
class Reference:
    """What is being fetched; never changed. `digests` are in manifest order, one for every block.

    `sentinel` is the verified content of version.ini. Blocks are counted through the whole game:
    `starts` has the number of each file's first one, and at its end the number of all.
    """

    version: str
    manifest: Manifest
    manifest_hash: bytes
    content_hash: bytes
    block_bytes: int
    digests: tuple[bytes, ...]
    sentinel: bytes = b""

    @cached_property
    def starts(self) -> tuple[int, ...]:
        starts = [0]
        for entry in self.manifest.files:
            starts.append(starts[-1] + block_count(entry.size, self.block_bytes))
        return tuple(starts)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Path to number of every file."""
        return {entry.path: number for number, entry in enumerate(self.manifest.files)}

    def blocks_in(self, number: int) -> int:
        """How many blocks file `number` has."""
        return self.starts[number + 1] - self.starts[number]

    def length_of(self, number: int, block: int) -> int:
        """Bytes in block `block` (from 0) of file `number`."""
        return block_length(self.manifest.files[number].size, self.block_bytes, block)

    def digests_of(self, path: str) -> tuple[int, tuple[bytes, ...]]:
        """(size, digests) of one file of the manifest. Raises `KeyError`."""
        number = self.numbers[path]
        known = self.digests[self.starts[number] : self.starts[number + 1]]
        return self.manifest.files[number].size, known

    def wanted(self, selection: Collection[str] | None) -> tuple[int, ...]:
        """The numbers of the files whose blocks are fetched: all, or those of a selection.

        version.ini is none of them: it comes with the reference and is written by the commit.
        """
        return tuple(
            number
            for number, entry in enumerate(self.manifest.files)
            if entry.path != VERSION_INI and (selection is None or entry.path in selection)
        )
