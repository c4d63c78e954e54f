"""What is closed when its block is left."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Closing:
    """`with x:` closes `x`; whatever went wrong goes on."""

    def close(self) -> None:
        """Let go of what is held. A second call does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
