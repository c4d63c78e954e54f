"""How large packets get, and that they become small again where large ones vanish."""

from __future__ import annotations

import itertools
from typing import Literal

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from lanspread import limits
from lanspread.seams import Address
from lanspread.transport import EndpointOptions
from lanspread.transport.path_mtu import (
    FIRST_PAUSE_S,
    MAX_PAUSE_S,
    MAX_PROBES,
    SMALLEST_PAYLOAD_BYTES,
    TUNNEL_PAYLOAD_BYTES,
    PathMtu,
)
from tests.transport.memory import MemoryNetwork, Pair, open_pair

JUMBO = 8_972
ETHERNET = limits.QUIC_PAYLOAD_BYTES


def search(path: PathMtu, carries: int, now: float = 0.0) -> list[int]:
    """Let every probe find out; return the sizes that were tried."""
    tried = []
    while (size := path.next_probe(now)) is not None:
        tried.append(size)
        assert path.next_probe(now) is None
        if size <= carries:
            path.probe_acked(size)
        else:
            path.probe_lost(size, now)
    return tried


# -- the decisions ---------------------------------------------------------------------------------


def test_nothing_is_tried_before_the_path_is_known() -> None:
    path = PathMtu(JUMBO)
    assert path.size == SMALLEST_PAYLOAD_BYTES
    assert path.next_probe(0.0) is None


@pytest.mark.parametrize(
    ("kernel", "ipv6", "expected"),
    [
        (JUMBO, False, JUMBO),
        (65_507, False, limits.QUIC_MAX_PAYLOAD_BYTES),
        (ETHERNET, False, ETHERNET),
        (1_392, False, 1_392),
        (900, False, SMALLEST_PAYLOAD_BYTES),
        (None, False, ETHERNET),
        (None, True, ETHERNET - 20),
    ],
)
def test_what_the_kernel_says_is_tried_first(kernel: int | None, ipv6: bool, expected: int) -> None:
    path = PathMtu(limits.QUIC_MAX_PAYLOAD_BYTES)
    path.path_is(kernel, ipv6=ipv6)
    assert len(search(path, carries=1 << 16)) == (0 if expected == SMALLEST_PAYLOAD_BYTES else 1)
    assert path.size == expected


def test_the_peers_limit_and_ours_hold() -> None:
    path = PathMtu(5_000)
    path.path_is(JUMBO, ipv6=False)
    assert search(path, carries=JUMBO) == [5_000]
    path.peer_takes(1_300)
    assert path.size == 1_300
    assert search(path, carries=JUMBO) == []


def test_a_size_that_does_not_pass_is_tried_three_times_and_then_a_smaller_one() -> None:
    path = PathMtu(JUMBO)
    path.path_is(JUMBO, ipv6=False)
    assert search(path, carries=1_480) == [JUMBO] * MAX_PROBES + [ETHERNET]
    assert path.size == ETHERNET
    # It is tried again later, and ever more seldom.
    now, pauses = 0.0, []
    for _ in range(9):
        before = now
        while not (tried := search(path, carries=1_480, now=now)):
            now += 1.0
        assert tried == [JUMBO] * MAX_PROBES
        pauses.append(now - before)
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == MAX_PAUSE_S


def test_what_vanishes_is_left_alone_for_a_while() -> None:
    path = PathMtu(JUMBO)
    path.path_is(JUMBO, ipv6=False)
    search(path, carries=JUMBO)
    path.vanished(100.0)
    assert path.size == SMALLEST_PAYLOAD_BYTES
    assert search(path, 1_400, 100.0) == [ETHERNET] * MAX_PROBES + [TUNNEL_PAYLOAD_BYTES]
    assert path.size == TUNNEL_PAYLOAD_BYTES
    assert search(path, JUMBO, 100.0 + MAX_PAUSE_S) == [JUMBO]


def test_another_path_begins_at_the_beginning() -> None:
    path = PathMtu(JUMBO)
    path.path_is(JUMBO, ipv6=False)
    search(path, carries=JUMBO)
    path.moved()
    assert path.size == SMALLEST_PAYLOAD_BYTES
    assert path.next_probe(0.0) == JUMBO
    # The kernel has learned better while the probe was under way.
    path.path_is(ETHERNET, ipv6=False)
    assert not path.probe_acked(JUMBO)
    assert path.size == SMALLEST_PAYLOAD_BYTES


