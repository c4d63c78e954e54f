"""Real peers in real processes: the ready line, signals, taken ports, and commands against them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import Peer, command
from tests.machine import at_most


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A peer that is ready."""
    started = Peer(tmp_path / "peer", "--name", "tester")
    try:
        started.ready()
        yield started
    finally:
        started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ready_line_api_json_and_a_clean_end(tmp_path: Path, number: int) -> None:
    peer = Peer(tmp_path, "--name", "tester")
    try:
        ready = peer.ready()
        assert list(ready) == [
            "ready", "peer_id", "name", "listen", "api_url", "token", "instance",
        ]  # fmt: skip
        assert ready["ready"] is True
        assert ready["name"] == "tester"
        file = peer.state / "api.json"
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(file.read_text()) == {
            "api_url": ready["api_url"],
            "token": ready["token"],
            "pid": peer.process.pid,
            "instance": ready["instance"],
        }
        code, seconds, out, err = peer.end(number)
    finally:
        peer.kill()
    assert code == 0, err
    assert seconds < at_most(2.5)
    assert out == ""
    assert "Traceback" not in err
    assert ready["token"] not in err
    assert not file.exists()


@pytest.mark.alone
def test_signals_at_any_moment_leave_no_traceback(tmp_path: Path) -> None:
    for number in range(12):
        peer = Peer(tmp_path)
        try:
            time.sleep(0.12 * number)
            code, seconds, _, err = peer.end(signal.SIGTERM)
        finally:
            peer.kill()
        assert "Traceback" not in err, err
        # Before Python runs our first line, the signal's default ends the process.
        assert code == 0 or (number < 4 and code == -signal.SIGTERM), (number, code, err)
        assert seconds < at_most(3)


def test_stdout_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    peer = Peer(tmp_path, stdout=writing)
    os.close(writing)
    try:
        deadline = time.monotonic() + 20
        while not (peer.state / "api.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        assert peer.process.poll() is None
        code, _, _, err = peer.end()
    finally:
        peer.kill()
    assert code == 0, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def failed(process: subprocess.Popen[str]) -> str:
    """Stderr of a run that must fail with 1 in one line (its log aside)."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("lanspread: ")]
    assert len(lines) == 1, err
    return lines[0]


def test_taken_ports_and_state(tmp_path: Path, peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        second = Peer(tmp_path / "second", "--api", f"127.0.0.1:{port}")
        assert str(port) in failed(second.process)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()[1]
        second = Peer(tmp_path / "third", "--listen", f"127.0.0.1:{port}")
        assert str(port) in failed(second.process)
    second = Peer(peer.state.parent)
    assert str(peer.state.parent) in failed(second.process)


def test_commands_against_a_running_peer(peer: Peer) -> None:
    done = command(peer, "games", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
    assert json.loads(command(peer, "peers", "--json").stdout) == []
    status = json.loads(command(peer, "status", "--json").stdout)
    assert status["name"] == "tester"
    # A start keeps the loop busy; what was measured is there after the first tenth of a second.
    assert status["loop_lag"] is None or 0 <= status["loop_lag"]["p50_s"] <= 10
    assert json.loads(command(peer, "polite", "on", "--json").stdout)["polite"] is True
    assert command(peer, "polite").stdout.startswith("polite: at most 4 MB/s up")
    assert command(peer, "polite", "off").stdout.startswith("not polite")
    assert "loop lag" in command(peer, "status").stdout
    for arguments in (["get", "nothing"], ["get", "nothing", "--json"], ["cancel", "nothing"]):
        done = command(peer, *arguments)
        assert done.returncode == 4, done
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        done = command(peer, "connect", f"127.0.0.1:{udp.getsockname()[1]}")
    assert done.returncode == 4, done
    assert done.stderr.count("\n") == 1
    done = command(peer, "shutdown")
    assert (done.returncode, done.stderr) == (0, "")
    assert peer.process.wait(timeout=5) == 0
    assert command(peer, "games").returncode == 3


def test_watch_ends_with_ctrl_c(peer: Peer) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "lanspread", "watch", "--json", "--state", str(peer.state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    api = json.loads((peer.state / "api.json").read_text())
    metrics = f"{api['api_url']}/metrics?token={api['token']}"
    while b"lanspread_api_subscribers 1.0" not in urllib.request.urlopen(metrics).read():
        assert watching.poll() is None
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=10)
    assert (watching.returncode, err) == (130, "")


def test_two_peers_a_get_and_a_second_get(tmp_path: Path, peer: Peer) -> None:
    source = Peer(tmp_path / "source")
    try:
        game = source.games / "quake"
        (game / "maps").mkdir(parents=True)
        (game / "maps" / "地図.bin").write_bytes(os.urandom(300_000))
        (game / "empty").write_bytes(b"")
        (game / "version.ini").write_text("1.0\n")
        address = source.ready()["listen"][0]
        assert command(peer, "connect", address).returncode == 0
        deadline = time.monotonic() + 20
        while not json.loads(command(peer, "games", "--json").stdout):
            assert time.monotonic() < deadline
        done = command(peer, "get", "quake", "--json")
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[-1]["type"] == "download.finished"
        assert events[-1]["data"]["bytes_fetched"] >= 300_000
        for path in ("maps/地図.bin", "empty", "version.ini"):
            assert (peer.games / "quake" / path).read_bytes() == (game / path).read_bytes()
        again = command(peer, "get", "quake", "--json")
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout.splitlines()[-1])["data"]["bytes_fetched"] == 0
    finally:
        source.kill()


def test_ctrl_c_leaves_the_download_and_cancel_ends_it(tmp_path: Path) -> None:
    source = Peer(tmp_path / "source")
    slow = Peer(tmp_path / "slow", "--max-down", "0.5")
    try:
        game = source.games / "large"
        game.mkdir()
        (game / "large.eti").write_bytes(os.urandom(20_000_000))
        (game / "version.ini").write_text("2\n")
        address = source.ready()["listen"][0]
        slow.ready()
        assert command(slow, "connect", address).returncode == 0
        deadline = time.monotonic() + 20
        while not json.loads(command(slow, "games", "--json").stdout):
            assert time.monotonic() < deadline
        started = json.loads(command(slow, "get", "large", "--no-wait", "--json").stdout)
        following = subprocess.Popen(
            [sys.executable, "-m", "lanspread", "get", "large", "--state", str(slow.state)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Its first line: from then on it follows.
        assert following.stdout is not None
        assert following.stdout.readline()
        following.send_signal(signal.SIGINT)
        _, err = following.communicate(timeout=10)
        assert following.returncode == 130
        assert err.count("\n") == 1
        again = json.loads(command(slow, "get", "large", "--no-wait", "--json").stdout)
        assert again == started
        done = command(slow, "cancel", "large", "--json")
        assert done.returncode == 0, done
        assert json.loads(done.stdout.splitlines()[-1])["type"] == "download.cancelled"
        assert not (slow.games / "large" / "version.ini").exists()
        assert slow.end()[0] == 0
    finally:
        source.kill()
        slow.kill()


def test_metrics_and_schema_of_a_running_peer(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    try:
        ready = peer.ready()
        for path in ("metrics", "schema"):
            request = urllib.request.Request(
                f"{ready['api_url']}/{path}", headers={"Authorization": f"Bearer {ready['token']}"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert b"lanspread" in answer.read()
    finally:
        peer.kill()
