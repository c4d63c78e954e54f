"""The memory of a download is used again, and can be given back."""

from __future__ import annotations

from lanspread.transfer.buffers import Buffers


def test_a_buffer_is_used_again() -> None:
    buffers = Buffers(total_bytes=1_000, each_bytes=100)
    assert buffers.most == 10
    with buffers.take(100) as first:
        first[:4] = b"mark"
        with buffers.take(50) as second:
            assert len(second) == 50
            assert bytes(second[:4]) != b"mark"
    with buffers.take(4) as again:
        assert bytes(again) == b"mark"


def test_what_is_given_back_is_what_nobody_uses() -> None:
    buffers = Buffers(total_bytes=1_000, each_bytes=100)
    with buffers.take(100) as used:
        used[:4] = b"used"
        with buffers.take(100) as free:
            free[:4] = b"free"
        buffers.close()
        assert bytes(used[:4]) == b"used"
        with buffers.take(4) as fresh:
            assert bytes(fresh) == bytes(4)
    buffers.close()


def test_a_view_that_somebody_kept_is_no_error() -> None:
    buffers = Buffers(total_bytes=1_000, each_bytes=100)
    with buffers.take(100) as view:
        kept = view[:4]
        kept[:] = b"kept"
    buffers.close()
    assert bytes(kept) == b"kept"
