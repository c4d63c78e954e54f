"""How long work in a thread tells how far it is, and how it is asked to stop."""

from __future__ import annotations

from typing import Final, Protocol


class Watch(Protocol):
    """What long work reports to. Called from the thread that does the work."""

    def expect(self, total_bytes: int) -> None:
        """How much `advance` will add up to, about. Told once, before anything is changed."""

    def step(self) -> None:
        """Called often, between two changes. Raises `Stopped` if the work is not to go on."""

    def advance(self, size_bytes: int) -> None:
        """So much more is done."""


class Unwatched:
    """Nobody asks, nobody stops it."""

    def expect(self, total_bytes: int) -> None: ...

    def step(self) -> None: ...

    def advance(self, size_bytes: int) -> None: ...


UNWATCHED: Final = Unwatched()


class StopOnly:
    """For what belongs to the work and not to its progress: only asks whether to stop."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def expect(self, total_bytes: int) -> None: ...

    def step(self) -> None:
        self._watch.step()

    def advance(self, size_bytes: int) -> None: ...
