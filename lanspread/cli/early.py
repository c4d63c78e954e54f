"""Signals to `run` while it still loads: remembered, so that the end is clean at any moment."""

from __future__ import annotations

import os
import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_seen = False


def install() -> None:
    """From now on the first SIGINT or SIGTERM is remembered and the second ends the process."""
    for number in SIGNALS:
        signal.signal(number, _remember)


def seen() -> bool:
    """Whether the end was asked for already."""
    return _seen


def _remember(number: int, frame: FrameType | None) -> None:
    global _seen  # noqa: PLW0603  # a signal handler has no other place
    if _seen:
        os._exit(128 + number)
    _seen = True
