"""For every test on hosts in network namespaces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.support import ending_what_starts


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """What a test starts on a host ends with it; what its module's fixtures started goes on."""
    with ending_what_starts():
        yield
