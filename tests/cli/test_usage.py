"""The command line: exit codes, one line on stderr, never a traceback.

Each kind of end is seen from outside once, in a process; its variants run in this one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lanspread.cli.app import call
from lanspread.cli.main import main


def lanspread(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lanspread", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
        check=False,
    )


def here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same from `main` on, in this process: a start costs more than what it shows."""
    out, err = io.StringIO(), io.StringIO()
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main(arguments)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nonsense"], "nonsense"),
        (["run", "--nonsense"], "--nonsense"),
        (["run", "--max-up", "fast"], "--max-up"),
        (["get"], "GAME"),
    ],
)
def test_bad_usage(arguments: list[str], part: str) -> None:
    assert_one_line(lanspread(*arguments), 2, part)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["play", "x"], "play"),
        (["get", "a", "b"], "b"),
        (["get", "x", "--install", "--no-wait"], "--auto-install"),
        (["connect", "nowhere"], "HOST:PORT"),
        (["connect", "host:0"], "port"),
        (["games", "extra"], "extra"),
    ],
)
def test_bad_usage_of_each_kind(arguments: list[str], part: str) -> None:
    assert_one_line(here(*arguments), 2, part)


def test_run_without_a_games_folder(tmp_path: Path) -> None:
    done = lanspread("run", "--state", str(tmp_path), LANSPREAD_GAMES="")
    assert_one_line(done, 2, "--games")


def test_run_with_a_folder_that_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    done = lanspread("run", "--state", str(tmp_path), "--games", missing)
    assert_one_line(done, 2, missing)
    assert_one_line(lanspread("run", "--state", str(tmp_path), LANSPREAD_GAMES=missing), 2, missing)
    file = tmp_path / "file"
    file.write_text("x")
    done = lanspread("run", "--state", str(tmp_path), "--games", str(file))
    assert_one_line(done, 2, "is not a folder")


@pytest.mark.parametrize("mode", ["party", "list", "anything"])
def test_a_trust_mode_that_is_not_built_is_never_open(tmp_path: Path, mode: str) -> None:
    done = lanspread("run", "--state", str(tmp_path), "--games", str(tmp_path), "--trust", mode)
    assert_one_line(done, 2, "--trust", mode)


@pytest.mark.parametrize(
    "arguments",
    [["games"], ["peers"], ["status"], ["get", "x"], ["cancel", "x"], ["connect", "a:1"],
     ["watch"], ["polite"], ["shutdown"], ["games", "--json"]],
)  # fmt: skip
def test_without_a_running_peer(tmp_path: Path, arguments: list[str]) -> None:
    done = here(*arguments, "--state", str(tmp_path))
    assert_one_line(done, 3, "no running peer", "lanspread run --games", "--state")


def test_no_running_peer_seen_from_outside(tmp_path: Path) -> None:
    done = lanspread("games", "--state", str(tmp_path))
    assert_one_line(done, 3, "no running peer", "lanspread run --games", "--state")


def write_api_json(state: Path, port: int, pid: int) -> None:
    state.mkdir(exist_ok=True)
    content = {
        "api_url": f"http://127.0.0.1:{port}",
        "token": "t",
        "pid": pid,
        "instance": "i",
    }
    (state / "api.json").write_text(json.dumps(content))


def test_a_peer_that_died_is_no_running_peer(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    write_api_json(tmp_path, 9, child.pid)
    assert_one_line(lanspread("games", "--state", str(tmp_path)), 3, "no running peer")


def test_a_port_nobody_listens_on_is_no_running_peer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    write_api_json(tmp_path, port, os.getpid())
    assert_one_line(lanspread("status", "--state", str(tmp_path)), 3, "no running peer")


def test_a_port_that_never_answers_does_not_hang(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        write_api_json(tmp_path, server.getsockname()[1], os.getpid())
        assert_one_line(lanspread("status", "--state", str(tmp_path)), 3, "no running peer")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"api_url": 5}', '{"api_url": "x"}'])
def test_a_damaged_api_json_is_no_running_peer(tmp_path: Path, content: str) -> None:
    (tmp_path / "api.json").write_text(content)
    assert_one_line(here("games", "--state", str(tmp_path)), 3, "no running peer")


def test_help_and_version() -> None:
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        done = lanspread(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
    done = lanspread()
    assert (done.returncode, done.stdout) == (2, "")
    for command in ("run", "games", "peers", "status", "get", "cancel", "connect", "watch",
                    "polite", "shutdown", "doctor", "demo", "completion"):  # fmt: skip
        help_text = here(command, "--help").stdout
        assert "--json" in help_text
        assert "--state" in help_text


def test_what_nobody_expected_is_one_line(tmp_path: Path) -> None:
    # A module that breaks while it is loaded stands for any bug.
    (tmp_path / "platformdirs.py").write_text("raise ZeroDivisionError('a\\nbug')\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = lanspread("games", PYTHONPATH=path, LANSPREAD_STATE="")
    assert_one_line(done, 1, "internal error: ZeroDivisionError: a bug")
    done = lanspread("games", PYTHONPATH=path, LANSPREAD_STATE="", LANSPREAD_DEBUG="1")
    assert "Traceback" in done.stderr


class Terminal(io.StringIO):
    """What a person sits at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("arguments", "answer", "code"),
    [([], "n", 1), ([], "y", 3), (["--yes"], "", 3), (["--json"], "", 3)],
)
def test_uninstall_asks_a_person_because_saves_go_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    answer: str,
    code: int,
) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer == "y"

    monkeypatch.setattr("click.confirm", confirm)
    monkeypatch.setattr("lanspread.cli.output.on_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", Terminal())
    given = ["uninstall", "Quake\x1b[2J", "--state", str(tmp_path), *arguments]
    assert call(given) == code
    assert len(asked) == (1 if answer else 0)
    assert all("saves" in question and "\x1b" not in question for question in asked)
    assert ("nothing was removed" in capsys.readouterr().err) == (code == 1)
