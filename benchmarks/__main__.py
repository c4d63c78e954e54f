"""`make bench`: how soon a large library is there, what front-ends cost, and folders between peers.

The transfers go over loopback, beside bare aioquic. Everything is measured in turns within one run,
because the machine's speed changes from minute to minute; the medians are printed. Rates are MB
(10^6 bytes) a second.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from benchmarks.folders import MIB, Sizes, make_games, same_files
from benchmarks.front_ends import measure_front_ends
from benchmarks.library import measure_library
from benchmarks.processes import (
    Result,
    RunningPeer,
    fetch_game,
    running_peer,
    stream_between,
    wait_until_offered,
)

BARE = "bare aioquic, one stream, memory"
ENDPOINT = "our endpoint, one stream, memory"
GAMES = {
    "large": "get: one large file",
    "mixed": "get: large + medium + small",
    "small": "get: small files only",
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    defaults = Sizes()
    parser.add_argument("--rounds", type=int, default=3)
    for name, value in attrs.asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--library-games", type=int, default=5_000)
    parser.add_argument("--library-files", type=int, default=20)
    parser.add_argument("--library-only", action="store_true", help="no transfers")
    parser.add_argument("--front-ends-only", action="store_true", help="no library, no transfers")
    parser.add_argument("--folder", type=Path, help="where the games are written (default: /tmp)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if not options.front_ends_only:
        with tempfile.TemporaryDirectory(prefix="lanspread-bench-", dir=options.folder) as place:
            measure_library(
                Path(place),
                games=options.library_games,
                files=options.library_files,
                rounds=options.rounds,
            )
    if options.library_only:
        return
    with tempfile.TemporaryDirectory(prefix="lanspread-bench-", dir=options.folder) as place:
        measure_front_ends(Path(place), rounds=options.rounds, large_mib=options.large_mib)
    if options.front_ends_only:
        return
    sizes = Sizes(**{field.name: getattr(options, field.name) for field in attrs.fields(Sizes)})
    folder = Path(tempfile.mkdtemp(prefix="lanspread-bench-", dir=options.folder))
    try:
        make_games(folder / "source" / "games", sizes)
        results: dict[str, list[Result]] = {}
        with running_peer(folder / "source") as source:
            for number in range(1, options.rounds + 1):
                print(f"round {number} of {options.rounds}", flush=True)
                one_round(folder, source, sizes, results)
        report(results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def one_round(
    folder: Path, source: RunningPeer, sizes: Sizes, results: dict[str, list[Result]]
) -> None:
    """Bare, ours, bare, ours, …: so that a slow moment does not meet one of them alone."""
    target_folder = folder / "target"
    with running_peer(target_folder, "--peer", source.ready["listen"][0]) as target:
        wait_until_offered(target, set(GAMES))
        for game_id, label in GAMES.items():
            for module, name in (("bare_quic", BARE), ("our_endpoint", ENDPOINT)):
                result = stream_between(f"benchmarks.{module}", sizes.large_mib * MIB, folder)
                results.setdefault(name, []).append(result)
            results.setdefault(label, []).append(fetch_game(source, target, game_id))
            arrived = target_folder / "games" / game_id
            if not same_files(source.folder / "games" / game_id, arrived):
                raise SystemExit(f"{game_id} did not arrive as it was sent")
    shutil.rmtree(target_folder)


def report(results: dict[str, list[Result]]) -> None:
    table = Table(title="127.0.0.1, 1,472-byte packets, medians; sender + receiver")
    for heading in ("", "MB", "MB/s", "of bare", "CPU s/GB", "peak MiB"):
        table.add_column(heading, justify="left" if not heading else "right")
    bare = median(results[BARE], "mb_per_s")
    for name, runs in results.items():
        rate = median(runs, "mb_per_s")
        gigabytes = runs[0].total_bytes / 1e9
        cpu = (median(runs, f"{side}_cpu_s") / gigabytes for side in ("sender", "receiver"))
        peak = (max(getattr(run, f"{side}_peak_mib") for run in runs) for side in SIDES)
        table.add_row(
            name,
            f"{runs[0].total_bytes / 1e6:.0f}",
            f"{rate:.1f}",
            f"{rate / bare:.0%}",
            " + ".join(f"{value:.1f}" for value in cpu),
            " + ".join(f"{value:.0f}" for value in peak),
        )
    Console(width=110).print(table)
    large, small = (median(results[GAMES[kind]], "mb_per_s") for kind in ("large", "small"))
    print(f"small files against one large file: {small / large:.0%}")


SIDES = ("sender", "receiver")


def median(runs: list[Result], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


if __name__ == "__main__":
    main()
