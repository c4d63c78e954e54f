"""What an update takes along: whatever the user made or changed is there afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.fs.errors import CannotKeep
from lanspread.fs.install.carry_over import CarryOver, plan_carry_over
from lanspread.fs.install.record import InstalledFile, InstallRecord
from lanspread.fs.paths import fold_path
from lanspread.seams import Entry, Kind
from tests.fs.install.support import installed_file

LINK = Kind.LINK
Theirs = Mapping[str, bytes | Kind]


def entries(theirs: Theirs) -> dict[str, Entry]:
    """With the folders that the paths need."""
    found: dict[str, Entry] = {}
    for path, what in theirs.items():
        parts = path.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            found[above] = Entry(parts[count - 1], Kind.FOLDER, 0, 0, 0, 0)
        kind = what if isinstance(what, Kind) else Kind.FILE
        size = 0 if isinstance(what, Kind) else len(what)
        found[path] = Entry(parts[-1], kind, size, 0, 0, 0)
    return found


def folders_of(files: Mapping[str, bytes]) -> list[str]:
    found = {path.rsplit("/", count)[0] for path in files for count in range(1, 9) if "/" in path}
    return sorted(rel for rel in found if rel not in files)


def hashed(files: Mapping[str, bytes]) -> dict[str, InstalledFile]:
    return {path: installed_file(data) for path, data in files.items()}


def recorded(files: Mapping[str, bytes] | None) -> InstallRecord | None:
    if files is None:
        return None
    return InstallRecord("1", hashed(files), frozenset(folders_of(files)))


def plan(
    theirs: Theirs,
    old: Mapping[str, bytes] | None,
    new: Mapping[str, bytes],
    *,
    folds: bool = False,
) -> CarryOver:
    def digest_of(path: str) -> bytes:
        data = theirs[path]
        assert isinstance(data, bytes)
        return installed_file(data).digest

    return plan_carry_over(
        entries(theirs), recorded(old), hashed(new), folders_of(new), digest_of, folds=folds
    )


def perform(
    found: CarryOver, theirs: Theirs, new: Mapping[str, bytes], *, folds: bool = False
) -> dict[str, bytes | Kind]:
    """The new `local/`, made as a disk would make it: with all that a disk would refuse."""
    key = fold_path if folds else str
    after: dict[str, bytes | Kind] = dict(new)
    after.update(dict.fromkeys(folders_of(new), Kind.FOLDER))
    names = {key(path): path for path in after}
    for rel in found.folders:
        assert key(rel) not in names
        assert_parent(rel, names, after, folds)
        names[key(rel)] = rel
        after[rel] = Kind.FOLDER
    for keep in found.keeps:
        assert_parent(keep.target, names, after, folds)
        if keep.replaces:
            assert isinstance(after.pop(keep.target), bytes)
        else:
            assert key(keep.target) not in names
        names[key(keep.target)] = keep.target
        after[keep.target] = theirs[keep.source]
    return after


def assert_parent(
    rel: str, names: Mapping[str, str], after: Mapping[str, bytes | Kind], folds: bool
) -> None:
    above = rel.rpartition("/")[0]
    if above:
        assert after[names[(fold_path if folds else str)(above)]] is Kind.FOLDER


def updated(
    theirs: Theirs,
    old: Mapping[str, bytes] | None,
    new: Mapping[str, bytes],
    *,
    folds: bool = False,
) -> dict[str, bytes | Kind]:
    found = plan(theirs, old, new, folds=folds)
    after = perform(found, theirs, new, folds=folds)
    assert found.kept == tuple(sorted([*(keep.target for keep in found.keeps), *found.empty]))
    return {path: what for path, what in after.items() if what is not Kind.FOLDER}


OLD = {"game": b"1", "settings": b"default", "gone": b"x"}
NEW = {"game": b"2", "settings": b"default", "fresh": b"y"}


@pytest.mark.parametrize(
    ("theirs", "more"),
    [
        ({}, {}),
        (OLD, {}),
        ({**OLD, "save": b"mine"}, {"save": b"mine"}),
        ({**OLD, "settings": b"mine"}, {"settings": b"mine"}),
        ({**OLD, "game": b"patched"}, {"game.before-update": b"patched"}),
        ({**OLD, "game": b"2"}, {}),
        ({**OLD, "gone": b"changed"}, {"gone": b"changed"}),
        ({**OLD, "fresh": b"mine"}, {"fresh.before-update": b"mine"}),
        ({**OLD, "fresh": b"y"}, {}),
        # What the user deleted comes back, and is not in anybody's way.
        ({"gone": b"x"}, {}),
        ({**OLD, "link": LINK}, {"link": LINK}),
        ({**OLD, "settings": LINK}, {"settings": LINK}),
        ({**OLD, "game": LINK}, {"game.before-update": LINK}),
        ({**OLD, "gone": LINK}, {"gone": LINK}),
        # From an update before.
        (
            {**OLD, "game": b"p", "game.before-update": b"older"},
            {"game.before-update": b"older", "game.before-update-2": b"p"},
        ),
        # A file where the new version has a folder, and the reverse.
        ({**OLD, "fresh/a": b"mine"}, {"fresh.before-update/a": b"mine"}),
    ],
)
def test_what_is_kept(theirs: Theirs, more: Theirs) -> None:
    assert updated(theirs, OLD, NEW) == {**NEW, **more}


def test_a_file_of_the_users_where_the_new_version_has_a_folder() -> None:
    new = {"data/level": b"1"}
    assert updated({"data": b"notes"}, {}, new) == {**new, "data.before-update": b"notes"}
    assert updated({"data": LINK}, {}, new) == {**new, "data.before-update": LINK}
    # One of ours goes.
    assert updated({"data": b"ours"}, {"data": b"ours"}, new) == new


def test_without_a_record_everything_that_differs_is_kept() -> None:
    theirs = {"game": b"1", "settings": b"default", "save": b"s"}
    assert updated(theirs, None, NEW) == {**NEW, "game.before-update": b"1", "save": b"s"}


def test_empty_folders_are_kept() -> None:
    theirs: Theirs = {**OLD, "screens": Kind.FOLDER, "a/b/c": Kind.FOLDER, "fresh": Kind.FOLDER}
    found = plan(theirs, OLD, NEW)
    assert set(found.folders) == {"a", "a/b", "a/b/c", "screens", "fresh.before-update"}
    assert found.kept == ("a/b/c", "fresh.before-update", "screens")


def test_a_tree_of_the_users_may_be_deep() -> None:
    deep = "/".join(["d"] * 2000)
    assert plan({f"{deep}/save": b"mine"}, {}, {}).kept == (f"{deep}/save",)


def test_an_empty_folder_that_the_new_version_has_is_its_own() -> None:
    assert plan({"data": Kind.FOLDER}, {}, {"data/x": b""}).kept == ()


def test_an_empty_folder_that_an_install_made_goes() -> None:
    # The user removed what was in it.
    assert plan({"data": Kind.FOLDER}, {"data/x": b""}, {}).folders == {}


def test_folders_of_the_old_version_go_with_what_was_in_them() -> None:
    found = plan({"old/data/x": b"1", "old/mine": b"2"}, {"old/data/x": b"1"}, {})
    assert found.folders == {"old": "old"}
    assert found.kept == ("old/mine",)


def test_what_is_no_file_stops_the_update_and_is_named() -> None:
    with pytest.raises(CannotKeep, match="run/socket") as caught:
        plan({**OLD, "run/socket": Kind.OTHER}, OLD, NEW)
    assert caught.value.path == "run/socket"


def test_sizes_are_looked_at_before_contents() -> None:
    asked = []

    def digest_of(path: str) -> bytes:
        asked.append(path)
        return b""

    theirs = entries({"same": b"abc", "longer": b"abcd", "mine": b"m", "link": LINK})
    old = recorded({"same": b"xyz", "longer": b"abc", "link": b""})
    plan_carry_over(theirs, old, {}, (), digest_of, folds=False)
    assert asked == ["same"]


def test_where_names_fold() -> None:
    """The game wrote its settings under a name of its own."""
    old = {"Settings.ini": b"default", "Data/level": b"1"}
    new = {"Settings.ini": b"default", "data/level": b"2"}
    theirs = {"SETTINGS.INI": b"mine", "Data/level": b"1", "DATA.txt": b"notes"}
    assert updated(theirs, old, new, folds=True) == {
        "Settings.ini": b"mine",
        "data/level": b"2",
        "DATA.txt": b"notes",
    }
    # Where they do not, it is another file.
    assert updated(theirs, old, new) == {**new, "SETTINGS.INI": b"mine", "DATA.txt": b"notes"}


def test_where_names_fold_a_folder_of_the_users_is_the_one_of_the_new_version() -> None:
    found = plan({"SAVES/one": b"mine"}, {}, {"saves/readme": b"r"}, folds=True)
    assert found.folders == {}
    assert found.kept == ("saves/one",)


def test_a_folder_that_gets_another_name_is_still_known_as_the_users() -> None:
    found = plan({"data/deep/one": b"mine"}, {}, {"data": b"now a file"})
    assert found.folders == {
        "data.before-update": "data",
        "data.before-update/deep": "data/deep",
    }


NAMES = ["a", "b", "A", "a.before-update", "ä", "a\u0308"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
DATA = st.sampled_from([b"", b"1", b"2", b"33"])


def fits(tree: Mapping[str, object], folds: bool) -> bool:
    """Whether a disk could hold it: no file is a folder, too, and no name is there twice."""
    key = fold_path if folds else str
    above = {key(path.rsplit("/", n)[0]) for path in tree for n in range(1, path.count("/") + 1)}
    keys = [key(path) for path in tree]
    if len(set(keys)) != len(keys) or set(keys) & above:
        return False
    if not folds:
        return True
    parts = {path.rsplit("/", n)[0] for path in tree for n in range(1, path.count("/") + 1)}
    return len({fold_path(part) for part in parts}) == len(parts)


@given(
    theirs=st.dictionaries(PATHS, DATA | st.sampled_from([Kind.LINK, Kind.FOLDER]), max_size=6),
    old=st.none() | st.dictionaries(PATHS, DATA, max_size=4),
    new=st.dictionaries(PATHS, DATA, max_size=4),
    folds=st.booleans(),
)
def test_nothing_of_the_users_is_ever_lost(
    theirs: dict[str, bytes | Kind],
    old: dict[str, bytes] | None,
    new: dict[str, bytes],
    folds: bool,
) -> None:
    theirs = {path: theirs[path] for path in theirs} if fits(theirs, folds) else {}
    # What is new must not meet on any disk: that is checked with its archives.
    new = new if fits(new, True) else {}
    after = perform(plan(theirs, old, new, folds=folds), theirs, new, folds=folds)
    key = fold_path if folds else str
    ours = {key(path): data for path, data in (old or {}).items()}
    for path, what in theirs.items():
        if isinstance(what, bytes) and ours.get(key(path)) != what:
            names = [name for name, found in after.items() if found == what]
            assert any(came_from(name, path, key) for name in names), (path, after)
        if what is Kind.LINK:
            assert any(
                found is Kind.LINK and came_from(name, path, key) for name, found in after.items()
            )
    # And the new version is there, but for what the user changed and it did not.
    for path, data in new.items():
        assert after[path] == data or ours.get(key(path)) == data


def came_from(name: str, path: str, key: object) -> bool:
    """Whether a name can be what a file of the user's became: each part as it was, or beside it."""
    there, was = fold_path(name).split("/"), fold_path(path).split("/")
    return len(there) == len(was) and all(
        part == old or part.startswith(f"{old}.before-update")
        for part, old in zip(there, was, strict=True)
    )


@given(
    theirs=st.dictionaries(PATHS, DATA, max_size=6), old=st.dictionaries(PATHS, DATA, max_size=4)
)
def test_what_is_ours_and_unchanged_goes(theirs: dict[str, bytes], old: dict[str, bytes]) -> None:
    if not fits(theirs, False):
        return
    found = plan(theirs, old, {})
    assert {keep.source for keep in found.keeps} == {
        path for path, data in theirs.items() if old.get(path) != data
    }
