"""A pytest plugin: a virtual LAN and five peers as fixtures, and the seed of a test that failed.

    # conftest.py
    pytest_plugins = ["lanspread.testing.plugin"]

    # test_front_end.py, with pytest-trio
    async def test_x(autojump_clock: MockClock, peers: tuple[VirtualPeer, ...]) -> None: ...

It needs pytest-trio. Nothing loads it by itself. Source: docs/testing.md.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import AsyncIterator, Generator

import pytest
import pytest_trio  # type: ignore[import-untyped]
import trio
from trio.testing import MockClock

from lanspread.testing.lan import VirtualLan, open_virtual_lan, opened_seeds
from lanspread.testing.party import start_party
from lanspread.testing.peers import VirtualPeer

DEFAULT_SEED = 1
_RANDOM_SEEDS = 2**32
_SEEDS_SHOWN = 10

_seeds_of_test = pytest.StashKey[list[int]]()
_seed_of_session = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("lanspread").addoption(
        "--lan-seed",
        metavar="N",
        help=f"seed of the fixture virtual_lan: a number, or 'random' (default: {DEFAULT_SEED})",
    )


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.getoption("--lan-seed")
    if chosen is None:
        seed = DEFAULT_SEED
    elif chosen == "random":
        seed = secrets.randbelow(_RANDOM_SEEDS)
    else:
        try:
            seed = int(chosen)
        except ValueError:
            raise pytest.UsageError(f"--lan-seed: {chosen!r} is no number, nor 'random'") from None
    config.stash[_seed_of_session] = seed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note every seed that the test opens a virtual LAN with."""
    seeds = item.stash[_seeds_of_test] = []
    token = opened_seeds.set(seeds)
    try:
        return (yield)
    finally:
        opened_seeds.reset(token)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seeds = item.stash.get(_seeds_of_test, [])
    if report.failed and seeds:
        report.sections.append(("virtual LAN", _how_to_repeat(item, seeds)))
    return report


def _how_to_repeat(item: pytest.Item, seeds: list[int]) -> str:
    name = shlex.quote(item.nodeid)
    if "lan_seed" in getattr(item, "fixturenames", ()):
        return f"seed {seeds[0]}; to repeat: python -m pytest {name} --lan-seed {seeds[0]}"
    shown = ", ".join(map(str, seeds[-_SEEDS_SHOWN:]))
    return f"seeds of the test's own, the last ones: {shown}; to repeat: python -m pytest {name}"


@pytest.fixture
def lan_seed(request: pytest.FixtureRequest) -> int:
    """The seed of `virtual_lan`: of the option `--lan-seed`, or always the same."""
    return request.config.stash[_seed_of_session]


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]
async def virtual_lan(lan_seed: int) -> AsyncIterator[VirtualLan]:
    """A virtual LAN without hosts. The test itself has to take `autojump_clock` as an argument."""
    # pytest-trio sees a clock only among the test's own arguments.
    if not isinstance(trio.lowlevel.current_clock(), MockClock):
        raise RuntimeError(
            "a test with a virtual LAN takes `autojump_clock` as an argument of its own;"
            " otherwise it would wait in real time"
        )
    async with open_virtual_lan(seed=lan_seed) as lan:
        yield lan


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]
async def peers(virtual_lan: VirtualLan) -> tuple[VirtualPeer, ...]:
    """Five running peers (anna, ben, carl, dora, emil) that see each other's games."""
    return await start_party(virtual_lan)
