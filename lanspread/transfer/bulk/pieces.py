"""How much of a chunk moves between two looks at the limits. Pure."""

from __future__ import annotations

from typing import Final

from lanspread import limits

# A limit on the rate, and the progress that people see, are this coarse.
_PIECE_S: Final = 0.1
_LEAST: Final = 64 * limits.KIB


class PieceSize:
    """Pieces so large that one takes about a tenth of a second at the rate of the last one.

    The first ones are small: nobody knows yet how slowly they come.
    """

    def __init__(self) -> None:
        self._bytes = _LEAST

    def of(self, left: int) -> int:
        """The next piece of `left` bytes."""
        return min(left, self._bytes)

    def took(self, size: int, seconds: float) -> None:
        """The last piece, with all waiting for limits."""
        most = min(2 * self._bytes, limits.MAX_CHUNK_BYTES)
        # A single measurement may lie: at most twice what it was.
        fitting = most if seconds <= 0 else min(most, size * _PIECE_S / seconds)
        self._bytes = max(_LEAST, int(fitting))
