"""Catalog files, good and bad."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.errors import StartError
from lanspread.fs.catalog import Catalog, load_catalog

GAMES = [
    {"id": "Quake", "name": "Quake III", "year": 1999, "genre": "shooter", "version": " 1.32 "},
    {"id": "plain", "unknown": [1, 2]},
]


def test_without_a_file_everything_is_allowed() -> None:
    catalog = load_catalog(None)
    assert catalog.is_open
    assert catalog.allows("anything")
    assert catalog.entry("anything") is None
    assert catalog.objection("anything", "1") is None


def check(catalog: Catalog) -> None:
    assert catalog.allows("QUAKE")
    assert not catalog.allows("other")
    entry = catalog.entry("quake")
    assert entry is not None
    assert (entry.id, entry.name, entry.year, entry.version) == ("Quake", "Quake III", 1999, "1.32")
    assert catalog.expected_version("quake") == "1.32"
    assert catalog.expected_version("plain") is None
    assert [one.name for one in catalog.entries()] == ["Quake III", "plain"]
    assert catalog.objection("other", None) is not None
    assert catalog.objection("quake", "1.31") is not None
    assert catalog.objection("quake", "1.32") is None
    assert catalog.objection("quake", None) is None


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("\ufeff" + json.dumps(GAMES), encoding="utf-8")
    check(load_catalog(str(path)))


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "with ? and #.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE games (id, name, year, version, more)")
    connection.execute("INSERT INTO games VALUES ('Quake', 'Quake III', 1999, 1.32, x'00')")
    connection.execute("INSERT INTO games (id) VALUES ('plain')")
    connection.commit()
    connection.close()
    check(load_catalog(str(path)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "nonsense",
        "[" * 100_000,
        "[1]",
        "[{}]",
        '[{"id": 1}]',
        '[{"id": "../x"}]',
        '[{"id": "a"}, {"id": "A"}]',
        '[{"id": "a", "year": "1999"}]',
        '[{"id": "a", "year": true}]',
        '[{"id": "a", "name": []}]',
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(StartError) as caught:
        load_catalog(str(path))
    assert caught.value.usage
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_file_that_cannot_be_read(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "c")
    with pytest.raises(StartError):
        load_catalog(str(tmp_path / "c"))


def test_a_database_without_games(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "c.db")
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    connection.close()
    with pytest.raises(StartError):
        load_catalog(str(tmp_path / "c.db"))


ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["id", "name", "year", "version", "cover"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    ),
    max_size=3,
)


@given(rows=ROWS)
def test_any_rows_load_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: object
) -> None:
    path = tmp_path_factory.mktemp("catalog") / "c.json"
    path.write_text(json.dumps(rows))
    try:
        catalog = load_catalog(str(path))
    except StartError:
        return
    assert all(catalog.allows(entry.id) for entry in catalog.entries())
