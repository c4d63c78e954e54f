"""Settings that are changed while a peer runs: in use at once, and at the next start."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from lanspread.api import rpc
from lanspread.commands import GetSettings, SetSettings
from lanspread.config import default_name, load_config
from lanspread.errors import StartError
from lanspread.peer import Peer
from lanspread.sync import messages as m
from lanspread.testing import open_virtual_lan
from lanspread.views import SettingsView
from tests.peers.support import Events, begin, offering, open_party, until, write_game


async def settings(peer: Peer, command: SetSettings | None = None) -> SettingsView:
    answer = await peer.execute(GetSettings() if command is None else command)
    assert isinstance(answer, SettingsView)
    return answer


async def test_they_are_in_use_at_once_and_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "lanspread.toml").write_text("# mine\nmax_down = 3\n", encoding="utf-8")
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await party.start(lan.add_host("a"), tmp_path, max_down=3_000_000.0)
        before = await settings(ann)
        assert (before.name, before.games_dir) == ("a", str(tmp_path / "games"))
        assert (before.max_up, before.max_down, before.auto_install) == (None, 3.0, False)
        after = await settings(ann, SetSettings(max_up=1.5, max_down=0, auto_install=True))
        assert (after.max_up, after.max_down, after.auto_install) == (1.5, None, True)
        assert await settings(ann, SetSettings()) == after == await settings(ann)
    text = (state / "lanspread.toml").read_text(encoding="utf-8")
    assert "# mine" in text
    assert "max_down" not in text
    kept = load_config({"games": str(tmp_path)}, {}, str(state))
    assert (kept.max_up, kept.max_down, kept.auto_install) == (1_500_000.0, None, True)


async def test_a_new_name_is_seen_by_all(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await party.start(lan.add_host("a"), tmp_path / "a")
        ben = await party.start(lan.add_host("b"), tmp_path / "b")
        await until(lambda: [peer.name for peer in ben.directory.connected()] == ["a"])
        events = Events(ben)
        after = await settings(ann, SetSettings(name="Ann's box 🎮"))
        assert after.name == ann.name == ann.status().name == "Ann's box 🎮"
        assert (await events.wait_for("peer.updated", within=2)).data["name"] == "Ann's box 🎮"
        # Who comes later hears it from mDNS, and then from Hello.
        cid = await party.start(lan.add_host("c"), tmp_path / "c")
        heard = Events(cid)
        assert (await heard.wait_for("peer.discovered", within=5)).data["name"] in (
            "Ann's box 🎮",
            "b",
        )
        await until(lambda: len(cid.directory.connected()) == 2)
        assert {peer.name for peer in cid.peers()} == {"Ann's box 🎮", "b"}
    kept = load_config({"games": str(tmp_path)}, {}, str(tmp_path / "a/state"))
    assert kept.name == "Ann's box 🎮"


async def test_a_name_of_somebody_else_ends_the_session(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await party.start(lan.add_host("a"), tmp_path / "a")
        ben = await party.start(lan.add_host("b"), tmp_path / "b")
        await until(lambda: bool(ben.directory.connected()))
        events = Events(ben)
        ann.sessions.tell(m.Renamed(peer_id=ben.peer_id, name="ben"))
        reason = (await events.wait_for("peer.lost", within=2)).data["reason"]
        assert reason == "protocol_error: a name of somebody else"


ODD_NAMES = (
    "",
    " x",
    "\n",
    "x\n",
    "a\tb",
    "\x7f",
    "\u2028x",
    "\u00a0x",
    "x" * 129,
    "\x85",
    "x\u202ey",
    "\u2067x",
    "x\u200f",
    "x\u061c",
)


def takes(name: str) -> tuple[bool, bool]:
    """Whether `settings.set` and whether the settings file take this name."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "settings.set", "params": {"name": name}}
    verdicts = []
    for check in (
        lambda: rpc.parse(json.dumps(call)),
        lambda: load_config({"games": "g", "name": name}, {}, "", use_file=False),
    ):
        try:
            check()
        except (rpc.RpcError, StartError):
            verdicts.append(False)
        else:
            verdicts.append(True)
    return verdicts[0], verdicts[1]


@given(st.text(max_size=130) | st.sampled_from(ODD_NAMES))
@example("x" * 128)
def test_a_name_is_taken_by_both_or_by_neither(name: str) -> None:
    assert takes(name) in ((True, True), (False, False))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_what_is_no_name_is_refused(name: str) -> None:
    assert takes(name) == (False, False)


