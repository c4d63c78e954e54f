"""Pictures of games: which are shown, by whose word, and what is no picture at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs.catalog import Catalog, load_catalog
from lanspread.fs.covers import Covers
from lanspread.fs.disk import DiskFileSystem
from lanspread.fs.library import Library
from lanspread.fs.local_game import GameFiles, pack_files
from lanspread.fs.pictures import MAX_SIDE_PIXELS, picture_type
from lanspread.model import fold_id
from lanspread.seams import FileStamp, Folder
from lanspread.testing import VirtualLan
from lanspread.testing.parts import InlineThreads
from lanspread.views import Picture
from tests.fs.pictures import jpeg, png, webp

LARGEST = MAX_SIDE_PIXELS


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(), "image/png"),
        (png(LARGEST, LARGEST), "image/png"),
        (png(LARGEST + 1, 1), None),
        (png(1, LARGEST + 1), None),
        (png(0, 8), None),
        (png()[:20], None),
        (jpeg(), "image/jpeg"),
        (jpeg(LARGEST + 1, 1), None),
        (b"\xff\xd8\xff\xd9", None),
        (b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), None),
        (webp(b"VP8 "), "image/webp"),
        (webp(b"VP8 ", LARGEST + 1), None),
        (webp(b"VP8L"), "image/webp"),
        (webp(b"VP8L", 1, LARGEST + 1), None),
        (webp(b"VP8X"), "image/webp"),
        (webp(b"VP8X", 1, LARGEST + 1), None),
        (webp(b"ALPH"), None),
        (b"GIF89a" + bytes(40), None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", None),
        (b"", None),
    ],
)
def test_what_is_a_picture(data: bytes, expected: str | None) -> None:
    assert picture_type(data) == expected


STARTS = [b"", png(), jpeg(), webp(b"VP8 "), webp(b"VP8L"), webp(b"VP8X")]


@given(st.sampled_from(STARTS), st.integers(0, 40), st.binary(max_size=80))
@example(b"\xff\xd8\xff", 3, b"\xff\xff\xff" * 20)
def test_no_bytes_are_too_odd(start: bytes, cut: int, rest: bytes) -> None:
    assert picture_type(start[:cut] + rest) in (None, "image/png", "image/jpeg", "image/webp")


def stamps(*files: tuple[str, int]) -> tuple[FileStamp, ...]:
    return tuple(FileStamp(path, size, 1, 1) for path, size in files)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((("cover.jpg", 5), ("cover.png", 5), ("version.ini", 3)), "cover.png"),
        ((("cover.jpg", 5), ("cover.png", limits.MAX_COVER_BYTES + 1)), "cover.jpg"),
        ((("cover.webp", 5),), "cover.webp"),
        ((("art/cover.png", 5), ("cover.gif", 5), ("discover.png", 5)), None),
        ((("cover.png", 0),), None),
    ],
)
def test_a_game_knows_its_own_picture(
    files: tuple[tuple[str, int], ...], expected: str | None, packed: bool
) -> None:
    known = stamps(*files)
    game_files = (
        GameFiles.packed(pack_files(known, {}))
        if packed
        else GameFiles(manifest=attrs.NOTHING, stamps=known)  # type: ignore[arg-type]
    )
    cover = game_files.cover
    assert (cover.path if cover is not None else None) == expected


@attrs.frozen
class OneGame:
    files: GameFiles
    id: str = "Quake"


class Shelf:
    """A library of one game, in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.games: dict[str, OneGame] = {}
        self.look()

    def look(self) -> None:
        """Walk, as the library does by itself."""
        found = tuple(
            FileStamp(path.name, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino)
            for path in sorted(self._folder.iterdir())
        )
        files = GameFiles(manifest=attrs.NOTHING, stamps=found)  # type: ignore[arg-type]
        self.games = {fold_id("Quake"): OneGame(files)}

    def open_game(self, game_id: str) -> Folder:
        assert game_id == "Quake"
        return DiskFileSystem().open_folder(str(self._folder))


@pytest.fixture
def game(tmp_path: Path) -> Path:
    folder = tmp_path / "games" / "Quake"
    folder.mkdir(parents=True)
    return folder


@attrs.define
class Made:
    """Covers of that one game, and what was told of changes."""

    covers: Covers
    shelf: Shelf
    told: list[frozenset[str]]

    def key(self) -> str:
        return key_of(self.covers.url("Quake"))

    async def read(self, key: str, game_id: str = "Quake") -> Picture | None:
        return await self.covers.read(game_id, key)


async def make(game: Path, catalog: Catalog | None = None, token: str = "a") -> Made:
    shelf = Shelf(game)
    told: list[frozenset[str]] = []
    covers = Covers(
        cast(Library, shelf),
        catalog or Catalog(),
        DiskFileSystem(),
        token,
        InlineThreads(),
        told.append,
    )
    await covers.look()
    return Made(covers, shelf, told)


def key_of(url: str | None) -> str:
    assert url is not None
    return parse_qs(urlsplit(url).query)["key"][0]


def catalog_of(folder: Path, cover: str) -> Catalog:
    file = folder / "catalog.json"
    file.write_text(json.dumps([{"id": "quake", "name": "Quake", "cover": cover}]))
    return load_catalog(str(file))


