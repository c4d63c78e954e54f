"""Completion in the shell, as the shell asks for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lanspread.cli import completion
from lanspread.cli.completion import fits, games, harmless, script
from tests.api.fake import FakeRuntime, a_game, running
from tests.cli.test_client import found
from tests.cli.test_usage import lanspread


def completed(words: str, state: Path) -> list[str]:
    """What bash is told to offer for the last of these words."""
    done = lanspread(
        _LANSPREAD_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
        LANSPREAD_STATE=str(state),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_and_options_are_offered_without_a_peer(tmp_path: Path) -> None:
    assert completed("lanspread un", tmp_path) == ["uninstall"]
    assert "--variant" in completed("lanspread get --", tmp_path)
    assert completed("lanspread completion z", tmp_path) == ["zsh"]
    assert completed("lanspread get q", tmp_path) == []


async def test_games_are_offered_and_nothing_that_a_shell_would_carry_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("quake", "quake-2", "q$(reboot)", "q;x", "q x", "q\nx", "q`x`", "-q", "Ärger", "doom")
    async with running(FakeRuntime()) as (runtime, server):
        runtime.all_games = tuple(a_game(name) for name in names)
        found(monkeypatch, server)
        listed = await completion._listed("/the/state")
    monkeypatch.setattr("trio.run", lambda work, state: listed)
    assert games("/the/state", "q", "get") == ["quake", "quake-2"]
    assert games("/the/state", "", "get") == ["quake", "quake-2", "Ärger", "doom"]
    assert games("/the/state", "", "uninstall") == []
    assert not harmless("a'b")


OFFERED: dict[str, dict[str, Any]] = {
    "offered": {},
    "partly": {"availability": "local_only", "peers": []},
    "fetched": {"downloaded": True, "availability": "ready"},
    "old": {
        "downloaded": True,
        "installed": True,
        "availability": "ready",
        "update_available": True,
    },
    "unpacked": {"installed": True, "availability": "local_only", "peers": []},
    "coming": {
        "operation": {"kind": "download", "state": "running"},
        "availability": "downloading",
    },
    "paused": {"operation": {"kind": "download", "state": "paused"}, "peers": []},
}
FITTING = {
    "get": "offered old coming paused",
    "install": "fetched",
    "update": "old",
    "uninstall": "old unpacked",
    "remove": "partly fetched old unpacked",
    "cancel": "coming paused",
    "pause": "coming",
    "resume": "paused",
    "variants": " ".join(OFFERED),
}


@pytest.mark.parametrize("command", FITTING)
def test_a_command_is_offered_what_it_can_act_on(command: str) -> None:
    other = {
        "downloaded": False,
        "installed": False,
        "update_available": False,
        "availability": None,
        "operation": None,
        "peers": ["other"],
    }
    fitting = [name for name, game in OFFERED.items() if fits(command, {**other, **game})]
    assert fitting == FITTING[command].split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_what_the_shell_takes(shell: str) -> None:
    done = lanspread("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_LANSPREAD_COMPLETE" in done.stdout
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True)


def test_a_shell_that_is_not_known_is_bad_usage() -> None:
    done = lanspread("completion", "cmd")
    assert (done.returncode, done.stdout) == (2, "")
    assert "fish" in done.stderr


def test_the_script_calls_the_program_by_its_name() -> None:
    from lanspread.cli.app import cli

    assert "complete -o nosort -F _lanspread_completion lanspread" in script(cli, "bash")
