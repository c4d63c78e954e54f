"""The same seed gives the same run, in another process and with another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lanspread.identity import (
    check_hello,
    dump_identity,
    load_identity,
    new_identity,
    sign_hello,
)
from lanspread.testing import open_virtual_lan, standstill
from lanspread.testing.entropy import SeededEntropy

ROOT = Path(__file__).parents[2]


def start(seed: int, hash_seed: int, trace: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.testing.scenario", str(seed), str(trace)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
    )


def test_the_same_seed_is_the_same_run_and_another_seed_is_another(tmp_path: Path) -> None:
    wanted = ((5, 1), (5, 2), (8, 1))
    files = [tmp_path / f"{seed}-{hash_seed}" for seed, hash_seed in wanted]
    runs = [start(*one, file) for one, file in zip(wanted, files, strict=True)]
    assert [run.wait(timeout=300) for run in runs] == [0, 0, 0]
    first, again, other = (file.read_text().splitlines() for file in files)
    assert len(first) > 1_000
    assert first == again
    assert first != other


async def shuffled(seed: int) -> list[int]:
    """The order in which tasks that are ready at once take their turns."""
    turns: list[int] = []

    async def turn(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            turns.append(number)

    async with open_virtual_lan(seed=seed), trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(turn, number)
    return turns


async def test_the_scheduler_follows_the_seed_and_is_given_back(
    autojump_clock: MockClock,
) -> None:
    before = trio._core._run._r.getstate()
    assert await shuffled(3) == await shuffled(3) != await shuffled(4)
    assert trio._core._run._r.getstate() == before


def test_an_identity_of_a_seed_is_good_and_its_signatures_have_one_length() -> None:
    one, same, other = (new_identity(SeededEntropy(seed)) for seed in ("a", "a", "b"))
    assert one.peer_id == same.peer_id != other.peer_id
    assert len(dump_identity(one)[1]) == len(dump_identity(other)[1])
    assert load_identity(*dump_identity(one)).peer_id == one.peer_id
    proofs = [sign_hello(one, other.public_key, bytes([number])) for number in range(50)]
    assert {len(proof) for proof in proofs} == {71}
    for number, proof in enumerate(proofs):
        assert check_hello(one.public_key, proof, other.public_key, bytes([number])) == one.peer_id


def test_hosts_have_streams_of_their_own() -> None:
    one, two = SeededEntropy("1/a"), SeededEntropy("1/b")
    assert one.token_bytes(16) == SeededEntropy("1/a").token_bytes(16) != two.token_bytes(16)


async def test_a_task_that_never_waits_is_named(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standstill, "STEPS", 1_000)

    async def circle() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.RaisesGroup(
        pytest.RaisesExc(standstill.TimeStandsStill, match="circle"), flatten_subgroups=True
    ):
        async with open_virtual_lan() as lan:
            lan.nursery.start_soon(circle)
            await trio.sleep(1)
