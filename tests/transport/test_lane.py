"""Lanes over real sockets: what is sent arrives, and whatever ends one ends its thread."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from lanspread import limits
from lanspread.identity import dump_identity, new_identity
from lanspread.platform import RealEntropy, RealThreads
from lanspread.seams import Address
from lanspread.sync.fair import FairSlots
from lanspread.transport.framing import FrameReader, frame
from lanspread.transport.lane import Lane, LaneBroken, Wire, dialing_context, listening_context
from lanspread.transport.tcp import TcpNetwork, accept
from tests.machine import at_most
from tests.transport.tls_records import Records

IDENTITY = new_identity(RealEntropy())


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("identity")
    key, certificate = dump_identity(IDENTITY)
    (folder / "key").write_bytes(key)
    (folder / "certificate").write_bytes(certificate)
    return listening_context(str(folder / "certificate"), str(folder / "key"))


@asynccontextmanager
async def open_pair(
    context: ssl.SSLContext,
    key_log: Path | None = None,
    turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> AsyncIterator[tuple[Lane, Lane]]:
    """(dialing, listening), greeted."""
    dialing = dialing_context()
    if key_log is not None:
        dialing.keylog_filename = str(key_log)
    network, threads = TcpNetwork(), RealThreads()
    with closing(network.listen(Address("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        dialed = await network.connect(Address("127.0.0.1", port))
        taken, host = await accept(listener)
    assert host == "127.0.0.1"
    with (
        closing(Lane(dialed, dialing, threads, listening=False)) as one,
        closing(Lane(taken, context, threads, listening=True, turn=turn)) as other,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handshake)
            nursery.start_soon(other.handshake)
        yield one, other


def sender(data: bytes) -> Callable[[Wire], None]:
    return lambda wire: wire.send(data)


def receiver(buffer: bytearray) -> Callable[[Wire], None]:
    return lambda wire: wire.receive_into(memoryview(buffer))


async def test_messages_and_bulk_bytes_take_turns(context: ssl.SSLContext) -> None:
    data = os.urandom(3 * limits.MIB + 17)
    buffer = bytearray(len(data))
    async with open_pair(context) as (one, other):
        assert one.peer_public_key() == IDENTITY.public_key
        reader = FrameReader(other)
        for _ in range(3):
            await one.send_all(frame(b"question"))
            assert await reader.frame() == b"question"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.run, sender(frame(b"answer") + data))
                assert await FrameReader(one).frame() == b"answer"
                await one.run(receiver(buffer))
            assert buffer == data


async def test_what_the_thread_raises_leaves_the_lane_whole(context: ssl.SSLContext) -> None:
    def fail(wire: Wire) -> None:
        raise KeyError("a file changed")

    async with open_pair(context) as (one, other):
        with pytest.raises(KeyError):
            await other.run(fail)
        await other.send_all(b"sorry")
        assert await one.receive_exactly(5) == b"sorry"


@pytest.mark.parametrize("side", ["receiving", "sending"])
async def test_cancelling_ends_the_thread_promptly(context: ssl.SSLContext, side: str) -> None:
    """Within 100 ms, wherever it blocks; no thread is left in the socket or the buffer."""
    ended = threading.Event()
    buffer = bytearray(limits.MIB)

    def send_for_ever(wire: Wire) -> None:
        try:
            while True:
                wire.send(bytes(limits.MIB))
        finally:
            ended.set()

    async with open_pair(context) as (one, other):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                if side == "receiving":
                    nursery.start_soon(one.run, receiver(buffer))
                else:
                    nursery.start_soon(other.run, send_for_ever)
                # Until the thread sits in a system call that nothing will end.
                await trio.sleep(0.3)
                before = trio.current_time()
                scope.cancel()
        assert trio.current_time() - before < at_most(0.1)
        assert side == "receiving" or ended.is_set()
        with pytest.raises(LaneBroken):
            await (one if side == "receiving" else other).send_all(b"more")


async def test_cancelling_a_message_breaks_the_lane(context: ssl.SSLContext) -> None:
    async with open_pair(context) as (one, other):
        with trio.move_on_after(0.05):
            await one.receive_exactly(1)
        with pytest.raises(LaneBroken):
            await one.send_all(b"x")
        with pytest.raises(LaneBroken):
            await other.receive_exactly(1)


async def test_key_updates_hold_no_event_loop_up_and_end_the_lane(
    context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The TLS layer reads them as long as they come, and returns nothing."""
    monkeypatch.setattr(limits, "LANE_READ_S", 0.5)
    async with open_pair(context, tmp_path / "keys") as (one, other):
        records = Records(tmp_path / "keys")
        flood = b"".join(records.key_update() for _ in range(3_000))
        turns = 0

        async def send() -> None:
            await trio.to_thread.run_sync(socket.socket.sendall, one._tls, flood)

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await trio.sleep(0.01)
                turns += other._busy

        async with trio.open_nursery() as nursery:
            socket.socket.setblocking(one._tls, True)
            nursery.start_soon(send)
            nursery.start_soon(take_turns)
            with trio.fail_after(at_most(10)), pytest.raises(LaneBroken, match="no bytes"):
                await other.receive_some(1)
            nursery.cancel_scope.cancel()
        assert turns


