"""How much of an unfinished download its journal says is there. Calls block."""

from __future__ import annotations

from lanspread.fs.download.journal import JournalHeader, read_journal
from lanspread.fs.download.records import Plan
from lanspread.fs.manifest import manifest_hash, path_key
from lanspread.model import FileEntry, Manifest
from lanspread.seams import Folder


def kept_bytes(folder: Folder, plan: Plan) -> int:
    """The bytes of the blocks that the journal names, for people: no block is trusted by this.

    0 where a plan of several downloads does not say which file has which number. Raises `OSError`
    if the journal cannot be read.
    """
    paths = sorted(plan.files, key=path_key)
    sizes = [plan.files[path] for path in paths]
    manifest = Manifest(tuple(map(FileEntry, paths, sizes)))
    if manifest_hash(manifest) != plan.manifest_hash:
        return 0
    header = JournalHeader(plan.manifest_hash, plan.content_hash, plan.block_bytes)
    journal = read_journal(folder, header, lambda *_: True)
    block_bytes = plan.block_bytes
    return sum(
        min(block_bytes, sizes[number] - block * block_bytes)
        for number, found in journal.files.items()
        for block in set(found.blocks)
        if number < len(sizes) and block * block_bytes < sizes[number]
    )
