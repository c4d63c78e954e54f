"""Medians of what was measured, as a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import attrs
from rich.console import Console
from rich.table import Table

from benchmarks.processes import Result

SIDES = ("sender", "receiver")
LAG = "{}_loop_lag_p99_ms"
HEADINGS = ("", "MB", "MB/s", "CPU s/GB", "peak MiB", "loop lag p99 ms", "rounds")


@attrs.frozen(kw_only=True)
class Row:
    """The median of some transfers of one kind; peaks and lags are the worst of them."""

    name: str
    megabytes: float
    mb_per_s: float
    slowest_mb_per_s: float
    fastest_mb_per_s: float
    sender_cpu_s_per_gb: float
    receiver_cpu_s_per_gb: float
    sender_peak_mib: float
    receiver_peak_mib: float
    sender_lag_ms: float | None
    receiver_lag_ms: float | None
    rounds: int

    @property
    def cpu_s_per_gb(self) -> float:
        """Both sides together."""
        return self.sender_cpu_s_per_gb + self.receiver_cpu_s_per_gb

    def cells(self) -> tuple[str, ...]:
        lags = (self.sender_lag_ms, self.receiver_lag_ms)
        return (
            self.name,
            f"{self.megabytes:.0f}",
            f"{self.mb_per_s:.1f} ({self.slowest_mb_per_s:.0f}-{self.fastest_mb_per_s:.0f})",
            f"{self.sender_cpu_s_per_gb:.2f} + {self.receiver_cpu_s_per_gb:.2f}",
            f"{self.sender_peak_mib:.0f} + {self.receiver_peak_mib:.0f}",
            " + ".join("?" if lag is None else f"{lag:.0f}" for lag in lags),
            str(self.rounds),
        )


def row_of(name: str, runs: Sequence[Result]) -> Row:
    rates = [run.mb_per_s for run in runs]
    gigabytes = runs[0].total_bytes / 1e9
    return Row(
        name=name,
        megabytes=runs[0].total_bytes / 1e6,
        mb_per_s=statistics.median(rates),
        slowest_mb_per_s=min(rates),
        fastest_mb_per_s=max(rates),
        sender_cpu_s_per_gb=statistics.median(run.sender_cpu_s for run in runs) / gigabytes,
        receiver_cpu_s_per_gb=statistics.median(run.receiver_cpu_s for run in runs) / gigabytes,
        sender_peak_mib=max(run.sender_peak_mib for run in runs),
        receiver_peak_mib=max(run.receiver_peak_mib for run in runs),
        sender_lag_ms=_worst(runs, LAG.format("sender")),
        receiver_lag_ms=_worst(runs, LAG.format("receiver")),
        rounds=len(runs),
    )


def _worst(runs: Sequence[Result], name: str) -> float | None:
    return max((run.extra[name] for run in runs if name in run.extra), default=None)


def print_results(title: str, results: Mapping[str, Sequence[Result]]) -> None:
    print_rows(title, [row_of(name, runs) for name, runs in results.items() if runs])


def print_rows(title: str, rows: Sequence[Row]) -> None:
    table = Table(title=f"{title}; medians (range); sender + receiver")
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        table.add_row(*row.cells())
    Console(width=130).print(table)
