"""Finding, greeting, losing and replacing: what peers see of each other."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from lanspread import limits
from lanspread.commands import ConnectPeer
from lanspread.doctor import way
from lanspread.errors import LanspreadError
from lanspread.platform import RealEntropy
from lanspread.seams import Address
from lanspread.sync import messages as m
from lanspread.sync.directory import bounded_features
from lanspread.sync.session import why_ended
from lanspread.testing import Link, VirtualLan
from lanspread.testing.network import VirtualNetwork
from lanspread.transport import CloseInfo
from lanspread.views import PeerState
from tests.peers.support import (
    SMALL_GAME,
    Events,
    Party,
    connected,
    fetch,
    game,
    offering,
    until,
    write_game,
)


async def test_peers_find_each_other_and_keep_one_connection(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    peers = [await party.start(lan.add_host(n), tmp_path / n) for n in "abcd"]
    everybody = {peer.peer_id for peer in peers}
    await until(lambda: all(connected(p) == everybody - {p.peer_id} for p in peers), within=5)
    await trio.sleep(60)
    # Each pair has settled on one connection, whoever dialed, and nobody dials again.
    assert all(connected(p) == everybody - {p.peer_id} for p in peers)
    for peer in peers:
        assert peer.statistics().connections == 3


async def test_a_static_peer_needs_no_mdns(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a", mdns=False)
    ben = await party.start(lan.add_host("b"), tmp_path / "b", mdns=False, peers=("a:7373",))
    await until(lambda: connected(anna) == {ben.peer_id}, within=3)
    await until(lambda: connected(ben) == {anna.peer_id}, within=3)


async def test_connect_says_what_is_wrong(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    host = lan.add_host("a")
    anna = await party.start(host, tmp_path / "a", mdns=False)
    ben = await party.start(lan.add_host("b"), tmp_path / "b", mdns=False)
    for wrong in ("nonsense", "a:99999", "10.9.9.9:7373", "a:7999", "nobody:7373"):
        with pytest.raises(LanspreadError) as caught:
            await ben.execute(ConnectPeer(address=wrong))
        assert caught.value.code == "not_found"
    with pytest.raises(LanspreadError, match="itself"):
        await ben.execute(ConnectPeer(address="b:7373"))
    await ben.execute(ConnectPeer(address=f"{host.addresses[0]}:7373"))
    assert connected(ben) == {anna.peer_id}
    # Once more is no error, and no second connection.
    await ben.execute(ConnectPeer(address="a:7373"))
    await trio.sleep(5)
    assert ben.statistics().connections == 1


async def test_goodbye_is_heard_at_once_and_a_killed_peer_is_missed_in_time(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts = {name: lan.add_host(name) for name in "abc"}
    peers = {name: await party.start(host, tmp_path / name) for name, host in hosts.items()}
    await until(lambda: len(connected(peers["c"])) == 2)
    events = Events(peers["c"])
    await party.leave(hosts["a"])
    lost = await events.wait_for("peer.lost", within=2)
    assert (lost.data["peer_id"], lost.data["reason"]) == (peers["a"].peer_id, "goodbye")
    await party.kill(hosts["b"])
    lost = await events.wait_for("peer.lost", within=limits.STALE_TIMEOUT_S + 1)
    assert lost.data["peer_id"] == peers["b"].peer_id
    assert lost.data["state"] == PeerState.LOST
    hosts["b"].come_back()
    began = trio.current_time()
    await party.start(hosts["b"], tmp_path / "b")
    await events.wait_for("peer.connected", within=3)
    assert trio.current_time() - began < 3


async def test_who_only_looked_is_forgotten(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    """What the doctor does with `--peer`."""
    host, network = lan.add_host("a"), VirtualNetwork(lan.add_host("b"))
    anna = await party.start(host, tmp_path / "a", mdns=False)
    events = Events(anna)
    address = Address(host.addresses[0], limits.DEFAULT_PORT)
    greeting = await way._greet(address, "", network, RealEntropy(), way._Time())
    assert (greeting.peer_id, greeting.fault) == (anna.peer_id, None)
    await events.wait_for("peer.connected", within=2)
    lost = await events.wait_for("peer.lost", within=2)
    assert (lost.data["state"], lost.data["reason"]) == (PeerState.LOST, "forgotten")
    assert anna.peers() == ()
    assert events.types().count("peer.lost") == 1


async def test_a_goodbye_is_a_goodbye_whoever_closes_first(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: connected(anna) and connected(ben))
    events = Events(anna)
    # Only said, not closed: the side that hears it closes.
    ben.sessions.all()[0].send(m.Goodbye(peer_id=ben.peer_id))
    assert (await events.wait_for("peer.lost", within=2)).data["reason"] == "goodbye"


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (CloseInfo(m.CLOSE_GOODBYE, "bye", "peer", True), "goodbye"),
        (CloseInfo(m.CLOSE_GOODBYE, "goodbye", "us", True), "goodbye"),
        (CloseInfo(m.CLOSE_GOODBYE, "a fault", "us", True), "connection_lost: a fault"),
        (CloseInfo(m.CLOSE_STALE, "nothing heard", "us", True), "timeout: nothing heard"),
        (CloseInfo(0, "idle timeout", "timeout", False), "timeout: idle timeout"),
        (CloseInfo(m.CLOSE_PROTOCOL_ERROR, "bad", "peer", True), "protocol_error: bad"),
        (CloseInfo(m.CLOSE_REPLACED, "", "us", True), "replaced"),
        (CloseInfo(m.CLOSE_REFUSED, "full", "peer", True), "refused: full"),
        (CloseInfo(0x1234, "", "peer", True), "connection_lost"),
        (CloseInfo(m.CLOSE_REFUSED, "", "peer", False), "connection_lost"),
    ],
)
def test_the_reason_of_a_loss_begins_with_a_word_of_few(info: CloseInfo, reason: str) -> None:
    assert why_ended(info) == reason


async def test_games_that_could_not_be_games_here_are_left_out(
    autojump_clock: MockClock,
    lan: VirtualLan,
    party: Party,
    tmp_path: Path,
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    good = anna._publisher.current.games["Quake"]
    named = attrs.evolve(good, name="\x1b[31mQuake\u202e", eti_version="1.\x070")
    bad = ["../x", "a/b", "a\0b", "\x1b[2J", "CON", "", ".hidden", "C:x"]
    anna._publisher._summaries = lambda: [named, *(attrs.evolve(good, id=id) for id in bad)]
    await anna._publisher.refresh()
    await until(lambda: game(ben, "Quake").name != "Quake", within=2)
    assert [found.id for found in ben.games()] == ["Quake"]
    assert game(ben, "Quake").name == "[31mQuake"
    assert game(ben, "Quake").eti_version == "1.0"
    assert ben.peers()[0].game_count == 1
    # The digest was that of the bytes as sent: the session goes on, and nothing is asked again.
    assert connected(ben) == {anna.peer_id}
    assert ben.peers()[0].library_rev == anna._publisher.current.rev


def test_what_is_kept_of_features_is_small() -> None:
    many = {"\x1b" + "n" * 500: "\u202e" + "x" * 60_000, "list": [[]] * 1000, "n": 5, "yes": True}
    kept = bounded_features(many)
    assert kept == {"n" * 128: "x" * 128, "list": None, "n": 5, "yes": True}


async def test_a_quick_restart_is_no_loss(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts = {name: lan.add_host(name) for name in "ab"}
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    await party.start(hosts["a"], tmp_path / "a")
    ben = await party.start(hosts["b"], tmp_path / "b")
    await until(lambda: offering(ben, "Quake"))
    events = Events(ben)
    await party.kill(hosts["a"])
    hosts["a"].come_back()
    await party.start(hosts["a"], tmp_path / "a")
    updated = await events.wait_for("peer.updated", within=5)
    assert updated.data["state"] == PeerState.CONNECTED
    await trio.sleep(2 * limits.STALE_TIMEOUT_S)
    assert "peer.lost" not in events.types()
    assert offering(ben, "Quake")


async def test_a_new_game_is_seen_by_all_and_a_removed_one_goes(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    anna = await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    carl = await party.start(lan.add_host("c"), tmp_path / "c")
    await until(lambda: offering(ben, "Quake"))
    assert (await fetch(ben, "Quake")).type == "download.finished"
    await until(lambda: len(offering(carl, "Quake")) == 2, within=2)
    shutil.rmtree(tmp_path / "a/games/Quake")
    await anna.library.rescan("Quake")
    await until(lambda: offering(carl, "Quake") == (ben.peer_id,), within=2)


async def test_a_clone_is_noticed(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    hosts = {name: lan.add_host(name) for name in "ab"}
    anna = await party.start(hosts["a"], tmp_path / "a")
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "a/state", tmp_path / "b/state")
    events = Events(anna)
    ben = await party.start(hosts["b"], tmp_path / "b")
    assert ben.peer_id == anna.peer_id
    warning = await events.wait_for("warning", within=10)
    assert warning.data["code"] == "identity_cloned"
    assert "--new-identity" in warning.data["remedy"]


async def test_everything_holds_on_a_bad_wire(
    autojump_clock: MockClock, lan: VirtualLan, party: Party, tmp_path: Path
) -> None:
    lan.set_default_link(Link(loss=0.2, duplication=0.05, reordering=0.2, jitter_s=0.01))
    write_game(tmp_path / "a", "Quake", SMALL_GAME)
    await party.start(lan.add_host("a"), tmp_path / "a")
    ben = await party.start(lan.add_host("b"), tmp_path / "b")
    await until(lambda: offering(ben, "Quake"), within=60)
    assert (await fetch(ben, "Quake")).type == "download.finished"
    await trio.sleep(300)
    assert offering(ben, "Quake")
    assert game(ben, "Quake").downloaded
