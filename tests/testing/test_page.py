"""docs/testing.md: its complete example runs as it stands, and what it names exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import lanspread.testing
from lanspread.seams import Folder

EXPORTED = lanspread.testing.__all__
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


def test_the_example_of_a_disk_that_breaks_runs() -> None:
    found = re.search(r"```python\n(def build\(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {
        "Folder": Folder,
        **{name: getattr(lanspread.testing, name) for name in EXPORTED},
    }
    exec(found[1], names)
    names["test_a_crash_at_every_step"]()
    exec(found[1].replace("file.sync()", "pass"), names)
    with pytest.raises(AssertionError) as caught:
        names["test_a_crash_at_every_step"]()
    told = re.search(r'"(before step 3 [^"]*)"', found[1])
    assert told is not None
    assert told[1] in caught.value.__notes__[-1]


@pytest.mark.parametrize("name", re.findall(r"`(?:lan|peer|peer\.host)\.(\w+)\(", PAGE))
def test_what_it_names_exists(name: str) -> None:
    public = lanspread.testing
    kinds = (public.VirtualLan, public.VirtualPeer, public.VirtualHost)
    assert any(hasattr(kind, name) for kind in kinds)
