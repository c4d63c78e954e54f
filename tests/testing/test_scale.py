"""Twenty whole peers, a full mesh, ten virtual minutes with changes: what the LAN must carry.

The bound is 30 seconds, and it is on the processor time of this process: everything runs in one
thread, so on an idle machine that is the wall time, and on a shared one it does not fail because of
others. It needs about 15 seconds.
"""

from __future__ import annotations

import time

import trio
from trio.testing import MockClock

from lanspread.testing import Datagram, VirtualLan, start_party, until

PEERS = 20
MINUTES = 10
BOUND_S = 30.0


async def test_twenty_peers_for_ten_minutes(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    began = time.process_time()
    sent = 0

    def count(datagram: Datagram) -> None:
        nonlocal sent
        sent += 1

    virtual_lan.on_datagram = count
    libraries = {
        f"p{number}": {
            f"Own {number}": {"own.eti": 20_000},
            f"Small {number}": {"small.eti": 5_000},
            "Shared": {"shared.eti": 30_000},
        }
        for number in range(PEERS)
    }
    peers = await start_party(virtual_lan, libraries)
    for minute in range(MINUTES):
        await trio.sleep(60)
        changed = peers[minute]
        changed.put_game(f"New {minute}", {"new.eti": 10_000})
        others = [peer for peer in peers if peer is not changed]
        await until(lambda: all(peer.offers(f"New {minute}") for peer in others), 10)  # noqa: B023
    assert (await peers[-1].fetch("New 0")).type == "download.finished"
    assert trio.current_time() > MINUTES * 60
    # Deterministic, and a watch on the cost: 190 pairs that ping every 15 s, and ten changes.
    assert 30_000 < sent < 90_000
    assert time.process_time() - began < BOUND_S
