"""What we build on in aioquic, and what we add to it."""

from __future__ import annotations

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketRecovery

from lanspread.transport import EndpointOptions
from lanspread.transport.congestion import MAX_BURST_DATAGRAMS
from lanspread.transport.engine import CreditedConnection, EngineChanged, check_engine
from lanspread.transport.engines import EngineFactory
from tests.transport.memory import IDENTITY, B


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


def test_a_burst_is_what_the_rate_allows_in_a_tick() -> None:
    engine = EngineFactory(IDENTITY, EndpointOptions()).dial(B, 0.0)
    pacer = engine._quic._loss._pacer

    def burst(window: int, rtt: float) -> int:
        pacer.update_rate(window, rtt)
        assert pacer.packet_time is not None
        pacer.bucket_time = pacer.bucket_max
        return round(pacer.bucket_max / pacer.packet_time)

    # A fast, near path: more than aioquic's 16, but bounded.
    assert burst(10_000_000, 0.001) == MAX_BURST_DATAGRAMS
    # A slow one: as aioquic has it.
    assert burst(20_000, 0.1) <= 16
