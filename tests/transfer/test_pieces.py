"""Pieces follow the rate, within bounds, and never overshoot what is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.transfer.bulk.pieces import PieceSize


@given(st.lists(st.tuples(st.integers(1, limits.MAX_CHUNK_BYTES), st.floats(0, 1_000))))
def test_a_piece_is_of_a_sensible_size(history: list[tuple[int, float]]) -> None:
    pieces = PieceSize()
    for size, seconds in history:
        pieces.took(size, seconds)
        assert 64 * limits.KIB <= pieces.of(1 << 40) <= limits.MAX_CHUNK_BYTES
        assert pieces.of(17) == 17


@given(st.floats(1e6, 5e8))
def test_a_piece_soon_takes_a_tenth_of_a_second(rate: float) -> None:
    pieces = PieceSize()
    for _ in range(12):
        size = pieces.of(1 << 40)
        pieces.took(size, size / rate)
    wanted = max(64 * limits.KIB, min(limits.MAX_CHUNK_BYTES, rate / 10))
    assert abs(pieces.of(1 << 40) - wanted) <= 0.01 * wanted
