"""Frames: in whatever pieces they come, as long as they may be here, and not a byte further."""

from __future__ import annotations

import struct

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from lanspread import limits
from lanspread.transport.framing import FrameError, FrameReader, frame


@given(
    st.lists(st.binary(max_size=300), max_size=6),
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.binary(max_size=50),
)
def test_frames_come_out_as_they_went_in(
    payloads: list[bytes], pieces: list[int], raw: bytes
) -> None:
    async def play() -> None:
        end, stream = trio.testing.memory_stream_one_way_pair()
        data = b"".join(frame(payload) for payload in payloads) + raw

        async def send() -> None:
            at, turn = 0, 0
            while at < len(data):
                await end.send_all(data[at : at + pieces[turn % len(pieces)]])
                at += pieces[turn % len(pieces)]
                turn += 1
                await trio.testing.wait_all_tasks_blocked()
            await end.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            reader = FrameReader(stream)
            assert [await reader.frame() for _ in payloads] == payloads
            rest = b""
            while more := await reader.raw(7):
                assert len(more) <= 7
                rest += more
            assert rest == raw

    trio.run(play)


async def test_nothing_behind_a_frame_is_taken_off_the_stream() -> None:
    """What is not asked for stays where it is counted."""
    end, stream = trio.testing.memory_stream_one_way_pair()
    await end.send_all(frame(b"one") + frame(b"two") + b"raw bytes")
    reader = FrameReader(stream)
    assert await reader.frame() == b"one"
    assert await stream.receive_some() == frame(b"two") + b"raw bytes"


@pytest.mark.parametrize("most", [limits.MAX_REQUEST_BYTES, limits.MAX_MESSAGE_BYTES])
async def test_a_frame_may_be_as_long_as_its_use_allows(most: int) -> None:
    end, stream = trio.testing.memory_stream_one_way_pair()
    await end.send_all(frame(bytes(most)) + struct.pack(">I", most + 1))
    reader = FrameReader(stream, max_frame_bytes=most)
    assert await reader.frame() == bytes(most)
    # The length is enough to know: nothing of the frame is waited for.
    with trio.fail_after(1), pytest.raises(FrameError, match="longer than allowed"):
        await reader.frame()


async def test_what_is_allowed_may_change_between_frames() -> None:
    end, stream = trio.testing.memory_stream_one_way_pair()
    await end.send_all(frame(b"Hello") + frame(bytes(1_000)))
    reader = FrameReader(stream, max_frame_bytes=10)
    assert await reader.frame() == b"Hello"
    reader.max_frame_bytes = 1_000
    assert await reader.frame() == bytes(1_000)


async def test_a_cancelled_read_loses_nothing() -> None:
    end, stream = trio.testing.memory_stream_one_way_pair()
    data = frame(b"in pieces")
    reader = FrameReader(stream)
    for at in range(len(data)):
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + 0.001
            assert await reader.frame() is None, "the frame is not complete yet"
        assert scope.cancelled_caught
        await end.send_all(data[at : at + 1])
    assert await reader.frame() == b"in pieces"


@pytest.mark.parametrize("cut", range(1, 8))
async def test_an_end_inside_a_frame_is_an_error(cut: int) -> None:
    end, stream = trio.testing.memory_stream_one_way_pair()
    await end.send_all(frame(b"four")[:cut])
    await end.aclose()
    with pytest.raises(FrameError, match="ended inside a frame"):
        await FrameReader(stream).frame()


async def test_a_clean_end_is_none() -> None:
    end, stream = trio.testing.memory_stream_one_way_pair()
    await end.aclose()
    assert await FrameReader(stream).frame() is None


def test_our_own_frames_are_bounded() -> None:
    assert len(frame(bytes(limits.MAX_MESSAGE_BYTES))) == limits.MAX_MESSAGE_BYTES + 4
    with pytest.raises(FrameError):
        frame(bytes(limits.MAX_MESSAGE_BYTES + 1))
