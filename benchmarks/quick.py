"""One game, one source, one downloader: what is measured while something is being tuned."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.downloads import Way
from benchmarks.folders import FLAT, LARGE, MIXED, SMALL
from benchmarks.ours import fetch, our_source
from benchmarks.places import place
from benchmarks.processes import Result
from benchmarks.tables import print_results

SHAPES = {"mixed": MIXED, "large": LARGE, "small": SMALL, "flat": FLAT}


def measure_quickly(
    name: str, *, ways: list[Way], on: str, disk: Path | None, rounds: int, divisor: int
) -> None:
    """The paths in turns; each round is printed, and the medians at the end."""
    shape = SHAPES[name] if divisor == 1 else SHAPES[name].scaled(divisor)
    results: dict[str, list[Result]] = {f"{name}, {way}": [] for way in ways}
    with place(on, disk, needed_bytes=4 * 10**9) as folder, ExitStack() as stack:
        sources = {
            way: stack.enter_context(our_source(folder / way, {name: shape}, way)) for way in ways
        }
        for _ in range(rounds):
            for way, source in sources.items():
                result = fetch(source, folder / "targets", name, way)
                results[f"{name}, {way}"].append(result)
                print(f"{way}: {result.mb_per_s:.1f} MB/s, {told(result)}", flush=True)
    print_results(f"{shape}; on {on}", results)


def told(result: Result) -> str:
    return ", ".join(
        [
            f"{result.cpu_s_per_gb:.2f} CPU s/GB",
            *(f"{name} {value:.3f}" for name, value in sorted(result.extra.items())),
        ]
    )
