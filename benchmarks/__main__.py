"""What lanspread costs and how fast it is, measured on this machine.

`all` is what `make bench` runs: `between` (our peers among themselves), `library` and `front-ends`.
`peers` is `make bench-peers`. `mixed`, `large`, `small` and `flat` move one game between two peers.
Rates are MB (10^6 bytes) a second. Ends with 1 if something that is judged did not pass.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.between import judge_between, measure_between, plan_for
from benchmarks.claims import failures, print_claims
from benchmarks.downloads import Way
from benchmarks.folders import FULL_LARGE_MIB
from benchmarks.front_ends import measure_front_ends
from benchmarks.library import measure_library
from benchmarks.peers import CONTESTS, judge_peers, measure_peers
from benchmarks.places import MEMORY, NAMES
from benchmarks.quick import SHAPES, measure_quickly
from benchmarks.record import Record, keep
from benchmarks.tools.torrents import PYTHON as TORRENT_PYTHON

ALL = ("between", "library", "front-ends")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=["all", *ALL, "peers", *SHAPES])
    parser.add_argument(
        "--rounds", type=int, help="how often each is measured (the median counts): 3, of `peers` 5"
    )
    parser.add_argument(
        "--path", type=Way, action="append", choices=list(Way), dest="ways",
        help="twice for both, which is the default",
    )  # fmt: skip
    parser.add_argument("--on", choices=NAMES, default="disk", help="the kind of file system")
    parser.add_argument("--disk", type=Path, help="a folder on a disk (default: /tmp)")
    parser.add_argument("--divisor", type=int, default=1, help="move so much less")
    parser.add_argument(
        "--only", action="append", choices=CONTESTS, default=[],
        help="of `peers`, this contest",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true", help="write the results into benchmarks/results"
    )
    parser.add_argument("--library-games", type=int, default=5_000)
    parser.add_argument("--library-files", type=int, default=20)
    return parser.parse_args()


def main() -> None:
    options = parse()
    # Ended from outside, it still ends what it started and removes its folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    ways = options.ways or list(Way)
    failed: list[str] = []
    what = ALL if options.what == "all" else (options.what,)
    print(f"machine: {machine.describe(_places(options))}", flush=True)
    if options.what in SHAPES:
        measure_quickly(
            options.what,
            ways=ways,
            on=options.on,
            disk=options.disk,
            rounds=options.rounds or 3,
            divisor=options.divisor,
        )
    # First: `library` removes a hundred thousand files, which the disk feels for minutes.
    if "between" in what:
        failed += _finish(options, _between(options, ways), "between")
    if "library" in what:
        with tempfile.TemporaryDirectory(prefix="lanspread-bench-", dir=options.disk) as folder:
            measure_library(
                Path(folder),
                games=options.library_games,
                files=options.library_files,
                rounds=options.rounds or 3,
            )
    if "front-ends" in what:
        with tempfile.TemporaryDirectory(prefix="lanspread-bench-", dir=options.disk) as folder:
            measured = measure_front_ends(
                Path(folder), rounds=options.rounds or 3, large_mib=FULL_LARGE_MIB
            )
            failed += measured.failures()
    if "peers" in what:
        failed += _finish(options, _peers(options), "peers")
    for failure in failed:
        print(f"FAIL: {failure}")
    if failed:
        sys.exit(1)


def _places(options: argparse.Namespace) -> dict[str, Path]:
    return {"disk": options.disk or Path(tempfile.gettempdir()), "memory": MEMORY}


def _between(options: argparse.Namespace, ways: list[Way]) -> Record:
    described = machine.describe(_places(options))
    sections = measure_between(
        ways=ways,
        on=options.on,
        disk=options.disk,
        rounds=options.rounds or 3,
        divisor=options.divisor,
    )
    plans = {way: plan_for(way, options.on, options.divisor) for way in ways}
    return Record(
        name="Our peers among themselves",
        machine=described,
        sections=list(sections.values()),
        claims=judge_between(sections, plans),
    )


def _peers(options: argparse.Namespace) -> Record:
    described = {
        **machine.describe(_places(options)),
        **machine.describe_tools(TORRENT_PYTHON),
    }
    sections = measure_peers(
        disk=options.disk,
        rounds=options.rounds or 5,
        divisor=options.divisor,
        only=options.only,
    )
    return Record(
        name="We and others",
        machine=described,
        sections=list(sections.values()),
        claims=judge_peers(sections),
    )


def _finish(options: argparse.Namespace, record: Record, file_name: str) -> list[str]:
    """Say what passed and keep it if asked to. Returns what did not pass."""
    print_claims(record.claims)
    if options.divisor != 1:
        print(f"everything was 1/{options.divisor} of its size: judged for practice, not kept")
    elif options.keep:
        keep(record, file_name)
    return failures(record.claims)


if __name__ == "__main__":
    main()
