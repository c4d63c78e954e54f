"""`python -m lanspread.testing`: virtual peers with real APIs, to look at with a browser.

The peers are production code on a virtual LAN in real time, with small games in memory. No traffic
leaves the process but that of the APIs, on loopback. It ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from contextlib import AsyncExitStack

import structlog
import trio

from lanspread.errors import StartError
from lanspread.testing.front_end import serve_api
from lanspread.testing.lan import open_virtual_lan
from lanspread.testing.link import Link
from lanspread.testing.party import numbered_party, start_party

MAX_PEERS = 30
# So that a download of a few hundred kilobytes can be watched.
_WIRE = Link(latency_s=0.005, bytes_per_s=100_000, queue_s=0.5)


async def serve(count: int, first_port: int, seed: int, *, slow: bool = False) -> None:
    """Run peers and print one line for each, until a signal comes. Raises `StartError`, grouped."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with (
            open_virtual_lan(seed=seed, link=_WIRE if slow else None) as lan,
            AsyncExitStack() as stack,
        ):
            for number, peer in enumerate(await start_party(lan, numbered_party(count))):
                port = first_port + number if first_port else 0
                url = await stack.enter_async_context(serve_api(peer, port))
                print(f"{peer.name}\t{url}", flush=True)
            await anext(signals)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser("python -m lanspread.testing", description=__doc__)
    parser.add_argument("--peers", type=int, default=5, help=f"how many, up to {MAX_PEERS}")
    parser.add_argument("--port", type=int, default=0, help="port of the first; default: any free")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same peer_ids")
    parser.add_argument("--slow", action="store_true", help="slow wires, to watch a download")
    options = parser.parse_args()
    if not 1 <= options.peers <= MAX_PEERS:
        parser.error(f"--peers: 1 to {MAX_PEERS}")
    if not 0 <= options.port <= 65_536 - options.peers:
        parser.error("--port: each peer needs one up to 65535")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        trio.run(lambda: serve(options.peers, options.port, options.seed, slow=options.slow))
    except* StartError as group:
        leaves = group.exceptions
        while isinstance(leaves[0], BaseExceptionGroup):
            leaves = leaves[0].exceptions
        sys.exit(str(leaves[0]))


if __name__ == "__main__":
    main()
