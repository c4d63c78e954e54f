"""Twenty whole peers, a full mesh, some virtual minutes with changes: what the LAN must carry.

The bound for ten minutes, which the long version has, is 30 seconds of an idle machine's processor
time: everything runs in one thread, so there it is the wall time. It needs about half of that. On a
machine that is slower now, and with it a fixed amount of work, it may take longer by the same
factor.
"""

from __future__ import annotations

import time

import trio
from trio.testing import MockClock

from lanspread.testing import Datagram, VirtualLan, start_party, until
from tests.conftest import SOAK
from tests.machine import slowness

PEERS = 20
MINUTES = 10 if SOAK else 4
BOUND_S = 12.0 + 1.8 * MINUTES


async def test_twenty_peers_for_some_minutes(
    autojump_clock: MockClock, virtual_lan: VirtualLan
) -> None:
    slow = [slowness(time.process_time)]
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
        slow.append(slowness(time.process_time))
        await trio.sleep(60)
        changed = peers[minute]
        changed.put_game(f"New {minute}", {"new.eti": 10_000})
        others = [peer for peer in peers if peer is not changed]
        await until(lambda: all(peer.offers(f"New {minute}") for peer in others), 10)  # noqa: B023
    assert (await peers[-1].fetch("New 0")).type == "download.finished"
    assert trio.current_time() > MINUTES * 60
    # Deterministic, and a watch on the cost: 190 pairs that ping every 15 s, a change a minute.
    assert 3_000 * MINUTES < sent < 9_000 * MINUTES
    assert time.process_time() - began < BOUND_S * max(slow)