async def test_waiting_for_a_turn_is_no_silence_of_the_one_who_waits(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LANE_READ_S", 0.2)
    turns = FairSlots(1)
    async with open_pair(context, turn=partial(turns.take, "a host")) as (one, other):
        await one.send_all(b"here")
        async with trio.open_nursery() as nursery:

            async def keep_the_turn() -> None:
                async with turns.take("another"):
                    await trio.sleep(0.6)

            nursery.start_soon(keep_the_turn)
            await trio.testing.wait_all_tasks_blocked()
            assert await other.receive_exactly(4) == b"here"


async def test_cancelled_in_the_line_for_a_turn_the_lane_breaks(context: ssl.SSLContext) -> None:
    turns = FairSlots(1)
    async with open_pair(context, turn=partial(turns.take, "a host")) as (one, other):
        await one.send_all(b"here")
        async with turns.take("another"):
            with trio.move_on_after(0.1):
                await other.receive_exactly(4)
        assert not turns.held
        with pytest.raises(LaneBroken):
            await other.send_all(b"x")


async def test_a_key_update_before_a_message_does_no_harm(
    context: ssl.SSLContext, tmp_path: Path
) -> None:
    async with open_pair(context, tmp_path / "keys") as (one, other):
        records = Records(tmp_path / "keys")
        said = records.data(b"one") + records.key_update() + records.data(b"two")
        socket.socket.sendall(one._tls, said)
        assert await other.receive_exactly(6) == b"onetwo"


async def test_the_rest_of_a_record_is_had_without_a_thread_and_nothing_behind_it_is_touched(
    context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame is read in two parts, its length and itself: one way to a thread is enough."""
    async with open_pair(context, tmp_path / "keys") as (one, other):
        records = Records(tmp_path / "keys")
        said = records.data(b"onetwo") + b"".join(records.key_update() for _ in range(100))
        socket.socket.sendall(one._tls, said)
        assert await other.receive_exactly(3) == b"one"

        async def no_thread(*_: object, **__: object) -> None:
            raise AssertionError("a thread was used")

        monkeypatch.setattr(other._threads, "run", no_thread)
        assert await other.receive_some(1) == b"t"
        # More than there is: not the key updates that follow.
        assert await other.receive_some(100) == b"wo"


async def test_a_message_that_nobody_takes_ends_the_lane(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LANE_SILENCE_S", 0.2)
    async with open_pair(context) as (_, other):
        with trio.fail_after(at_most(10)), pytest.raises(LaneBroken, match="does not take"):
            await other.send_all(bytes(64 * limits.MIB))


@pytest.mark.parametrize("cut", [False, True])
async def test_an_end_in_the_middle_is_no_short_answer(context: ssl.SSLContext, cut: bool) -> None:
    """Neither an orderly end nor a bare TCP one, which anybody on the way can forge."""
    async with open_pair(context) as (one, other):
        await other.send_all(b"half")
        if cut:
            socket.socket.shutdown(other._tls, socket.SHUT_WR)
        else:
            other.close()
        buffer = bytearray(8)
        with pytest.raises(LaneBroken):
            await one.run(receiver(buffer))


async def test_silence_ends_a_lane(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LANE_SILENCE_S", 0.2)
    async with open_pair(context) as (one, other):
        buffer = bytearray(8)
        async with trio.open_nursery() as nursery:

            async def trickle() -> None:
                # Slow is not silent.
                for _ in range(6):
                    await trio.sleep(0.1)
                    await other.send_all(b"x")

            async def look() -> None:
                while True:
                    await trio.sleep(0.05)
                    one.look()

            nursery.start_soon(trickle)
            nursery.start_soon(look)
            with pytest.raises(LaneBroken, match="nothing moved"):
                await one.run(receiver(buffer))
            nursery.cancel_scope.cancel()
        assert bytes(buffer).count(b"x") == 6


async def test_who_takes_little_by_little_is_not_silent(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends is woken only when a good part of the system's buffer is free again."""
    monkeypatch.setattr(limits, "LANE_SILENCE_S", 0.5)
    taken = bytearray()
    async with open_pair(context) as (one, other), trio.open_nursery() as nursery:

        async def look() -> None:
            while True:
                await trio.sleep(0.05)
                other.look()

        async def take() -> None:
            # Less in all that time than who sends waits for; seen every 110 KB.
            while len(taken) < 2 * limits.MIB:
                taken.extend(await one.receive_some(16 * 1_024))
                await trio.sleep(0.01)

        nursery.start_soon(look)
        nursery.start_soon(take)
        with pytest.raises(LaneBroken, match="nothing moved"):
            await other.run(sender(bytes(64 * limits.MIB)))
        # Only when nothing was taken any more.
        assert len(taken) >= 2 * limits.MIB
        nursery.cancel_scope.cancel()


async def test_the_socket_is_kept_until_no_thread_is_in_it(context: ssl.SSLContext) -> None:
    buffer = bytearray(8)
    async with open_pair(context) as (one, _):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(LaneBroken):
                    await one.run(receiver(buffer))

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            number = one._tls.fileno()
            one.close()
            assert one._tls.fileno() == number
        assert one._tls.fileno() == -1
        with pytest.raises(LaneBroken):
            await one.run(receiver(buffer))


async def test_older_tls_is_not_spoken(context: ssl.SSLContext) -> None:
    older = dialing_context()
    older.minimum_version = ssl.TLSVersion.TLSv1_2
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    network, threads = TcpNetwork(), RealThreads()
    with closing(network.listen(Address("127.0.0.1", 0))) as listener:
        dialed = await network.connect(Address("127.0.0.1", listener.getsockname()[1]))
        taken, _ = await accept(listener)
    with (
        closing(Lane(dialed, older, threads, listening=False)) as one,
        closing(Lane(taken, context, threads, listening=True)) as other,
    ):
        async with trio.open_nursery() as nursery:

            async def refused(lane: Lane) -> None:
                with pytest.raises(LaneBroken, match="TLS"):
                    await lane.handshake()
                lane.close()

            nursery.start_soon(refused, one)
            nursery.start_soon(refused, other)


async def test_neither_side_waits_for_an_acknowledgement_before_a_short_segment() -> None:
    network = TcpNetwork()
    with closing(network.listen(Address("127.0.0.1", 0))) as listener:
        dialed = await network.connect(Address("127.0.0.1", listener.getsockname()[1]))
        taken, _ = await accept(listener)
    with closing(dialed), closing(taken):
        for sock in (dialed, taken):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_port_where_nobody_listens() -> None:
    with closing(TcpNetwork().listen(Address("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
    with pytest.raises(OSError, match=r"refused|connect"):
        await TcpNetwork().connect(Address("127.0.0.1", port))


def test_a_context_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        listening_context(str(tmp_path / "certificate"), str(tmp_path / "key"))
