"""`lanspread doctor` as a process, on loopback: exit codes, JSON, and what it leaves alone."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from tests.cli.processes import Peer
from tests.cli.test_usage import assert_one_line, lanspread, write_api_json

LOOPBACK = ("--interface", "127.0.0.1")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    started = Peer(tmp_path_factory.mktemp("peer"), "--name", "tester", mdns=True)
    try:
        started.address = started.ready()["listen"][0]
        yield started
    finally:
        started.kill()


@attrs.frozen
class Told:
    """What one run said; `found` holds the findings by code."""

    code: int
    found: dict[str, dict[str, str]]

    def level(self, code: str) -> str:
        return self.found[code]["level"] if code in self.found else ""


def doctors(*runs: tuple[str, ...]) -> list[Told]:
    """Run several at once: each listens for its time."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "lanspread", "doctor", "--json", *LOOPBACK, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LANSPREAD_GAMES": ""},
        )
        for arguments in runs
    ]
    return [told(process) for process in started]


def told(process: subprocess.Popen[str]) -> Told:
    out, err = process.communicate(timeout=60)
    assert (err, out.count("\n")) == ("", 1)
    answer = json.loads(out)
    assert list(answer) == ["ok", "findings"]
    for finding in answer["findings"]:
        assert list(finding) == ["check", "level", "code", "message", "remedy"]
        assert finding["level"] in ("ok", "note", "warning", "fault")
        assert finding["remedy"] or finding["level"] in ("ok", "note")
        assert finding["code"] != "not_looked"
    faults = [one["code"] for one in answer["findings"] if one["level"] == "fault"]
    assert (process.returncode, answer["ok"]) == ((1, False) if faults else (0, True))
    return Told(process.returncode, {one["code"]: one for one in answer["findings"]})


def test_beside_a_running_peer(peer: Peer, tmp_path: Path) -> None:
    state = tmp_path / "nothing"
    ours, others = doctors(
        ("--state", str(peer.state), "--peer", peer.address),
        ("--state", str(state), "--games", str(peer.games), "--peer", peer.address),
    )
    assert ours.code == 0
    for well in ("running", "games", "state", "multicast", "udp", "quic", "version"):
        assert ours.level(well) == "ok", well
    assert str(peer.games) in ours.found["games"]["message"]
    assert "our running peer" in ours.found["games"]["message"]
    assert ours.level("own_identity") == "note"
    # With another state folder it is another's, who holds the games folder.
    assert others.level("games_locked") == "fault"
    assert others.level("identity") == "ok"
    assert "tester" in others.found["identity"]["message"]
    # Nothing was made, not even the state folder.
    assert list(tmp_path.iterdir()) == []
    assert list(peer.games.iterdir()) == []


def test_what_is_wrong_in_the_state_folder(tmp_path: Path) -> None:
    broken, missing, silent = (tmp_path / name for name in ("broken", "missing", "silent"))
    write_api_json(broken, 9, 2**22 + 1)
    (broken / "lanspread.toml").write_text('games = "gmaes"\nnonsense = 1\n')
    missing.mkdir()
    (missing / "lanspread.toml").write_text('games = "gmaes"\nno_mdns = true\n')
    with socket.create_server(("127.0.0.1", 0)) as server:
        write_api_json(silent, server.getsockname()[1], os.getpid())
        runs = [("--state", str(state)) for state in (broken, missing, silent)]
        of_broken, of_missing, of_silent = doctors(*runs)
    assert of_broken.level("settings") == "fault"
    assert "nonsense" in of_broken.found["settings"]["message"]
    assert of_broken.level("not_answering") == "warning"
    assert of_missing.level("games_missing") == "fault"
    assert of_missing.level("mdns_off") == "note"
    assert of_missing.level("settings") == ""
    assert of_silent.code == 0
    assert of_silent.level("not_answering") == "warning"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--peer", "nowhere"], "HOST:PORT"),
        (["--peer", "host:0"], "port"),
        (["--interface", "eth0"], "--interface"),
        (["extra"], "extra"),
    ],
)
def test_bad_usage(arguments: list[str], part: str) -> None:
    assert_one_line(lanspread("doctor", *arguments), 2, part)


@contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process whose output goes to a terminal, and our end of that."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lanspread", *arguments],
        stdout=theirs,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LANSPREAD_GAMES": ""},
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        os.close(ours)
        process.kill()
        process.wait()


def everything_on(terminal: int) -> str:
    text = b""
    try:
        while chunk := os.read(terminal, 65_536):
            text += chunk
    except OSError:
        pass  # Linux says so when the other side is closed.
    return text.decode()


def test_what_people_read(tmp_path: Path) -> None:
    missing = ("--games", str(tmp_path / "nothing"), "--state", str(tmp_path / "state"))
    with on_a_terminal("doctor", *LOOPBACK, *missing) as (process, terminal):
        done = lanspread("doctor", *LOOPBACK, *missing)
        shown = everything_on(terminal)
        assert process.wait(30) == 1
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("fault"))
    assert "does not exist" in lines[at]
    assert lines[at + 1].strip() == "-> make it, or give another"
    assert lines[-1].startswith("1 fault")
    assert "\x1b[1;31mfault" in shown
    assert "Traceback" not in shown


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    arguments = ("doctor", *LOOPBACK, "--state", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        write_api_json(tmp_path, server.getsockname()[1], os.getpid())
        with on_a_terminal(*arguments) as (process, terminal):
            # It asks the peer that should be there, so it is at work.
            asking, _ = server.accept()
            with asking:
                process.send_signal(signal.SIGINT)
                assert everything_on(terminal) == ""
                assert process.wait(30) == 130
