"""The pytest plugin, in a pytest of its own: fixtures, the seed's option, what a failure says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HEAD = """
import trio
from lanspread.testing import open_virtual_lan
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A front-end's project: it asks for the plugin, and pytest-trio does the rest."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\ntrio_mode = true\n")
    pytester.makeconftest('pytest_plugins = ["lanspread.testing.plugin"]')
    return pytester


def run(project: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    path = project.makepyfile(test_it=HEAD + code)
    # A process of its own: this one's plugin, scheduler and options are not touched.
    return project.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, path)


FAILING = """
async def test_it(autojump_clock, virtual_lan):
    host = virtual_lan.add_host("a")
    assert host.entropy.token_bytes(4).hex() == ""
"""


def test_a_failure_names_its_seed_and_the_command_repeats_it(project: pytest.Pytester) -> None:
    first = run(project, FAILING, "--lan-seed", "random")
    first.assert_outcomes(failed=1)
    found = re.search(
        r"seed (\d+); to repeat: python -m pytest (\S+) --lan-seed (\d+)", first.stdout.str()
    )
    assert found is not None
    assert found[1] == found[3]
    assert found[2].endswith("test_it.py::test_it")
    again = run(project, FAILING, "--lan-seed", found[1])
    again.assert_outcomes(failed=1)
    said = [re.findall(r"assert '(\w{8})' == ''", r.stdout.str()) for r in (first, again)]
    assert said[0] == said[1] != []
    other = run(project, FAILING, "--lan-seed", str(int(found[1]) + 1))
    assert re.findall(r"assert '(\w{8})' == ''", other.stdout.str()) != said[0]


def test_seeds_that_a_test_chose_itself_are_told_and_a_forgotten_clock_is_explained(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        "async def test_clock(virtual_lan): pass\n"
        "async def test_seeds(autojump_clock):\n"
        "    for seed in (77, 78):\n"
        "        async with open_virtual_lan(seed=seed):\n"
        "            assert seed == 77\n",
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*takes `autojump_clock` as an argument of its own*"])
    result.stdout.fnmatch_lines(["*virtual LAN*", "*seeds of the test's own*: 77, 78*"])


def test_success_says_nothing_the_seed_is_a_fixed_one_and_five_peers_see_each_other(
    project: pytest.Pytester,
) -> None:
    result = run(
        project,
        "async def test_seed(autojump_clock, virtual_lan, lan_seed):\n"
        "    assert virtual_lan.seed == lan_seed == 1\n"
        "async def test_peers(autojump_clock, peers):\n"
        "    assert [p.name for p in peers] == ['anna', 'ben', 'carl', 'dora', 'emil']\n"
        "    assert all(len(p.connected()) == 4 for p in peers)\n"
        "    assert all(len(p.peer.games()) == 5 for p in peers)\n",
    )
    result.assert_outcomes(passed=2)
    assert "to repeat" not in result.stdout.str()


def test_a_seed_that_is_none_is_a_usage_error(project: pytest.Pytester) -> None:
    result = run(project, "def test_it(): pass\n", "--lan-seed", "seven")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--lan-seed: 'seven' is no number*"])