def test_a_long_name_costs_no_time_to_refuse() -> None:
    # Quadratic in its length, this would take minutes.
    assert takes(" " * 1_000_000 + "\n") == takes("x" * 1_000_000 + "\n") == (False, False)


def test_a_machine_whose_name_is_none_still_has_a_peer() -> None:
    assert [default_name(host) for host in ("box", "", "\udcff", " ", "x" * 200)] == [
        "box",
        "lanspread",
        "lanspread",
        "lanspread",
        "x" * 128,
    ]


async def test_a_limit_changes_under_a_download(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        write_game(tmp_path / "a", "Quake", {"x": os.urandom(1_000_000), "version.ini": b"1"})
        await party.start(lan.add_host("a"), tmp_path / "a")
        ben = await party.start(lan.add_host("b"), tmp_path / "b", max_down=1_000.0)
        await until(lambda: offering(ben, "Quake"))
        events = Events(ben)
        await begin(ben, "Quake")
        await events.wait_for("download.progress")
        await settings(ben, SetSettings(max_down=0))
        await events.wait_for("download.finished", within=60)


async def test_what_cannot_be_kept_is_used_and_said(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        ann = await party.start(lan.add_host("a"), tmp_path)
        (tmp_path / "state/lanspread.toml").write_text("not = = toml", encoding="utf-8")
        events = Events(ann)
        assert (await settings(ann, SetSettings(auto_install=True))).auto_install
        assert (await events.wait_for("warning")).data["code"] == "setting_not_kept"


async def test_polite_caps_both_ways_and_leaves_the_limits_as_they_are(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with open_virtual_lan(seed=1) as lan, open_party() as party:
        files = {"x": os.urandom(1_000_000), "version.ini": b"1"}
        write_game(tmp_path / "a", "Quake", files)
        ann = await party.start(
            lan.add_host("a"), tmp_path / "a", max_up=1_000_000.0, polite=True, polite_up=1_000.0
        )
        ben = await party.start(lan.add_host("b"), tmp_path / "b", polite_down=2_000.0)
        found = await settings(ann)
        assert (found.polite, found.max_up, found.polite_up) == (True, 1.0, 0.001)
        await until(lambda: offering(ben, "Quake"))
        events = Events(ben)
        await begin(ben, "Quake")
        await trio.sleep(20)
        assert 0 < ann.bytes_sent() <= 21_000
        # Not polite any more: her own limit holds, and his while he is polite.
        await settings(ben, SetSettings(polite=True))
        await settings(ann, SetSettings(polite=False))
        assert (await settings(ben)).max_down is None
        await trio.sleep(20)
        assert 0 < ben.status().down_rate <= 3_000
        await settings(ben, SetSettings(polite=False))
        await events.wait_for("download.finished", within=60)
    kept = load_config({"games": str(tmp_path)}, {}, str(tmp_path / "b/state"))
    assert (kept.polite, kept.max_up, kept.max_down) == (False, None, None)


@pytest.mark.parametrize(
    "params",
    [
        '{"games": "x"}',
        '{"name": 1}',
        '{"max_up": -1}',
        '{"max_up": 1e300}',
        '{"max_up": 0.0009}',
        '{"max_down": 1e-9}',
        '{"auto_install": 1}',
        '{"polite": 1}',
        '{"polite_up": 1}',
    ],
)
def test_what_is_no_setting_is_refused(params: str) -> None:
    text = f'{{"jsonrpc": "2.0", "id": 1, "method": "settings.set", "params": {params}}}'
    with pytest.raises(rpc.RpcError) as error:
        rpc.parse(text)
    assert error.value.fault is rpc.Fault.INVALID_PARAMS


@pytest.mark.parametrize("name", ["", " x", "x" * 129])
def test_what_is_no_name_is_told_what_would_be_one(name: str) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "settings.set", "params": {"name": name}}
    with pytest.raises(rpc.RpcError, match=r"^`name`: must be one line of 1 to 128 characters"):
        rpc.parse(json.dumps(call))
    with pytest.raises(StartError, match="must "):
        load_config({"games": "g", "name": name}, {}, "", use_file=False)


def test_a_rate_that_is_too_low_is_told_how_low_it_may_be() -> None:
    text = '{"jsonrpc": "2.0", "id": 1, "method": "settings.set", "params": {"max_up": 0.0009}}'
    with pytest.raises(rpc.RpcError, match=r"`max_up`: must be at least 0\.001 MB/s"):
        rpc.parse(text)
    for rate in ("0", "0.001", "1000000"):
        assert rpc.parse(text.replace("0.0009", rate)).action == SetSettings(max_up=float(rate))
