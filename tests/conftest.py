"""What all tests share: how long the long versions are."""

from __future__ import annotations

import os

import hypothesis
import pytest

SOAK = os.environ.get("LANSPREAD_SOAK") == "1"

# No deadline: the machine that runs the tests is shared, and a slow example is not a wrong one.
hypothesis.settings.register_profile("short", max_examples=100, deadline=None)
hypothesis.settings.register_profile("soak", max_examples=5_000, deadline=None)
hypothesis.settings.load_profile("soak" if SOAK else "short")


@pytest.fixture
def soak() -> bool:
    """Whether this run is the long one (`make soak`)."""
    return SOAK