Step = tuple[Literal["path", "peer", "carries", "vanish", "moved", "wait"], int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["path", "peer", "carries", "vanish", "moved", "wait"]),
        st.integers(1_200, 17_000),
    ),
    max_size=30,
)


@given(steps=steps, cap=st.integers(1_200, 16_000))
def test_the_size_is_always_one_that_was_allowed_and_has_passed(
    steps: list[Step], cap: int
) -> None:
    path = PathMtu(cap)
    now, carries, peer, kernel = 0.0, 1_200, 1 << 16, 1_200
    for kind, value in steps:
        match kind:
            case "path":
                kernel = value
                path.path_is(value, ipv6=False)
            case "peer":
                peer = min(peer, value)
                path.peer_takes(peer)
            case "carries":
                # A path that became narrower shows as packets that vanish.
                carries = value
                if path.size > carries:
                    path.vanished(now)
            case "vanish":
                path.vanished(now)
            case "moved":
                path.moved()
            case "wait":
                now += value
        tried = search(path, carries, now)
        assert len(tried) <= 3 * MAX_PROBES
        assert SMALLEST_PAYLOAD_BYTES <= path.size <= max(1_200, min(cap, peer, kernel, carries))


# -- over a network --------------------------------------------------------------------------------


@attrs.define
class Narrow:
    """Datagrams above `carries` vanish; the largest that passed is kept."""

    carries: int
    largest: int = 0
    vanished: int = 0

    def __call__(self, data: bytes, source: Address, target: Address) -> bool:
        if len(data) > self.carries:
            self.vanished += 1
            return True
        self.largest = max(self.largest, len(data))
        return False


async def transfer(pair: Pair, size: int) -> float:
    """Send so many bytes from the dialer to the listener; how long it took."""
    before = trio.current_time()
    near = await pair.client.open_stream()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await near.send_all(bytes(size))
            await near.send_eof()

        nursery.start_soon(send)
        far = await pair.server.accept_stream()
        received = 0
        while data := await far.receive_some():
            received += len(data)
    assert received == size
    await near.aclose()
    await far.aclose()
    return trio.current_time() - before


@pytest.mark.parametrize(
    ("kernel", "carries", "expected"),
    [
        (JUMBO, JUMBO, JUMBO),
        (65_507, 65_507, limits.QUIC_MAX_PAYLOAD_BYTES),
        (JUMBO, ETHERNET, ETHERNET),
        (None, ETHERNET, ETHERNET),
        (ETHERNET, 1_400, TUNNEL_PAYLOAD_BYTES),
        (ETHERNET, SMALLEST_PAYLOAD_BYTES, SMALLEST_PAYLOAD_BYTES),
    ],
)
async def test_packets_grow_to_what_the_path_carries(
    autojump_clock: MockClock, kernel: int | None, carries: int, expected: int
) -> None:
    narrow = Narrow(carries)
    async with open_pair(MemoryNetwork(lose=narrow, path_payload=kernel)) as pair:
        seconds = await transfer(pair, 2_000_000)
        assert pair.client.statistics().payload_bytes == expected
        assert narrow.largest == expected
        # Only probes were lost, and no data waited for them.
        assert narrow.vanished <= 4 * MAX_PROBES
        assert seconds < 1


async def test_an_option_bounds_the_packets(autojump_clock: MockClock) -> None:
    narrow = Narrow(65_507)
    options = EndpointOptions(payload_bytes=ETHERNET)
    network = MemoryNetwork(lose=narrow, path_payload=65_507)
    async with open_pair(network, options=options) as pair:
        await transfer(pair, 100_000)
        assert narrow.largest == ETHERNET


async def test_a_lost_probe_is_no_congestion(autojump_clock: MockClock) -> None:
    # Nothing else is under way: its loss is found by the timer, and repeated at once.
    narrow = Narrow(SMALLEST_PAYLOAD_BYTES)
    async with open_pair(MemoryNetwork(lose=narrow, path_payload=JUMBO)) as pair:
        await trio.sleep(4)
        statistics = pair.client.statistics()
        assert narrow.vanished >= 2 * 3 * MAX_PROBES
        assert statistics.congestion_window_bytes >= 10 * SMALLEST_PAYLOAD_BYTES
        assert statistics.in_flight_bytes == 0
        assert statistics.payload_bytes == SMALLEST_PAYLOAD_BYTES


