"""The reference of a download: one manifest and one list of digests, fetched and checked.

Every block is verified against it, whoever sent the block. Source: ARCHITECTURE.md, "Downloading".
"""

from __future__ import annotations

import attrs
import trio

from lanspread import limits
from lanspread.errors import Code, LanspreadError
from lanspread.fs.download.reference import Reference
from lanspread.fs.manifest import (
    block_digest,
    check_manifest,
    content_hash,
    manifest_hash,
    version_of,
)
from lanspread.fs.paths import VERSION_INI, UnsafePath
from lanspread.model import FileEntry, Manifest, block_count
from lanspread.seams import Threads
from lanspread.sync import messages as m
from lanspread.sync.errors import PeerMisbehaved
from lanspread.sync.exchange import Exchange, PageReader
from lanspread.sync.session import Session
from lanspread.transfer.manifests import KnownManifest, KnownManifests
from lanspread.transfer.source import QuicSource, SourceChanged, SourceLied, source_errors
from lanspread.transfer.variants import Announced

# A manifest is there at once, however large; only digests may have to be computed first.
MANIFEST_TIMEOUT_S = 60.0


@attrs.frozen
class OfferedManifest:
    """A manifest as one source offers it: checked for safety, digests perhaps not complete."""

    version: str
    manifest: Manifest
    manifest_hash: bytes
    block_bytes: int
    digests: tuple[bytes, ...] | None


async def fetch_reference(
    session: Session,
    game_id: str,
    *,
    wanted: Announced,
    announced: Announced,
    threads: Threads,
    known: KnownManifests,
) -> Reference:
    """The complete reference from one source, that of the wanted content if that is known.

    `announced` is what the source said of it: without a content_hash it promised no content.
    Raises `SourceError`; `LanspreadError` (unsafe_path, manifest_too_large) for a manifest that
    may not be fetched; `trio.TooSlowError`.
    """
    with trio.fail_after(MANIFEST_TIMEOUT_S):
        offered = await fetch_manifest(session, game_id, wanted, threads, known)
    if (offered.manifest_hash, offered.version) != (wanted.manifest_hash, wanted.version):
        raise SourceChanged("the source offers something else now")
    digests = offered.digests
    if digests is None:
        digests = await fetch_digests(session, game_id, offered)
    found = content_hash(offered.manifest_hash, offered.block_bytes, digests)
    if wanted.content_hash is not None and found != wanted.content_hash:
        if announced.content_hash is None:
            raise SourceChanged("its files have other bytes: it is another variant")
        raise SourceLied("its digests are not those of the content that it announced")
    key = (offered.manifest_hash, found)
    known.put(key, KnownManifest(offered.manifest, offered.block_bytes, digests))
    return Reference(
        version=wanted.version,
        manifest=offered.manifest,
        manifest_hash=offered.manifest_hash,
        content_hash=found,
        block_bytes=offered.block_bytes,
        digests=digests,
    )


async def fetch_manifest(
    session: Session, game_id: str, wanted: Announced, threads: Threads, known: KnownManifests
) -> OfferedManifest:
    """A game's manifest from one peer, checked. Raises `SourceError`, `LanspreadError`.

    Where that of the announced hashes is known, the peer is only asked whether it is still so. The
    version is the announced one then, which `fetch_sentinel` holds against version.ini.
    """
    key = wanted.key
    held = known.get(key) if key is not None else None
    request = m.GetGame(id=game_id, known_manifest_hash=None, known_content_hash=None)
    if key is not None and held is not None:
        request = attrs.evolve(request, known_manifest_hash=key[0], known_content_hash=key[1])
    answer = await _ask(session, request)
    if answer is None:
        # Only asked with what is known can a peer answer that nothing has changed.
        assert key is not None
        assert held is not None
        return OfferedManifest(
            wanted.version, held.manifest, key[0], held.block_bytes, held.digests
        )
    # A large manifest takes a second to check: not on the event loop.
    offered, content = await threads.run(_checked, *answer, pool="hash")
    if content is not None and offered.digests is not None:
        known.put(
            (offered.manifest_hash, content),
            KnownManifest(offered.manifest, offered.block_bytes, offered.digests),
        )
    return offered


async def _ask(
    session: Session, request: m.GetGame
) -> tuple[m.GameManifest, list[m.FileRow]] | None:
    """The first page and all rows; None if what the request knows is not modified."""
    rows: list[m.FileRow] = []
    first: m.GameManifest | None = None
    cost = 0
    whole = m.NotModified if request.known_content_hash is not None else None
    with source_errors():
        async with session.request(request, asked_bytes=limits.MIB, paged=True) as exchange:
            pages = PageReader(exchange, m.GameManifest, lambda page: page.files, whole)
            while (page := await pages.next()) is not None:
                first = first or page
                _same_answer(first, page)
                for row in page.files:
                    cost += len(row[0]) + len(row[2] or b"") + 100
                    rows.append(row)
                if cost > limits.MAX_MANIFEST_BYTES or len(rows) > limits.MAX_FILES_PER_GAME:
                    raise _too_large()
            if first is None:
                return None
            if len(rows) != first.file_count:
                raise PeerMisbehaved("a manifest of another length than it says")
    return first, rows


