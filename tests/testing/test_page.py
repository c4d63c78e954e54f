"""docs/testing.md: its complete example runs as it stands, and what it names exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import lanspread.testing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/testing.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """The code block that follows the mention of a file."""
    found = re.search(rf"`{re.escape(name)}`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("conftest.py", "pytest.ini", "test_front_end.py"):
        (pytester.path / name).write_text(example(name), encoding="utf-8")
    result = pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("name", re.findall(r"`(?:lan|peer|peer\.host)\.(\w+)\(", PAGE))
def test_what_it_names_exists(name: str) -> None:
    public = lanspread.testing
    kinds = (public.VirtualLan, public.VirtualPeer, public.VirtualHost)
    assert any(hasattr(kind, name) for kind in kinds)
