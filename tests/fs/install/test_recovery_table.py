"""Every cell of the recovery table: decided, documented, and performed on a disk."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lanspread.fs.install import recovery_table
from lanspread.fs.install.intent import IntentKind, write_intent
from lanspread.fs.install.names import BACKUP, INSTALLING, INTENT, LOCAL, NEW_RECORD, OWNED, RECORD
from lanspread.fs.install.recovery import look, recover
from lanspread.fs.install.recovery_table import (
    SCRATCH,
    Action,
    Local,
    Outcome,
    Side,
    State,
    all_states,
    decide,
    markdown,
    merged,
)
from lanspread.seams import Folder, Kind
from lanspread.testing import MemoryFileSystem
from tests.fs.install.support import PATH, files_in, new_files, tree

PAGE = Path(__file__).parents[3] / "docs" / "recovery.md"
WORKING = (IntentKind.INSTALLING, IntentKind.UPDATING, IntentKind.UNINSTALLING)


def named(state: State) -> str:
    parts = (state.intent.value, state.local.value, state.installing.value, state.backup.value)
    return ",".join(parts)


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    _, _, rest = page.partition("<!-- table -->\n")
    shown, end, _ = rest.partition("<!-- end of table -->")
    assert end
    assert shown.strip() == markdown().strip(), (
        "run python -m lanspread.fs.install.recovery_table and put what it prints into the page"
    )


def test_the_table_has_every_state_once() -> None:
    count = 0
    for intent in IntentKind:
        for (locals_, installings, backups), decision in merged(intent):
            for cell in itertools.product(locals_, installings, backups):
                assert decide(State(intent, *cell)) == decision
                count += 1
    assert count == len(list(all_states())) == len(IntentKind) * 3 * 4 * 4


def test_the_module_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    import runpy
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # It is imported here already.
        runpy.run_module(recovery_table.__name__, run_name="__main__")
    assert capsys.readouterr().out == markdown()


# -- what must hold of every cell ------------------------------------------------------------------


@pytest.mark.parametrize("state", list(all_states()), ids=named)
def test_what_holds_of_every_cell(state: State) -> None:
    decision = decide(state)
    actions = decision.actions
    if decision.outcome is Outcome.BLOCKED:
        assert actions == ()
        assert decision.why
        return
    assert decision.why == ""
    assert state.intent is not IntentKind.UNREADABLE
    assert actions.count(Action.CLEAR_INTENT) == (state.intent is not IntentKind.NONE)
    # What is no folder is never ours; without a marker only the intent says so.
    for action, side in (
        (Action.SWEEP_INSTALLING, state.installing),
        (Action.SWEEP_BACKUP, state.backup),
    ):
        if action in actions:
            assert side in (Side.MARKED, Side.UNMARKED)
        if action in actions and side is Side.UNMARKED:
            assert state.intent in (IntentKind.INSTALLING, IntentKind.UPDATING)
    # A backup that nobody marked is the only copy of what was installed, unless `local` is there.
    if Action.SWEEP_BACKUP in actions and state.backup is Side.UNMARKED:
        assert (state.intent, state.local) == (IntentKind.UPDATING, Local.FOLDER)
    if Action.RESTORE in actions:
        assert state.local is Local.ABSENT
        assert state.backup in (Side.UNMARKED, Side.OTHER)
        assert actions[0] is Action.RESTORE
    if state.intent is IntentKind.NONE:
        assert set(actions) <= {Action.SWEEP_INSTALLING, Action.SWEEP_BACKUP}


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ("none,-,marked,marked", Outcome.SWEPT),
        ("none,folder,unmarked,unmarked", Outcome.NOTHING),
        ("installing,-,-,-", Outcome.INSTALL_UNDONE),
        ("installing,-,marked,-", Outcome.INSTALL_UNDONE),
        ("installing,-,unmarked,-", Outcome.INSTALL_UNDONE),
        ("installing,folder,-,-", Outcome.INSTALL_FINISHED),
        ("installing,folder,unmarked,-", Outcome.INSTALL_UNDONE),
        ("installing,other,-,-", Outcome.INSTALL_UNDONE),
        ("updating,folder,-,-", Outcome.UPDATE_UNDONE),
        ("updating,folder,marked,-", Outcome.UPDATE_UNDONE),
        ("updating,-,unmarked,unmarked", Outcome.UPDATE_UNDONE),
        ("updating,-,-,unmarked", Outcome.UPDATE_UNDONE),
        ("updating,folder,-,unmarked", Outcome.UPDATE_FINISHED),
        ("updating,folder,-,marked", Outcome.UPDATE_FINISHED),
        ("updating,folder,unmarked,unmarked", Outcome.BLOCKED),
        ("updating,other,-,unmarked", Outcome.BLOCKED),
        ("updating,-,-,marked", Outcome.BLOCKED),
        ("uninstalling,folder,-,-", Outcome.UNINSTALL_UNDONE),
        ("uninstalling,-,-,unmarked", Outcome.UNINSTALL_UNDONE),
        ("uninstalling,-,-,marked", Outcome.UNINSTALL_FINISHED),
        ("uninstalling,folder,-,marked", Outcome.UNINSTALL_FINISHED),
        ("uninstalling,folder,-,unmarked", Outcome.BLOCKED),
        ("uninstalling,-,-,-", Outcome.UNINSTALL_FINISHED),
        ("updating,folder,other,-", Outcome.BLOCKED),
        ("updating,-,marked,other", Outcome.PUT_BACK),
        ("uninstalling,-,-,other", Outcome.PUT_BACK),
        ("updating,folder,-,other", Outcome.BLOCKED),
        ("uninstalling,other,-,other", Outcome.BLOCKED),
        ("installing,-,-,other", Outcome.BLOCKED),
        ("unreadable,folder,-,-", Outcome.BLOCKED),
    ],
)
def test_what_some_cells_come_to(row: str, outcome: Outcome) -> None:
    intent, local, installing, backup = row.split(",")
    state = State(IntentKind(intent), Local(local), Side(installing), Side(backup))
    assert decide(state).outcome is outcome


# -- every cell on a disk --------------------------------------------------------------------------


def make(files: MemoryFileSystem, state: State) -> None:
    """A game in this state; everything in it is told apart by its content."""
    files.write_file(f"{PATH}/version.ini", b"1.0")
    files.write_file(f"{PATH}/{RECORD}", b"old record")
    files.write_file(f"{PATH}/{NEW_RECORD}", b"new record")
    match state.local:
        case Local.FOLDER:
            files.write_file(f"{PATH}/{LOCAL}/sub/file", b"in local")
        case Local.OTHER:
            files.make_link(f"{PATH}/{LOCAL}", "/elsewhere")
    for name, side in ((INSTALLING, state.installing), (BACKUP, state.backup)):
        if side in (Side.MARKED, Side.UNMARKED):
            files.write_file(f"{PATH}/{name}/sub/file", f"in {name}".encode())
        if side is Side.MARKED:
            files.write_file(f"{PATH}/{name}/{OWNED}", b"")
        if side is Side.OTHER:
            files.write_file(f"{PATH}/{name}", b"a file")
    if state.intent in WORKING:
        with files.open_folder(PATH) as folder:
            write_intent(folder, state.intent, "1.0")
    elif state.intent is IntentKind.UNREADABLE:
        files.write_file(f"{PATH}/{INTENT}", b"{")


@pytest.mark.parametrize("state", list(all_states()), ids=named)
def test_every_cell_on_a_disk(state: State) -> None:
    files = new_files()
    make(files, state)
    decision = decide(state)
    with files.open_folder(PATH) as folder:
        before = tree(folder, "")
        assert look(folder) == state
        found = recover(folder)
        if decision.outcome in (Outcome.BLOCKED, Outcome.NOTHING):
            assert tree(folder, "") == before
            assert (found.blocked is None) == (decision.outcome is Outcome.NOTHING)
            assert found.repaired == ()
            return
        assert found.blocked is None
        assert found.left == ()
        assert found.repaired == (decision.outcome.value,)
        check_done(folder, state)
        after = tree(folder, "")
        assert recover(folder).repaired == ()
        assert tree(folder, "") == after


def check_done(folder: Folder, state: State) -> None:
    actions = decide(state).actions
    assert not folder.exists(INTENT)
    if Action.RESTORE in actions and state.backup is Side.OTHER:
        with folder.open(LOCAL, "read") as file:
            assert file.read_at(100, 0) == b"a file"
    elif Action.RESTORE in actions:
        assert files_in(folder, LOCAL) == {"sub/file": f"in {BACKUP}".encode()}
    elif state.local is Local.FOLDER:
        assert files_in(folder, LOCAL) == {"sub/file": b"in local"}
    elif state.local is Local.OTHER:
        assert folder.entry(LOCAL).kind is Kind.LINK
    else:
        assert not folder.exists(LOCAL)
    for name, side, sweep in (
        (INSTALLING, state.installing, Action.SWEEP_INSTALLING),
        (BACKUP, state.backup, Action.SWEEP_BACKUP),
    ):
        gone = sweep in actions or (name == BACKUP and Action.RESTORE in actions)
        assert folder.exists(name) == (side is not Side.ABSENT and not gone)
    with (
        folder.open(RECORD, "read")
        if folder.exists(RECORD)
        else folder.open(NEW_RECORD, "read") as file
    ):
        record = file.read_at(100, 0)
    if Action.PROMOTE_RECORD in actions:
        assert record == b"new record"
        assert not folder.exists(NEW_RECORD)
    elif Action.DROP_RECORD not in actions:
        assert record == b"old record"
    assert folder.exists(RECORD) == (Action.DROP_RECORD not in actions)
    if Action.DROP_NEW_RECORD in actions:
        assert not folder.exists(NEW_RECORD)


@pytest.mark.parametrize("name", SCRATCH)
@pytest.mark.parametrize("intent", list(IntentKind), ids=lambda intent: intent.value)
def test_scratch_goes_away_whatever_else_there_is(name: str, intent: IntentKind) -> None:
    files = new_files()
    make(files, State(intent, Local.FOLDER, Side.ABSENT, Side.ABSENT))
    files.write_file(f"{PATH}/{name}", b"half a sen")
    with files.open_folder(PATH) as folder:
        found = recover(folder)
        assert folder.exists(name) == (intent is IntentKind.UNREADABLE)
        assert any(name in line for line in found.repaired) != (intent is IntentKind.UNREADABLE)
        # An old sentinel never comes back.
        with folder.open("version.ini", "read") as file:
            assert file.read_at(100, 0) == b"1.0"
