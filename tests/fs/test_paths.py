"""Which paths and game IDs are refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.fs import paths
from lanspread.fs.paths import UnsafePath, check_game_id, check_manifest_paths, check_path

BAD = [
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/./b",
    "a//b",
    "a/",
    ".",
    "..",
    "C:\\x",
    "C:/x",
    "c:x",
    "a\\b",
    "\\\\host\\share",
    "stream.txt:ads",
    "nul\0",
    "line\nbreak",
    "escape\x1b[2J",
    "c1\x85",
    "dot.",
    "space ",
    "folder./x",
    "folder /x",
    "CON",
    "con",
    "NUL.txt",
    "aux.tar.gz",
    "a/COM1",
    "a/com¹.txt",
    "LPT9.x",
    "LPT³",
    "CONIN$",
    "conout$.log",
    "CON .txt",
    "local",
    "local/save",
    "LOCAL/save",
    "Local",
    "lo\u200ccal/save",
    ".lanspread",
    ".lanspread.json",
    ".lanspread/download.json",
    ".LanSpread_owned",
    ".lanspread_owned",
    ".version.ini.tmp",
    ".version.ini.discarded",
    ".VERSION.ini.tmp",
    ".ver\u017fion.ini.tmp",
    ".local.backup/x",
    ".local.installing/x",
    "VERSION.INI",
    "Version.ini",
    "ver\u017fion.ini",
    "version.ini/x",
    "LANSPR~1.JSO",
    "VERSIO~1.INI",
    "local~1/x",
    "Thumbs.db",
    "a/.DS_Store",
    "a/desktop.ini",
    "._resource",
    "lone\ud800surrogate",
    "x" * (limits.MAX_PATH_PART_BYTES + 1),
    "é" * (limits.MAX_PATH_PART_BYTES // 2 + 1),
    "/".join(["abcdefgh"] * 60) + "/" + "/".join(["y" * 200] * 4),
    "/".join(["d"] * (limits.MAX_PATH_DEPTH + 1)),
]

GOOD = [
    "version.ini",
    "game.eti",
    "sub/version.ini",
    "sub/Version.INI",
    "sub/local/save",
    "sub/.lanspread.json",
    "a b/ leading space.txt",
    ".hidden",
    "consolation/nullify.txt",
    "com0x",
    "com10",
    "имя/名前/ñ.txt",
    "what?.txt",
    "dots..in..middle",
    "locale/x",
    "localization.txt",
    "a~1.txt",
    "x" * limits.MAX_PATH_PART_BYTES,
    "/".join(["d"] * limits.MAX_PATH_DEPTH),
]


@pytest.mark.parametrize("path", BAD)
def test_refuses(path: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        check_path(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", GOOD)
def test_allows(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "together",
    [
        ["a", "a"],
        ["A", "a"],
        ["Data/x", "data/y"],
        ["a", "a/b"],
        ["a/b", "a"],
        ["A", "a/b"],
        ["a/b/c", "a/B"],
        ["caf\u00e9", "cafe\u0301"],
        ["caf\u00e9/x", "cafe\u0301/y"],
        ["stra\u00dfe", "STRASSE"],
        ["x", "x\u200d"],
        ["good", "../bad"],
    ],
)
def test_one_bad_path_refuses_all(together: list[str]) -> None:
    with pytest.raises(UnsafePath):
        check_manifest_paths(together)
    with pytest.raises(UnsafePath):
        check_manifest_paths(reversed(together))


def test_allows_what_is_apart() -> None:
    check_manifest_paths(["a/b", "a/c", "a/d/e", "ab", "a.b", "b/a", "version.ini"])


def test_refuses_one_file_too_many() -> None:
    with pytest.raises(UnsafePath):
        check_manifest_paths(f"{number}" for number in range(limits.MAX_FILES_PER_GAME + 1))


@pytest.mark.parametrize(
    "game_id",
    [
        "",
        ".hidden",
        "a/b",
        "..",
        "x" * 65,
        "tab\t",
        "bell\a",
        "end.",
        "end ",
        "CON",
        "a:b",
        "a\\b",
        "zero\u200bwidth",
        "rtl\u202e",
        "\ud800",
    ],
)
def test_refuses_game_ids(game_id: str) -> None:
    with pytest.raises(UnsafePath):
        check_game_id(game_id)


@pytest.mark.parametrize("game_id", ["a", "local", "Half-Life 2", "ゲーム", "x" * 64, "a.b"])
def test_allows_game_ids(game_id: str) -> None:
    assert check_game_id(game_id) == game_id


TEXT = st.text(st.sampled_from("aAbB./\\: \0\u00e9e\u0301\u200c~1\ud800ſ"), max_size=12)


@given(st.one_of(TEXT, st.text(max_size=40)))
def test_what_passes_is_a_plain_relative_path(path: str) -> None:
    try:
        check_path(path)
    except UnsafePath:
        return
    parts = path.split("/")
    assert all(part not in ("", ".", "..") for part in parts)
    assert not set(path) & set("\\:\0\n")
    assert path.encode()
    assert not parts[0].casefold().startswith(".lanspread")
    assert parts[0].casefold() != "local"
    # Whatever form a file system stores the name in, it is still allowed or at least still inside.
    for form in ("NFC", "NFD"):
        assert ".." not in unicodedata.normalize(form, path).split("/")


@given(st.lists(TEXT, max_size=6))
def test_manifest_check_depends_on_no_order(together: list[str]) -> None:
    def verdict(some: list[str]) -> bool:
        try:
            check_manifest_paths(some)
        except UnsafePath:
            return False
        return True

    assert verdict(together) == verdict(sorted(together)) == verdict(together[::-1])


@given(st.lists(TEXT, max_size=6))
def test_what_passes_together_stays_apart_on_every_disk(together: list[str]) -> None:
    try:
        check_manifest_paths(together)
    except UnsafePath:
        return
    names: dict[str, tuple[str, bool]] = {}
    for path in together:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            here = (name, count == len(parts))
            assert names.setdefault(paths.fold_path(name), here) == here


@given(st.text(max_size=300))
def test_shown_is_one_bounded_line(text: str) -> None:
    assert paths.shown(text).isprintable()
    assert len(paths.shown(text)) <= 200
