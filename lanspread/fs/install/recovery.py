"""Repairing a game's folder after an interruption: looks, asks `recovery_table`, does what it says.

The only way back, and the only way on after a commit point: an operation that fails or is stopped
leaves its state to `recover`, and one that is committed ends with the same actions. Every step may
be interrupted and the whole repeated. Calls block.
"""

from __future__ import annotations

import contextlib
from typing import Final

import attrs

from lanspread.fs.errors import Stopped, Unrepaired
from lanspread.fs.install.intent import IntentKind, clear_intent, read_intent
from lanspread.fs.install.names import (
    BACKUP,
    INSTALLING,
    INTENT,
    LOCAL,
    NEW_RECORD,
    OWNED,
    RECORD,
)
from lanspread.fs.install.record import drop_record, promote_record
from lanspread.fs.install.recovery_table import (
    SCRATCH,
    Action,
    Decision,
    Local,
    Outcome,
    Side,
    State,
    decide,
)
from lanspread.fs.install.trees import kind_of, mark, sweep, unmark
from lanspread.fs.progress import UNWATCHED, Watch
from lanspread.seams import Folder, Kind

# Names at a game's root that are there only while an operation is under way, or was interrupted.
LOOKED_FOR: Final = frozenset([INTENT, INSTALLING, BACKUP, *SCRATCH])


@attrs.frozen(kw_only=True)
class Recovery:
    """What `recover` did.

    `repaired` are sentences, none if there was nothing to repair. With `blocked`, a sentence, the
    game is in a state that a person must look at, and is not to be offered. `left` are names in the
    folder that are ours and could not be removed yet; they are tried again the next time.
    """

    repaired: tuple[str, ...] = ()
    blocked: str | None = None
    left: tuple[str, ...] = ()


def recover(folder: Folder, watch: Watch = UNWATCHED) -> Recovery:
    """Repair a game's folder. Costs one listing of it if there is nothing to repair.

    Raises `OSError` only if the folder cannot be listed. If the watch stops it, what is left to be
    removed is `left`.
    """
    kinds = _listed(folder)
    if not kinds.keys() & LOOKED_FOR:
        return Recovery()
    try:
        state, why = _state(folder, kinds)
    except OSError as error:
        return Recovery(blocked=f"{INTENT} cannot be read: {_told(error)}")
    decision = decide(state)
    if decision.outcome is Outcome.BLOCKED:
        return Recovery(blocked=why or decision.why)
    repaired = []
    left: list[str] = []
    if decision.actions:
        try:
            left += perform(folder, decision, watch)
        except (OSError, Stopped) as error:
            if state.intent is not IntentKind.NONE:
                return Recovery(
                    blocked=f"an interrupted operation could not be repaired: {_told(error)}"
                )
            # The game itself is whole; what cannot go is only in nobody's way.
            left += [name for name in (INSTALLING, BACKUP) if name in kinds]
        if decision.outcome is not Outcome.SWEPT or not left:
            repaired.append(decision.outcome.value)
    swept = _sweep_scratch(folder, kinds, left)
    if swept:
        repaired.append(f"{' and '.join(swept)} of an interrupted operation went away")
    return Recovery(repaired=tuple(repaired), left=tuple(left))


def look(folder: Folder) -> State:
    """What is in a game's folder. Raises `OSError`."""
    return _state(folder, _listed(folder))[0]


def perform(folder: Folder, decision: Decision, watch: Watch) -> list[str]:
    """Do what was decided; return the names that are ours and could not be removed yet.

    Raises `OSError` or `Stopped`; then the intent is still there, and the whole is to be repeated.
    """
    left: list[str] = []
    # What is seen here may have been done by a program that was killed before it synced.
    folder.sync_folder()
    for action in decision.actions:
        match action:
            case Action.MARK_BACKUP:
                mark(folder, BACKUP)
            case Action.RESTORE:
                folder.rename(BACKUP, LOCAL)
                folder.sync_folder()
            case Action.SWEEP_INSTALLING | Action.SWEEP_BACKUP:
                name = INSTALLING if action is Action.SWEEP_INSTALLING else BACKUP
                if not sweep(folder, name, watch):
                    left.append(name)
                folder.sync_folder()
            case Action.PROMOTE_RECORD:
                promote_record(folder)
            case Action.DROP_NEW_RECORD:
                drop_record(folder, NEW_RECORD)
            case Action.DROP_RECORD:
                drop_record(folder, RECORD)
            case Action.UNMARK_LOCAL:
                unmark(folder, LOCAL)
            case Action.CLEAR_INTENT:
                clear_intent(folder)
    return left


def finish(folder: Folder, watch: Watch) -> list[str]:
    """What follows an operation's commit point; see `perform`.

    Raises `OSError`, or `Unrepaired` if somebody changed the folder meanwhile, so that nobody can
    tell any more what is whose.
    """
    decision = decide(look(folder))
    if decision.outcome is Outcome.BLOCKED:
        raise Unrepaired(decision.why)
    return perform(folder, decision, watch)


def _listed(folder: Folder) -> dict[str, Kind]:
    return {name: kind for name, kind, *_ in folder.peek(lambda name: False)}


def _state(folder: Folder, kinds: dict[str, Kind]) -> tuple[State, str]:
    """The state, and why the intent cannot be understood."""
    intent = read_intent(folder)
    # Asked by its name: some disks have it in another spelling.
    local = kind_of(folder, LOCAL)
    state = State(
        intent=intent.kind,
        local=_LOCAL.get(local, Local.OTHER),
        installing=_side(folder, INSTALLING, kinds.get(INSTALLING)),
        backup=_side(folder, BACKUP, kinds.get(BACKUP)),
    )
    return state, intent.why


_LOCAL: Final = {None: Local.ABSENT, Kind.FOLDER: Local.FOLDER}


def _side(folder: Folder, name: str, kind: Kind | None) -> Side:
    if kind is None:
        return Side.ABSENT
    if kind is not Kind.FOLDER:
        return Side.OTHER
    marked = kind_of(folder, f"{name}/{OWNED}") is Kind.FILE
    return Side.MARKED if marked else Side.UNMARKED


def _sweep_scratch(folder: Folder, kinds: dict[str, Kind], left: list[str]) -> list[str]:
    swept = []
    for name in SCRATCH:
        if kinds.get(name, Kind.FOLDER) is Kind.FOLDER:
            continue
        try:
            with contextlib.suppress(FileNotFoundError):
                folder.remove_file(name)
            swept.append(name)
        except OSError:
            left.append(name)
    return swept


def _told(error: OSError | Stopped) -> str:
    if isinstance(error, Stopped):
        return "it was stopped"
    return error.strerror or str(error)
