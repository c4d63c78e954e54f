"""`doctor`: gather what is to be looked at, ask the running peer, show what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import trio

from lanspread.cli import output
from lanspread.cli.client import (
    ConnectionLostError,
    Endpoint,
    NoPeerError,
    PeerBusyError,
    find_peer,
    open_endpoint,
)
from lanspread.cli.interrupt import until_interrupted
from lanspread.cli.main import DONE, FAILED
from lanspread.cli.published import read_api_json
from lanspread.cli.text import clean, count
from lanspread.config import Config, load_config, parse_host_port
from lanspread.doctor import (
    Finding,
    Level,
    NotRunning,
    Running,
    RunningPeer,
    Wanted,
    examine,
    is_well,
)
from lanspread.doctor.probing import aside
from lanspread.doctor.running import OtherPeer
from lanspread.errors import LanspreadError, StartError

_ANSWER_S = 2.0
_MAX_OTHERS = 1_024
_STYLES = {
    Level.OK: "green",
    Level.NOTE: "cyan",
    Level.WARNING: "bold yellow",
    Level.FAULT: "bold red",
}


def doctor(
    flags: Mapping[str, object],
    peer: str | None,
    env: Mapping[str, str],
    state: str,
    as_json: bool,
) -> int:
    """`lanspread doctor`: 0 if there is no fault, 1 if there is one. Raises `StartError`."""
    # Read before anything else runs: the settings say what is looked at.
    wanted = _wanted(flags, peer, env, state)

    async def work() -> int:
        findings = await examine(wanted, lambda: _ask(state))
        if as_json:
            output.json_line(as_value(findings))
        else:
            _show(findings)
        return DONE if is_well(findings) else FAILED

    return trio.run(until_interrupted, work)


def _wanted(
    flags: Mapping[str, object], peer: str | None, env: Mapping[str, str], state: str
) -> Wanted:
    """Bad flags are usage; what is wrong in the file or the environment is a finding."""
    config, trouble = load_config(flags, {}, state, use_file=False, games_needed=False), ""
    try:
        config = load_config(flags, env, state, games_needed=False)
    except StartError as error:
        trouble = str(error)
    return _of_config(config, peer, trouble)


def _of_config(config: Config, peer: str | None, trouble: str) -> Wanted:
    return Wanted(
        state=config.state,
        games=config.games or None,
        interfaces=config.interfaces,
        listen=config.listen,
        api=config.api,
        mdns=config.mdns,
        bulk=config.bulk,
        peer=None if peer is None else parse_host_port(peer),
        trouble=trouble,
    )


# -- the running peer ------------------------------------------------------------------------------


async def _ask(state: str) -> RunningPeer:
    """What the peer on this state folder says of itself."""
    stale = "what listens at its API does not answer"
    with trio.move_on_after(_ANSWER_S):
        try:
            endpoint = await aside(_published, state)
            if endpoint is None:
                return NotRunning()
            async with open_endpoint(endpoint, state) as client:
                status = await client.call("status")
                others = await client.call("peers.list")
                return _running(status, others, urlsplit(endpoint.api_url).netloc)
        except* (
            NoPeerError,
            PeerBusyError,
            ConnectionLostError,
            LanspreadError,
            StartError,
        ) as group:
            stale = _why(group)
    return NotRunning(stale)


def _published(state: str) -> Endpoint | None:
    """Where the peer on this state folder is; None where none is said to run. May block for ever,
    where the folder is on a network that is gone. Raises as `find_peer`."""
    return None if read_api_json(state) is None else find_peer(state)


def _why(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _running(status: dict[str, Any], others: list[dict[str, Any]], api: str) -> Running:
    return Running(
        peer_id=status["peer_id"],
        version=status["version"],
        games=status["games_dir"],
        listen=tuple(status["listen"]),
        api=api,
        others=tuple(
            OtherPeer(name=one["name"], state=one["state"], addresses=tuple(one["addresses"]))
            for one in others[:_MAX_OTHERS]
        ),
    )


# -- showing ---------------------------------------------------------------------------------------


def as_value(findings: Sequence[Finding]) -> dict[str, object]:
    """The one object of `--json`."""
    return {
        "ok": is_well(findings),
        "findings": [
            {
                "check": one.check,
                "level": one.level.value,
                "code": one.code,
                "message": one.message,
                "remedy": one.remedy,
            }
            for one in findings
        ],
    }


def summary(findings: Sequence[Finding]) -> str:
    """The last line: how many of what."""
    counted = Counter(one.level for one in findings)
    if not counted[Level.FAULT] and not counted[Level.WARNING]:
        return "nothing is wrong"
    parts = [
        count(counted[level], level.value)
        for level in (Level.FAULT, Level.WARNING)
        if counted[level]
    ]
    return ", ".join(parts)


def _show(findings: Sequence[Finding]) -> None:
    if output.on_terminal():
        _show_in_colours(findings)
    else:
        for one in findings:
            output.line(f"{one.level.value:<8} {one.check:<14} {clean(one.message)}")
            if one.remedy:
                output.line(f"{'':<23} -> {clean(one.remedy)}")
    output.line(summary(findings))


def _show_in_colours(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2))
    for one in findings:
        said = Text(clean(one.message))
        if one.remedy:
            said.append("\n→ " + clean(one.remedy), style="dim" if one.level is Level.OK else "")
        shown.add_row(Text(one.level.value, style=_STYLES[one.level]), Text(one.check), said)
    # NO_COLOR and a dumb terminal are rich's to know.
    Console(highlight=False).print(shown)
