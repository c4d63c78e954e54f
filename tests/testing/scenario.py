"""A run with everything that could differ between runs, and its trace. `main` prints it.

Run in processes of their own by `test_determinism.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import NoReturn

import structlog
import trio
from trio.testing import MockClock

from lanspread.testing import Datagram, EventLog, Link, Multicast, VirtualLan, open_virtual_lan
from lanspread.testing.party import start_party

LINK = Link(latency_s=0.002, jitter_s=0.003, loss=0.05, duplication=0.01, bytes_per_s=2_000_000)


async def scenario(lan: VirtualLan, trace: list[list[object]]) -> None:
    """Five peers; a download, a crash, a partition, a nap, new games, a clone."""

    def note(datagram: Datagram) -> None:
        trace.append([datagram.at, datagram.sender, datagram.receiver, datagram.size])

    lan.on_datagram = note
    peers = await start_party(lan)
    anna, ben, carl, dora, emil = peers
    logs = [EventLog(peer.peer) for peer in (anna, ben, emil)]
    await ben.fetch("Quake")
    await carl.crash()
    anna.put_game("New", {"a": 10_000, "b/c": 5_000})
    lan.partition([anna.host, ben.host])
    await trio.sleep(60)
    ben.put_game("Late", {"a": 10_000})
    lan.block(dora.host, emil.host)
    lan.heal()
    await carl.start()
    await emil.host.sleep_machine(30)
    dora.host.change_addresses()
    await trio.sleep(40)
    twin = anna.clone("twin")
    await twin.start(new_identity=True)
    await trio.sleep(30)
    anna.remove_game("Chess")
    await emil.stop()
    await trio.sleep(30)
    for log in logs:
        with trio.move_on_after(1):
            while True:
                await log.next()
        trace.extend([event.time, event.type, event.data] for event in log.seen)
    trace.extend([peer.name, peer.state.is_dir()] for peer in lan.peers)


async def run(seed: int) -> list[list[object]]:
    trace: list[list[object]] = []
    mdns = Multicast(loss=0.2, jitter_s=0.05)
    async with open_virtual_lan(seed=seed, link=LINK, mdns=mdns) as lan:
        await scenario(lan, trace)
    return trace


def traced(seed: int) -> list[list[object]]:
    """The trace of the run with this seed."""
    return trio.run(run, seed, clock=MockClock(autojump_threshold=0))


def _drop(logger: object, name: str, event: object) -> NoReturn:
    raise structlog.DropEvent


def main(seed: int) -> None:
    structlog.configure(processors=[_drop])
    lines = [json.dumps(line, sort_keys=True) for line in traced(seed)]
    print(hashlib.sha256("\n".join(lines).encode()).hexdigest(), len(lines))
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