def _same_answer(first: m.GameManifest, page: m.GameManifest) -> None:
    if (page.manifest_hash, page.block_size, page.eti_version, page.file_count) != (
        first.manifest_hash,
        first.block_size,
        first.eti_version,
        first.file_count,
    ):
        raise PeerMisbehaved("pages of different manifests in one answer")


def _checked(first: m.GameManifest, rows: list[m.FileRow]) -> tuple[OfferedManifest, bytes | None]:
    """The manifest, and the content_hash of its digests if they are complete."""
    manifest = Manifest(tuple(FileEntry(path, size) for path, size, _ in rows))
    try:
        check_manifest(manifest)
    except UnsafePath as error:
        raise LanspreadError(
            Code.UNSAFE_PATH,
            f"the game holds a file that is not safe to write: {error}",
            "ask the owner to rename the file; nothing was written",
        ) from error
    block_bytes = first.block_size
    if block_bytes < limits.MIN_BLOCK_BYTES:
        raise SourceLied("a block size out of range")
    counts = [block_count(entry.size, block_bytes) for entry in manifest.files]
    if sum(counts) > limits.MAX_BLOCKS_PER_GAME:
        raise _too_large()
    if manifest_hash(manifest) != first.manifest_hash:
        raise SourceLied("a manifest that does not match its hash")
    if not any(entry.path == VERSION_INI for entry in manifest.files):
        raise SourceLied("a manifest without version.ini")
    if any(
        known is not None and len(known) != 32 * count
        for (_, _, known), count in zip(rows, counts, strict=True)
    ):
        raise SourceLied("digests that do not match the size of their file")
    digests: tuple[bytes, ...] | None = None
    if all(known is not None for _, _, known in rows):
        digests = split_digests(b"".join(known or b"" for _, _, known in rows))
    content = None
    if digests is not None:
        content = content_hash(first.manifest_hash, block_bytes, digests)
    offered = OfferedManifest(
        first.eti_version, manifest, first.manifest_hash, block_bytes, digests
    )
    return offered, content


def _too_large() -> LanspreadError:
    return LanspreadError(
        Code.MANIFEST_TOO_LARGE,
        "the game has too many files, or blocks, to be fetched",
        "ask its owner to pack the files into archives",
    )


def split_digests(joined: bytes) -> tuple[bytes, ...]:
    """Digests that stand one behind the other, 32 bytes each."""
    return tuple(joined[at : at + 32] for at in range(0, len(joined), 32))


async def fetch_digests(
    session: Session, game_id: str, offered: OfferedManifest
) -> tuple[bytes, ...]:
    """All digests from one source, which may take its time to compute them."""
    expected = sum(block_count(entry.size, offered.block_bytes) for entry in offered.manifest.files)
    request = m.GetBlockDigests(id=game_id, manifest_hash=offered.manifest_hash)
    with source_errors():
        async with session.request(request, asked_bytes=limits.MIB, paged=True) as exchange:
            joined = await _read_digests(exchange, offered, expected)
    if len(joined) != 32 * expected:
        raise SourceLied("digests of another number than there are blocks")
    return split_digests(joined)


async def _read_digests(exchange: Exchange, offered: OfferedManifest, expected: int) -> bytes:
    joined = bytearray()
    pages = PageReader(exchange, m.BlockDigests, lambda page: page.digests)
    while (page := await pages.next()) is not None:
        if (page.manifest_hash, page.block_size) != (offered.manifest_hash, offered.block_bytes):
            raise PeerMisbehaved("digests of another manifest")
        joined += page.digests
        if len(joined) > 32 * expected:
            raise PeerMisbehaved("more digests than there are blocks")
    return bytes(joined)


async def fetch_sentinel(source: QuicSource, game_id: str, reference: Reference) -> bytes:
    """version.ini, verified. Raises `SourceError`; `LanspreadError` if it is of another version.

    It is fetched before anything is touched on the disk: a variant whose version.ini does not carry
    the announced version can never be completed.
    """
    size, digests = reference.digests_of(VERSION_INI)
    data = await source.fetch_file(game_id, reference.manifest_hash, VERSION_INI, size)
    for number, digest in enumerate(digests):
        at = number * reference.block_bytes
        if block_digest(data[at : at + reference.block_bytes]) != digest:
            raise SourceLied("it sent a version.ini that does not match its digest")
    if version_of(data) != reference.version:
        raise LanspreadError(
            Code.NOT_AVAILABLE,
            f"version.ini does not carry the version {reference.version!r} that was announced",
            "tell the owner of the game, or name another variant",
        )
    return data