async def test_a_path_that_begins_to_swallow_large_packets(autojump_clock: MockClock) -> None:
    narrow = Narrow(JUMBO)
    async with open_pair(MemoryNetwork(lose=narrow, path_payload=JUMBO)) as pair:
        await transfer(pair, 1_000_000)
        assert pair.client.statistics().payload_bytes == JUMBO
        narrow.carries = ETHERNET
        assert await transfer(pair, 1_000_000) < 1
        assert pair.client.statistics().payload_bytes == ETHERNET
        assert pair.client.closed is None
        # The way is wide again: that is found out, too.
        narrow.carries = JUMBO
        await trio.sleep(2 * FIRST_PAUSE_S)
        await transfer(pair, 10_000)
        await trio.sleep(1)
        await transfer(pair, 1_000_000)
        assert pair.client.statistics().payload_bytes == JUMBO


async def test_small_packets_that_pass_do_not_hide_that_large_ones_vanish(
    autojump_clock: MockClock,
) -> None:
    # Their acknowledgements keep the probe timer from ever showing it.
    narrow = Narrow(JUMBO)
    async with (
        open_pair(MemoryNetwork(lose=narrow, path_payload=JUMBO)) as pair,
        trio.open_nursery() as nursery,
    ):
        await transfer(pair, 1_000_000)
        large, small = await pair.client.open_stream(), await pair.client.open_stream()
        await small.send_all(b"0")

        async def tick() -> None:
            while True:
                await small.send_all(b"1")
                await trio.sleep(0.005)

        nursery.start_soon(tick)
        await trio.sleep(1)
        narrow.carries = ETHERNET
        await large.send_all(bytes(5_000))
        far = await pair.server.accept_stream()
        received = 0
        with trio.fail_after(1):
            while received < 5_000:
                received += len(await far.receive_some())
        nursery.cancel_scope.cancel()


async def test_random_loss_is_no_black_hole(autojump_clock: MockClock) -> None:
    every = itertools.count(1)
    lost = MemoryNetwork(lose=lambda *_: next(every) % 25 == 0, path_payload=JUMBO)
    async with open_pair(lost) as pair:
        await transfer(pair, 5_000_000)
        assert pair.client.statistics().payload_bytes == JUMBO


async def test_the_kernel_learns_of_a_narrower_path(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(path_payload=JUMBO)
    async with open_pair(network) as pair:
        await transfer(pair, 100_000)
        assert pair.client.statistics().payload_bytes == JUMBO
        network.path_payload = 1_400
        await trio.sleep(limits.PATH_CHECK_S)
        await transfer(pair, 100_000)
        assert pair.client.statistics().payload_bytes == 1_400


def move_dialer(network: MemoryNetwork) -> Address:
    """The dialer of a pair gets another address, which is returned."""
    moved = Address("10.0.0.9", 9)
    (old,) = [address for address, it in network.sockets.items() if it.address.port == 1_000]
    socket = network.sockets.pop(old)
    socket.address = moved
    network.sockets[moved] = socket
    return moved


async def test_a_peer_that_moved_begins_small(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(path_payload=JUMBO)
    async with open_pair(network) as pair:
        await transfer(pair, 100_000)
        assert pair.client.statistics().payload_bytes == JUMBO
        moved = move_dialer(network)
        narrow = network.lose = Narrow(1_400)
        await transfer(pair, 100_000)
        assert pair.server.remote_address == moved
        assert narrow.largest <= 1_400
        near = await pair.server.open_stream()
        await near.send_all(bytes(100_000))
        await trio.sleep(1)
        assert pair.server.statistics().payload_bytes == TUNNEL_PAYLOAD_BYTES


async def test_a_peer_that_moved_is_heard_of_though_its_first_answer_is_lost(
    autojump_clock: MockClock,
) -> None:
    # The answer to the question whether it is there fills a packet, which a path may swallow; the
    # small one which says that the question arrived passes.
    network = MemoryNetwork()
    async with open_pair(network) as pair:
        near = await pair.client.open_stream()
        await near.send_all(b"0")
        far = await pair.server.accept_stream()
        assert await far.receive_some() == b"0"
        await trio.sleep(1)
        moved = move_dialer(network)
        narrow = network.lose = Narrow(1_000)
        await near.send_all(b"1")
        await trio.sleep(0.01)
        assert narrow.vanished > 0
        narrow.carries = ETHERNET
        await far.send_all(b"2")
        assert await near.receive_some() == b"2"
        # The time after which an address that never answered is given up passes.
        await trio.sleep(5)
        assert pair.server.remote_address == moved
        await far.send_all(b"3")
        with trio.fail_after(1):
            assert await near.receive_some() == b"3"
