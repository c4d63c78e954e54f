"""What recovery does about a game's folder, for everything that may be found in one. Pure.

`python -m lanspread.fs.install.recovery_table` prints the table that docs/recovery.md shows.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from typing import Final

import attrs

from lanspread.fs.install.intent import IntentKind
from lanspread.fs.install.names import BACKUP, INSTALLING, INTENT, INTENT_SCRATCH, LOCAL
from lanspread.fs.paths import VERSION_INI_DISCARDED, VERSION_INI_TMP

# What is removed wherever it is found: of no use to anybody, whatever was interrupted.
SCRATCH: Final = (VERSION_INI_TMP, VERSION_INI_DISCARDED, INTENT_SCRATCH)


class Local(enum.Enum):
    """What is at `local`."""

    ABSENT = "-"
    FOLDER = "folder"
    OTHER = "other"


class Side(enum.Enum):
    """What is at `.local.installing` or `.local.backup`."""

    ABSENT = "-"
    MARKED = "marked"
    UNMARKED = "unmarked"
    OTHER = "other"


@attrs.frozen
class State:
    """What is found in a game's folder."""

    intent: IntentKind
    local: Local
    installing: Side
    backup: Side


class Action(enum.Enum):
    """One step, which may be repeated. Each is on the disk before the next begins."""

    MARK_BACKUP = f"mark `{BACKUP}` as ours"
    RESTORE = f"rename `{BACKUP}` to `{LOCAL}`"
    SWEEP_INSTALLING = f"remove `{INSTALLING}`"
    SWEEP_BACKUP = f"remove `{BACKUP}`"
    PROMOTE_RECORD = "the new install record counts"
    DROP_NEW_RECORD = "drop the new install record"
    DROP_RECORD = "drop the install record"
    UNMARK_LOCAL = f"take our marker out of `{LOCAL}`"
    CLEAR_INTENT = "clear the intent"


class Outcome(enum.Enum):
    """What became of it, as a sentence for people."""

    NOTHING = "nothing to do"
    SWEPT = "leftovers of an earlier operation were removed"
    INSTALL_UNDONE = "an interrupted install was undone"
    INSTALL_FINISHED = "an interrupted install was finished"
    UPDATE_UNDONE = "an interrupted update was undone: the installed game is the one of before"
    UPDATE_FINISHED = "an interrupted update was finished"
    UNINSTALL_UNDONE = "an interrupted uninstall was undone: the installed game is back"
    UNINSTALL_FINISHED = "an interrupted uninstall was finished"
    PUT_BACK = "an interrupted operation was undone: what was found at local is back there"
    BLOCKED = "blocked"


@attrs.frozen
class Decision:
    """`why` is given if the outcome is `BLOCKED`; then there are no actions."""

    outcome: Outcome
    actions: tuple[Action, ...] = ()
    why: str = ""


_REMEDY: Final = "move one of them out of the game's folder and try again"


def decide(state: State) -> Decision:
    """What is to be done. Every state has one answer."""
    match state.intent:
        case IntentKind.NONE:
            marked = _sweep_marked(state, (Action.SWEEP_INSTALLING, Action.SWEEP_BACKUP))
            return Decision(Outcome.SWEPT if marked else Outcome.NOTHING, marked)
        case IntentKind.UNREADABLE:
            return _blocked(f"the intent log {INTENT} cannot be understood")
        case kind if state.installing is Side.OTHER:
            return _blocked(f"{INSTALLING} is no folder, and {_DOING[kind]} was interrupted")
        case kind if state.backup is Side.OTHER:
            return _backup_is_no_folder(state)
        case IntentKind.INSTALLING:
            return _installing(state)
        case IntentKind.UPDATING:
            return _updating(state)
        case IntentKind.UNINSTALLING:
            return _uninstalling(state)


_DOING: Final = {
    IntentKind.INSTALLING: "an install",
    IntentKind.UPDATING: "an update",
    IntentKind.UNINSTALLING: "an uninstall",
}


def _backup_is_no_folder(state: State) -> Decision:
    if state.intent is IntentKind.INSTALLING or state.local is not Local.ABSENT:
        return _blocked(f"{BACKUP} is no folder, and {_DOING[state.intent]} was interrupted")
    # Somebody put it at `local` just before that was renamed. It is theirs, and whole.
    if state.intent is IntentKind.UPDATING:
        return _cleared(Outcome.PUT_BACK, Action.RESTORE, *_staging_gone(state))
    swept = _sweep_marked(state, (Action.SWEEP_INSTALLING,))
    return _cleared(Outcome.PUT_BACK, Action.RESTORE, *swept)


def _installing(state: State) -> Decision:
    # An install has no backup: one that is there is judged as if there were no intent.
    others = _sweep_marked(state, (Action.SWEEP_BACKUP,))
    if state.local is Local.FOLDER and state.installing is Side.ABSENT:
        done = (Action.PROMOTE_RECORD, Action.UNMARK_LOCAL)
        return _cleared(Outcome.INSTALL_FINISHED, *done, *others)
    # A `local` beside the staging is not ours: the user made it meanwhile.
    return _cleared(Outcome.INSTALL_UNDONE, *_staging_gone(state), *others)


