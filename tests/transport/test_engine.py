"""What we build on in aioquic, and what we add to it."""

from __future__ import annotations

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketRecovery

from lanspread.seams import Address
from lanspread.transport import EndpointOptions
from lanspread.transport.congestion import MAX_BURST_DATAGRAMS
from lanspread.transport.engine import (
    ACK_AT_ONCE_PACKETS,
    CreditedConnection,
    Engine,
    EngineChanged,
    check_engine,
)
from lanspread.transport.engines import EngineFactory
from tests.transport.memory import IDENTITY, A, B


def test_this_aioquic_has_all_that_we_build_on() -> None:
    check_engine.cache_clear()
    check_engine()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (QuicConnection, "_write_stream_limits"),
        (QuicConnection, "_write_connection_limits"),
        (QuicConnection, "_payload_received"),
        (QuicPacketRecovery, "congestion_window"),
    ],
)
def test_an_aioquic_that_lost_a_name_is_refused_by_name(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    check_engine.cache_clear()
    with pytest.raises(EngineChanged, match=name):
        check_engine()
    check_engine.cache_clear()


def test_our_overrides_replace_something() -> None:
    # A renamed method in aioquic would leave ours unused, and windows would follow reception.
    for name in (
        "_idle_timeout",
        "_parse_transport_parameters",
        "_payload_received",
        "_write_connection_limits",
        "_write_stream_limits",
    ):
        assert name in vars(QuicConnection)
        assert name in vars(CreditedConnection)


def test_a_burst_is_what_the_rate_allows_in_a_tick_or_half_a_window() -> None:
    engine = EngineFactory(IDENTITY, EndpointOptions()).dial(B, 0.0)
    pacer = engine._quic._loss._pacer

    def burst(window: int, rtt: float) -> int:
        pacer.update_rate(window, rtt)
        assert pacer.packet_time is not None
        pacer.bucket_time = pacer.bucket_max
        return round(pacer.bucket_max / pacer.packet_time)

    # A fast, near path: more than aioquic's 16, but bounded.
    assert burst(10_000_000, 0.001) == MAX_BURST_DATAGRAMS
    # A slow one: half a window, less than aioquic's 16.
    assert burst(20_000, 0.1) <= 16
    # Of many connections of a busy sender none may send more at once for its wider window.
    assert burst(200_000, 0.03) == burst(800_000, 0.03) == MAX_BURST_DATAGRAMS
    assert burst(40_000, 0.03) == round(20_000 / 1_200)


def connected() -> tuple[Engine, Engine]:
    """A dialer and a listener whose handshake is done, and that have nothing more to say at 1 s."""
    factory = EngineFactory(IDENTITY, EndpointOptions(payload_bytes=1_200))
    dialer = factory.dial(B, 0.0)
    first = dialer.datagrams_to_send(0.0)
    # Of a long header: the type, four bytes of version, the length of the connection id, the id.
    cid = first[0][0][6 : 6 + first[0][0][5]]
    listener = factory.answer(cid, None)
    listener.receive([(data, A) for data, _ in first], 0.0)
    for now in (0.01, 0.02, 0.5, 0.9, 1.0):
        for one, source, other in ((listener, B, dialer), (dialer, A, listener)):
            other.receive([(data, source) for data, _ in one.datagrams_to_send(now)], now)
    dialer.take_events()
    listener.take_events()
    return dialer, listener


def acknowledgements_of(count: int) -> tuple[bool, float | None]:
    """Whether a batch of so many packets is acknowledged at once, at 2 s; else when it will be."""
    dialer, listener = connected()
    dialer.send(dialer.open_stream(), bytes(100_000))
    packets: list[tuple[bytes, Address]] = []
    now = 1.0
    while len(packets) < count:
        # Those that come beforehand open the window, and are acknowledged by the timer.
        now += 0.01
        packets += [(data, A) for data, _ in dialer.datagrams_to_send(now)]
        if len(packets) < count:
            listener.receive(packets[: ACK_AT_ONCE_PACKETS - 1], now)
            packets = packets[ACK_AT_ONCE_PACKETS - 1 :]
            acknowledgement = [(data, B) for data, _ in listener.datagrams_to_send(now + 0.002)]
            dialer.receive(acknowledgement, now + 0.002)
    listener.receive(packets[:count], 2.0)
    return bool(listener.datagrams_to_send(2.0)), listener.get_timer()


def test_a_burst_is_acknowledged_with_it_and_less_a_moment_later() -> None:
    at_once, _ = acknowledgements_of(ACK_AT_ONCE_PACKETS)
    assert at_once
    at_once, timer = acknowledgements_of(ACK_AT_ONCE_PACKETS - 1)
    assert not at_once
    assert timer == pytest.approx(2.001)
