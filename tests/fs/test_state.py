"""The state folder: one peer at a time, and an identity that is never lost silently."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanspread.cli.published import read_api_json
from lanspread.errors import StartError
from lanspread.fs.state import State, open_state
from lanspread.platform import RealEntropy
from tests.fs.support import open_descriptors


@pytest.fixture
def games(tmp_path: Path) -> str:
    (tmp_path / "games").mkdir()
    return str(tmp_path / "games")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state"


def refused(path: Path, games: str, **options: bool) -> str:
    before = open_descriptors()
    with pytest.raises(StartError) as caught:
        open_state(str(path), games, RealEntropy(), **options)
    assert open_descriptors() == before
    assert str(caught.value).isprintable()
    return str(caught.value)


def reopened(path: Path, games: str, **options: bool) -> State:
    state = open_state(str(path), games, RealEntropy(), **options)
    state.close()
    return state


def test_everything_is_kept(path: Path, games: str) -> None:
    first = open_state(str(path), games, RealEntropy())
    assert (first.rev, len(first.epoch)) == (0, 16)
    first.save_revision(first.epoch, 7, bytes(32))
    first.close()
    second = reopened(path, games)
    assert second.identity.peer_id == first.identity.peer_id
    assert (second.epoch, second.rev, second.token) == (first.epoch, 7, first.token)
    assert second.warnings == ()
    assert os.listdir(games) == []


def test_secrets_are_private(path: Path, games: str) -> None:
    state = open_state(str(path), games, RealEntropy())
    state.write_api_json("http://127.0.0.1:1", "i")
    assert path.stat().st_mode & 0o777 == 0o700
    for name in ("key.pem", "cert.pem", "token", "api.json", "library.json", "lock"):
        assert (path / name).stat().st_mode & 0o777 == 0o600, name
    state.close()
    (path / "key.pem").chmod(0o644)
    reopened(path, games)
    assert (path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(state.identity)


def test_new_identity_and_token_on_request(path: Path, games: str) -> None:
    first = reopened(path, games)
    second = reopened(path, games, new_identity=True)
    assert second.identity.peer_id != first.identity.peer_id
    assert second.token == first.token
    third = reopened(path, games, new_token=True)
    assert third.identity.peer_id == second.identity.peer_id
    assert third.token != second.token


@pytest.mark.parametrize("name", ["key.pem", "cert.pem"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "rubbish", "other", "folder"])
def test_a_damaged_identity_is_never_replaced(
    path: Path, games: str, tmp_path: Path, name: str, damage: str
) -> None:
    first = reopened(path, games)
    file = path / name
    data = file.read_bytes()
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "missing":
        other = tmp_path / "other"
        reopened(other, games)
        pieces = {"empty": b"", "half": data[: len(data) // 2], "rubbish": b"\x00\xff" * 50}
        file.write_bytes(pieces.get(damage, (other / name).read_bytes()))
    message = refused(path, games)
    assert "key.pem" in message or "cert.pem" in message
    assert "--new-identity" in message
    if damage != "folder":
        second = reopened(path, games, new_identity=True)
        assert second.identity.peer_id != first.identity.peer_id


@pytest.mark.parametrize("digest", [None, "", "zz", 5, "00" * 31, "AB" * 32, "00" * 33])
def test_a_digest_that_is_not_there_is_only_not_known(
    path: Path, games: str, digest: object
) -> None:
    """Epoch and revision stay: the next revision is another one, and nothing is lost."""
    state = reopened(path, games)
    assert state.digest is None
    state.save_revision(state.epoch, 7, b"d" * 32)
    again = reopened(path, games)
    assert (again.epoch, again.rev, again.digest) == (state.epoch, 7, b"d" * 32)
    value = {"epoch": state.epoch.hex(), "rev": 7, "digest": digest}
    if digest is None:
        del value["digest"]
    (path / "library.json").write_text(json.dumps(value))
    again = reopened(path, games)
    assert (again.epoch, again.rev, again.digest) == (state.epoch, 7, None)
    assert not again.warnings


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"epoch": "00", "rev": 1}',
        b'{"epoch": 5, "rev": 1}',
        b'{"epoch": "' + b"0" * 32 + b'", "rev": -1}',
        b'{"epoch": "' + b"0" * 32 + b'", "rev": 1.5}',
        b'{"epoch": "' + b"0" * 32 + b'", "rev": 9007199254740993}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_revision_starts_a_new_epoch(path: Path, games: str, data: bytes) -> None:
    first = reopened(path, games)
    (path / "library.json").write_bytes(data)
    second = reopened(path, games)
    assert second.epoch != first.epoch
    assert second.rev == 0
    assert [warning.code for warning in second.warnings] == ["state_damaged"]
    assert reopened(path, games).epoch == second.epoch


def test_a_damaged_token_is_replaced(path: Path, games: str) -> None:
    first = reopened(path, games)
    (path / "token").write_bytes(b"short")
    second = reopened(path, games)
    assert second.token != first.token
    assert [warning.code for warning in second.warnings] == ["state_damaged"]
    (path / "token").write_bytes(second.token.encode() + b"\n")
    assert reopened(path, games).token == second.token


def test_one_peer_per_state(path: Path, games: str, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    state = open_state(str(path), games, RealEntropy())
    assert f"(pid {os.getpid()})" in refused(path, str(tmp_path / "more"))
    message = refused(tmp_path / "other", games)
    assert "games folder" in message
    assert "in use" in message
    state.close()
    state.close()
    reopened(path, games)


def test_the_lock_ends_with_the_process(path: Path, games: str) -> None:
    code = (
        "import sys\n"
        "from lanspread.fs.state import open_state\n"
        "from lanspread.platform import RealEntropy\n"
        "state = open_state(*sys.argv[1:], RealEntropy())\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path), games],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert f"(pid {process.pid})" in refused(path, games)
        process.kill()
        process.wait()
    reopened(path, games)


def test_api_json(path: Path, games: str) -> None:
    assert read_api_json(str(path)) is None
    state = open_state(str(path), games, RealEntropy())
    assert read_api_json(str(path)) is None
    state.write_api_json("http://127.0.0.1:7374", "abc")
    found = read_api_json(str(path))
    assert found is not None
    assert (found.api_url, found.token) == ("http://127.0.0.1:7374", state.token)
    assert (found.pid, found.instance) == (os.getpid(), "abc")
    assert state.token not in repr(found)
    state.close()
    assert read_api_json(str(path)) is None


def test_a_killed_peers_api_json_goes_at_the_next_start(path: Path, games: str) -> None:
    reopened(path, games)
    (path / "api.json").write_text('{"api_url": "x", "token": "y", "pid": 1, "instance": "z"}')
    assert read_api_json(str(path)) is not None
    state = open_state(str(path), games, RealEntropy())
    assert read_api_json(str(path)) is None
    state.close()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"api_url": 1}', b"\xff"])
def test_a_damaged_api_json_is_no_peer(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "api.json").write_bytes(data)
    assert read_api_json(str(tmp_path)) is None


def test_folders_that_cannot_be_used(tmp_path: Path, games: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "file" in refused(tmp_path / "file", games)
    assert "file" in refused(tmp_path / "file" / "below", games)
    assert "nowhere" in refused(tmp_path / "state", str(tmp_path / "nowhere"))
    assert "file" in refused(tmp_path / "state", str(tmp_path / "file"))


def test_a_full_disk_keeps_the_old_file(
    path: Path, games: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = open_state(str(path), games, RealEntropy())
    state.save_revision(state.epoch, 3, bytes(32))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            state.save_revision(state.epoch, 4, bytes(32))
    assert state.rev == 3
    state.close()
    assert reopened(path, games).rev == 3
    # A scratch file that was left behind is in nobody's way.
    (path / "library.json.tmp").write_bytes(b"old")
    state = open_state(str(path), games, RealEntropy())
    state.save_revision(state.epoch, 5, bytes(32))
    state.close()
    assert reopened(path, games).rev == 5
