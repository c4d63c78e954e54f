"""A whole peer whose machine is switched off at a step, or loses what it had not synced."""

from __future__ import annotations

from pathlib import Path

import pytest
from trio.testing import MockClock

from lanspread.commands import DownloadGame
from lanspread.testing import (
    CONTENTS_LOST,
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    NAMES_LOST,
    Crashed,
    Link,
    PowerLoss,
    VirtualLan,
    VirtualPeer,
    open_virtual_lan,
    some_kept,
    until,
)

GAME = {"large.eti": 100_000, "maps/one": 20_000}


async def pair(lan: VirtualLan, files: dict[str, int] = GAME) -> tuple[VirtualPeer, VirtualPeer]:
    """The second one sees a game at the first."""
    anna, ben = lan.add_peer("anna"), lan.add_peer("ben")
    anna.put_game("Large", files)
    await anna.start()
    await ben.start()
    await until(lambda: ben.offers("Large"))
    return anna, ben


async def download(peer: VirtualPeer) -> None:
    """Have the whole game, whether that goes on by itself or not."""
    await until(lambda: peer.has_game("Large") or bool(peer.offers("Large")))
    if not peer.has_game("Large") and not peer.peer.operations.all():
        assert (await peer.fetch("Large")).type == "download.finished"
    await until(lambda: peer.has_game("Large"))


async def test_a_power_loss_takes_the_bytes_that_were_not_synced(autojump_clock: MockClock) -> None:
    async with open_virtual_lan(seed=2, link=Link(bytes_per_s=100_000, queue_s=1)) as lan:
        anna, ben = await pair(lan, {"large.eti": 500_000})
        await ben.peer.execute(DownloadGame(id="Large"))
        await until(lambda: any(ben.read_game("Large").values()))
        await ben.crash(CONTENTS_LOST)
        assert ben.read_game("Large") == {"large.eti": b""}
        # What was put there from outside is durable.
        await anna.crash(EVERYTHING_LOST)
        await anna.start()
        await ben.start()
        await download(ben)
        assert ben.read_game("Large") == anna.read_game("Large")


@pytest.mark.parametrize(
    ("step", "torn", "loss"),
    [
        (0, False, EVERYTHING_KEPT),
        (5, False, EVERYTHING_LOST),
        (9, True, EVERYTHING_KEPT),
        (13, True, some_kept(1)),
        (17, False, some_kept(2)),
        (19, False, CONTENTS_LOST),
    ],
)
async def test_a_machine_that_is_switched_off_at_a_step(
    autojump_clock: MockClock, virtual_lan: VirtualLan, step: int, torn: bool, loss: PowerLoss
) -> None:
    anna, ben = await pair(virtual_lan)
    files = ben.games.files
    ben.crash_at_step(step, torn=torn, loss=loss)
    try:
        await ben.peer.execute(DownloadGame(id="Large"))
    except Crashed:
        assert step == 0
    await ben.ended.wait()
    assert files.steps == step + 1
    assert not ben.is_running
    assert not ben.host.alive
    assert ben.host.sockets == ()
    assert anna.is_running
    await ben.start()
    assert not ben.has_game("Large")
    await download(ben)
    assert ben.read_game("Large") == anna.read_game("Large")


async def test_a_step_of_the_test_itself_switches_the_machine_off(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    ben = await virtual_lan.start_peer("ben")
    ben.crash_at_step(1, loss=NAMES_LOST)
    with ben.games.files.open_folder(ben.games.path) as folder:
        folder.make_folder("made")
        with pytest.raises(Crashed):
            folder.make_folder("never")
    await ben.ended.wait()
    with ben.games.files.open_folder(ben.games.path) as folder:
        assert folder.list() == []


async def test_a_machine_that_is_switched_off_while_its_peer_starts(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    ben = virtual_lan.add_peer("ben")
    ben.put_game("Large", GAME)
    ben.crash_at_step(0)
    ben.games.files.crash()
    with pytest.raises(Crashed, match="while the peer started"):
        await ben.start()
    assert not ben.is_running
    await ben.start()
    await until(lambda: ben.has_game("Large"))


async def test_a_real_disk_loses_nothing(
    autojump_clock: MockClock, virtual_lan: VirtualLan, tmp_path: Path
) -> None:
    ben = await virtual_lan.start_peer("ben", games=tmp_path / "games")
    with pytest.raises(ValueError, match="in memory"):
        await ben.crash(CONTENTS_LOST)
    assert ben.is_running
    await ben.crash()
    await ben.start()
