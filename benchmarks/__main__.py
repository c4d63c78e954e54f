"""What lanspread costs and how fast it is, measured on this machine.

`mixed`, `large`, `small` and `flat` move one game between two peers of ours. Rates are MB (10^6
bytes) a second.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.downloads import Way
from benchmarks.ours import available_ways
from benchmarks.places import NAMES
from benchmarks.quick import SHAPES, measure_quickly


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", default="mixed", choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, help="how often each is measured (the median counts)")
    parser.add_argument("--path", type=Way, action="append", choices=list(Way), dest="ways")
    parser.add_argument("--on", choices=NAMES, default="disk", help="the kind of file system")
    parser.add_argument("--disk", type=Path, help="a folder on a disk (default: /tmp)")
    parser.add_argument("--divisor", type=int, default=1, help="move so much less; not for records")
    return parser.parse_args()


def main() -> None:
    options = parse()
    ways = options.ways or available_ways()
    measure_quickly(
        options.what,
        ways=ways,
        on=options.on,
        disk=options.disk,
        rounds=options.rounds or 3,
        divisor=options.divisor,
    )


if __name__ == "__main__":
    main()
