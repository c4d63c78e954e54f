"""The threads that read messages on lanes: no host keeps them from the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from lanspread import limits
from tests.protocol.lanes import brought_lane, lane_port, shake_hands
from tests.protocol.test_independent import FILES
from tests.protocol.test_lanes import PATHS, serving_ours

# The head of a TLS record of 80 bytes, of which nothing follows: OpenSSL waits for it.
HALF_A_RECORD = b"\x17\x03\x03\x00\x50"


async def test_a_host_that_stops_in_messages_keeps_no_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_LANES_READING", 2)
    monkeypatch.setattr(limits, "LANE_READ_S", 60.0)
    async with (
        serving_ours(tmp_path) as (session, game),
        brought_lane(session) as one,
        brought_lane(session) as another,
    ):
        for lane in (one, another):
            await lane.tls.transport_stream.send_all(HALF_A_RECORD)
        await trio.sleep(0.3)
        ticket = await session.ask("GetBulkTicket").answer("BulkTicket")
        stream = await trio.open_tcp_stream(
            "127.0.0.1", lane_port(session), local_address="127.0.0.2"
        )
        await stream.send_all(ticket["id"])
        with trio.fail_after(20):
            elsewhere, _ = await shake_hands(stream)
            await elsewhere.tls.send_all(ticket["secret"])
            asked = [[0, 0, len(FILES[PATHS[0]])]]
            assert await elsewhere.chunk("Quake", game["manifest_hash"], asked) == FILES[PATHS[0]]
        await trio.aclose_forcefully(elsewhere.tls)
