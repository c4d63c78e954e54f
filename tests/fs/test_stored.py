"""What the index remembers of a game comes back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.local_game import LocalGame, local_game
from lanspread.fs.manifest import manifest_hash, manifest_of
from lanspread.fs.scan import ScannedGame, ScanWarning
from lanspread.fs.stored import decode_game, encode_game
from lanspread.model import FileEntry, block_count
from lanspread.seams import FileStamp

BLOCK = 1024

paths = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
stamps = st.lists(
    st.builds(
        FileStamp,
        path=paths,
        size=st.integers(0, 5 * BLOCK),
        mtime_ns=st.integers(-(2**63), 2**63 - 1),
        inode=st.integers(0, 2**64 - 1),
    ),
    unique_by=lambda stamp: stamp.path,
    max_size=10,
)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
warnings = st.lists(st.builds(ScanWarning, texts, texts, texts), max_size=3)


@given(
    stamps=stamps,
    blocks_known=st.lists(st.integers(0, 6), min_size=10, max_size=10),
    texts=st.tuples(texts, texts, st.none() | texts, st.none() | texts),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    warnings=warnings,
)
def test_comes_back_as_it_was(
    stamps: list[FileStamp],
    blocks_known: list[int],
    texts: tuple[str, str, str | None, str | None],
    flags: tuple[bool, bool, bool, bool],
    warnings: list[ScanWarning],
) -> None:
    manifest = manifest_of(FileEntry(stamp.path, stamp.size) for stamp in stamps)
    by_path = {stamp.path: stamp for stamp in stamps}
    ordered = tuple(by_path[entry.path] for entry in manifest.files)
    known = {
        stamp: tuple(
            bytes([number]) * 32 for number in range(min(count, block_count(stamp.size, BLOCK)))
        )
        for stamp, count in zip(ordered, blocks_known, strict=False)
    }
    scanned = ScannedGame(
        id=texts[0],
        version=texts[1],
        downloaded=flags[0],
        installed=flags[1],
        installed_version=texts[3],
        unfinished=flags[3],
        manifest=manifest,
        manifest_hash=None if texts[2] is not None or not stamps else manifest_hash(manifest),
        stamps=ordered,
        fingerprint=b"f" * 32,
        leftovers=False,
        problem=texts[2],
        warnings=tuple(warnings),
    )
    game = local_game(scanned, known, BLOCK)
    row = encode_game(
        game,
        known,
        fingerprint=scanned.fingerprint,
        settled=flags[2],
        problem=texts[2],
        warnings=tuple(warnings),
        walked=7,
    )
    stored = decode_game(row)
    assert stored is not None
    assert (stored.fingerprint, stored.settled) == (scanned.fingerprint, flags[2])
    assert stored.scan_warnings() == tuple(warnings)
    back = stored.game()
    assert back == game
    assert facts(back) == facts(game)
    # Nothing but what was known, and an empty file needs no digests.
    assert stored.files().known == {
        stamp: digests for stamp, digests in known.items() if digests or not stamp.size
    }


def facts(game: LocalGame) -> tuple[object, ...]:
    return (game.manifest, game.stamps, game.digests, game.content_hash, game.size)


@given(st.binary(max_size=200))
def test_anything_else_is_nothing(data: bytes) -> None:
    assert decode_game(data) is None


@given(st.integers(0, 300))
def test_what_was_cut_is_nothing(end: int) -> None:
    manifest = manifest_of([FileEntry("a", 5)])
    scanned = ScannedGame(
        id="g",
        version="1",
        downloaded=True,
        installed=False,
        installed_version=None,
        unfinished=False,
        manifest=manifest,
        manifest_hash=manifest_hash(manifest),
        stamps=(FileStamp("a", 5, 1, 2),),
        fingerprint=b"f" * 32,
        leftovers=False,
        problem=None,
        warnings=(),
    )
    row = encode_game(
        local_game(scanned, {}, BLOCK),
        {},
        fingerprint=b"f" * 32,
        settled=True,
        problem=None,
        warnings=(),
        walked=0,
    )
    assert (decode_game(row[:end]) is None) == (end < len(row))