def _updating(state: State) -> Decision:
    if state.backup is Side.UNMARKED:
        if state.local is Local.ABSENT:
            return _cleared(Outcome.UPDATE_UNDONE, Action.RESTORE, *_staging_gone(state))
        if state.local is Local.FOLDER and state.installing is Side.ABSENT:
            done = (Action.PROMOTE_RECORD, Action.SWEEP_BACKUP)
            return _cleared(Outcome.UPDATE_FINISHED, *done)
        return _blocked(
            f"an update was interrupted, and then somebody made a {LOCAL} beside the installed "
            f"game, which is in {BACKUP}: {_REMEDY}"
        )
    if state.backup is Side.MARKED:
        # It was marked after the commit: parts of it may be gone already.
        if state.local is not Local.FOLDER:
            return _blocked(
                f"an update was finished, and then somebody took {LOCAL} away; what is left of the "
                f"game of before is in {BACKUP}: move it out of the game's folder and try again"
            )
        if state.installing is Side.ABSENT:
            done = (Action.PROMOTE_RECORD, Action.SWEEP_BACKUP)
            return _cleared(Outcome.UPDATE_FINISHED, *done)
        return _cleared(Outcome.UPDATE_FINISHED, Action.SWEEP_BACKUP, *_staging_gone(state))
    return _cleared(Outcome.UPDATE_UNDONE, *_staging_gone(state))


def _uninstalling(state: State) -> Decision:
    # An uninstall has no staging: what is there is judged as if there were no intent.
    others = _sweep_marked(state, (Action.SWEEP_INSTALLING,))
    record = (Action.DROP_RECORD,) if state.local is Local.ABSENT else ()
    match state.backup, state.local:
        case Side.MARKED, _:
            # The intent goes first: with it, a backup that has lost its marker would be restored.
            done = (Action.MARK_BACKUP, *record, *others, Action.CLEAR_INTENT, Action.SWEEP_BACKUP)
            return Decision(Outcome.UNINSTALL_FINISHED, done)
        case Side.UNMARKED, Local.ABSENT:
            return _cleared(Outcome.UNINSTALL_UNDONE, Action.RESTORE, *others)
        case Side.UNMARKED, _:
            return _blocked(
                f"an uninstall was interrupted, and then somebody made a {LOCAL} beside the "
                f"installed game, which is in {BACKUP}: {_REMEDY}"
            )
        case _, Local.ABSENT:
            return _cleared(Outcome.UNINSTALL_FINISHED, *record, *others)
        case _:
            return _cleared(Outcome.UNINSTALL_UNDONE, *others)


def _staging_gone(state: State) -> tuple[Action, ...]:
    there = state.installing is not Side.ABSENT
    return (*((Action.SWEEP_INSTALLING,) if there else ()), Action.DROP_NEW_RECORD)


def _sweep_marked(state: State, of: tuple[Action, ...]) -> tuple[Action, ...]:
    sides = {Action.SWEEP_INSTALLING: state.installing, Action.SWEEP_BACKUP: state.backup}
    return tuple(action for action in of if sides[action] is Side.MARKED)


def _cleared(outcome: Outcome, *actions: Action) -> Decision:
    return Decision(outcome, (*actions, Action.CLEAR_INTENT))


def _blocked(why: str) -> Decision:
    return Decision(Outcome.BLOCKED, why=why)


# -- the page --------------------------------------------------------------------------------------

_Cell = tuple[frozenset[Local], frozenset[Side], frozenset[Side]]
_AXES: Final = (frozenset(Local), frozenset(Side), frozenset(Side))


def all_states() -> Iterator[State]:
    """Every state there is."""
    for intent, local, installing, backup in itertools.product(IntentKind, Local, Side, Side):
        yield State(intent, local, installing, backup)


def markdown() -> str:
    """The whole table; rows with the same answer that differ in one column are one row."""
    lines = [
        f"| intent | `{LOCAL}` | `{INSTALLING}` | `{BACKUP}` | what is done |",
        "|---|---|---|---|---|",
    ]
    for intent in IntentKind:
        for cell, decision in merged(intent):
            names = [_names(values, axis) for values, axis in zip(cell, _AXES, strict=True)]
            lines.append(f"| {intent.value} | {' | '.join(names)} | {_told(decision)} |")
    return "\n".join(lines) + "\n"


def merged(intent: IntentKind) -> list[tuple[_Cell, Decision]]:
    """The rows of one intent: cells that share no state and hold all of them."""
    rows: list[tuple[_Cell, Decision]] = [
        (
            (frozenset([state.local]), frozenset([state.installing]), frozenset([state.backup])),
            decide(state),
        )
        for state in all_states()
        if state.intent is intent
    ]
    while (pair := _mergeable(rows)) is not None:
        (first, decision), (second, _) = pair
        rows[rows.index((first, decision))] = (
            (first[0] | second[0], first[1] | second[1], first[2] | second[2]),
            decision,
        )
        rows.remove((second, decision))
    return rows


_Row = tuple[_Cell, Decision]


def _mergeable(rows: list[_Row]) -> tuple[_Row, _Row] | None:
    for first, second in itertools.combinations(rows, 2):
        differ = sum(a != b for a, b in zip(first[0], second[0], strict=True))
        if first[1] == second[1] and differ == 1:
            return first, second
    return None


def _names(values: frozenset[enum.Enum], axis: frozenset[enum.Enum]) -> str:
    if values == axis:
        return "any"
    return ", ".join(sorted((value.value for value in values), key=len))


def _told(decision: Decision) -> str:
    if decision.outcome is Outcome.BLOCKED:
        return f"**blocked, nothing is touched**: {decision.why}"
    steps = "; ".join(action.value for action in decision.actions)
    return f"{decision.outcome.value}{': ' + steps if steps else ''}"


if __name__ == "__main__":
    print(markdown(), end="")