async def test_the_picture_in_the_games_folder(game: Path) -> None:
    (game / "cover.png").write_bytes(png())
    made = await make(game)
    url = made.covers.url("Quake")
    assert url is not None
    assert url.startswith("/cover/Quake?key=")
    picture = await made.read(key_of(url), "QUAKE")
    assert picture is not None
    assert (picture.media_type, picture.data) == ("image/png", png())


async def test_a_key_is_good_for_one_picture_in_one_state(game: Path) -> None:
    (game / "cover.png").write_bytes(png())
    made = await make(game)
    key = made.key()
    assert await made.read("") is None
    assert await made.read(key[:-1] + ("0" if key[-1] != "0" else "1")) is None
    assert await made.read("é" + key) is None
    assert await made.read(key, "Doom") is None
    assert await (await make(game, token="b")).read(key) is None
    (game / "cover.png").write_bytes(png(7, 9))
    made.shelf.look()
    assert await made.read(key) is None
    assert await made.read(made.key()) is not None


async def test_without_a_picture_there_is_no_address(game: Path) -> None:
    made = await make(game)
    assert made.covers.url("Quake") is None
    assert made.covers.url("somebody else's") is None
    assert await made.read("") is None


async def test_what_is_no_picture_or_gone_or_a_link_is_not_served(
    game: Path, tmp_path: Path
) -> None:
    file = game / "cover.png"
    file.write_bytes(b"<script>alert(1)</script>")
    made = await make(game)
    assert await made.read(made.key()) is None
    file.unlink()
    assert await made.read(made.key()) is None
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    file.symlink_to(secret)
    made.shelf.look()
    assert await made.read(made.key()) is None


async def test_a_file_that_grew_since_the_walk_is_not_read_whole(game: Path) -> None:
    file = game / "cover.png"
    file.write_bytes(png())
    made = await make(game)
    file.write_bytes(png() + bytes(limits.MAX_COVER_BYTES))
    assert await made.read(made.key()) is None


async def test_the_catalogs_picture_comes_first(game: Path, tmp_path: Path) -> None:
    art = tmp_path / "art" / "quake.jpg"
    art.parent.mkdir()
    art.write_bytes(jpeg())
    (game / "cover.png").write_bytes(png())
    made = await make(game, catalog_of(tmp_path, "art/quake.jpg"))
    key = made.key()
    picture = await made.read(key)
    assert picture is not None
    assert picture.media_type == "image/jpeg"
    assert made.told == []
    # Once it is found gone, the game's own is the one.
    art.unlink()
    assert await made.read(key) is None
    assert made.told == [frozenset({"quake"})]
    picture = await made.read(made.key())
    assert picture is not None
    assert picture.media_type == "image/png"


async def test_the_catalogs_picture_is_replaced(game: Path, tmp_path: Path) -> None:
    art = tmp_path / "quake.png"
    art.write_bytes(png())
    made = await make(game, catalog_of(tmp_path, "quake.png"))
    key = made.key()
    # As an editor saves: another file of the same size takes its name.
    art.with_suffix(".new").write_bytes(png(8, 6))
    os.replace(art.with_suffix(".new"), art)
    assert made.key() == key
    assert await made.read(key) is None
    assert made.told == [frozenset({"quake"})]
    assert made.key() != key
    picture = await made.read(made.key())
    assert picture is not None
    assert picture.data == png(8, 6)


async def test_a_replaced_picture_that_nobody_asks_for_is_noticed(
    game: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    art = tmp_path / "deep" / "quake.png"
    made = await make(game, catalog_of(tmp_path, "deep/quake.png"))
    assert made.covers.url("Quake") is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.covers.run)
        for picture in (png(), png(7, 9)):
            art.parent.mkdir(exist_ok=True)
            art.write_bytes(picture)
            url = made.covers.url("Quake")
            await trio.sleep(limits.FALLBACK_SCAN_S + 1)
            assert made.covers.url("Quake") not in (None, url)
            assert made.told.pop() == {"quake"}
        await trio.sleep(limits.FALLBACK_SCAN_S * 3)
        assert made.told == []
        art.write_bytes(png() + bytes(limits.MAX_COVER_BYTES))
        await trio.sleep(limits.FALLBACK_SCAN_S)
        assert made.covers.url("Quake") is None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "cover", ["../secret.png", "/etc/passwd", "http://a.example/x.png", "a\0b", "link/secret.png"]
)
async def test_a_catalog_leads_nowhere_else(game: Path, tmp_path: Path, cover: str) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    made = await make(game, catalog_of(folder, cover))
    assert made.covers.url("Quake") is None


async def test_a_whole_peer_tells_and_serves_it(
    autojump_clock: trio.testing.MockClock, lan: VirtualLan
) -> None:
    peer = lan.add_peer("anna")
    peer.put_game("Quake", {"cover.png": png(), "quake.eti": 1000})
    peer.put_game("Doom", {"doom.eti": 1000})
    await peer.start()
    urls = {view.id: view.cover_url for view in peer.peer.games()}
    assert urls["Doom"] is None
    picture = await peer.peer.cover("Quake", key_of(urls["Quake"]))
    assert picture is not None
    assert picture.data == png()


def test_a_picture_of_segments_alone_is_none() -> None:
    """Looking for its size must not cost a second."""
    assert picture_type(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_000_000) is None
