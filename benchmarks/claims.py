"""What has to hold: pure judgements over the rows of a run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs
from rich.console import Console
from rich.table import Table

from benchmarks.tables import Row


@attrs.frozen
class Claim:
    """`value` is None where it was not measured; that is not passed either."""

    text: str
    value: float | None
    limit: float
    bound: Literal["at least", "at most"] = "at least"
    unit: str = ""

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        compare: Callable[[float, float], bool] = (
            operator.ge if self.bound == "at least" else operator.le
        )
        return compare(self.value, self.limit)

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "pass" if self.passed else "FAIL"

    def cells(self) -> tuple[str, ...]:
        value = "-" if self.value is None else f"{self.value:.2f}{self.unit}"
        return self.text, f"{self.bound} {self.limit:g}{self.unit}", value, self.verdict


HEADINGS = ("what is judged", "needed", "measured", "")


def rate_ratio(rows: Mapping[str, Row], text: str, one: str, other: str, limit: float) -> Claim:
    """How many times as fast `one` is as `other`, both names of rows."""
    value = None
    if one in rows and other in rows:
        value = rows[one].mb_per_s / rows[other].mb_per_s
    return Claim(text, value, limit, unit=" x")


def cpu_ratio(rows: Mapping[str, Row], text: str, one: str, other: str, limit: float) -> Claim:
    value = None
    if one in rows and other in rows:
        value = rows[one].cpu_s_per_gb / rows[other].cpu_s_per_gb
    return Claim(text, value, limit, bound="at most", unit=" x")


def failures(claims: Sequence[Claim]) -> list[str]:
    """What did not pass; empty if all did."""
    return [claim.text for claim in claims if not claim.passed]


def print_claims(claims: Sequence[Claim]) -> None:
    table = Table(title="What is judged")
    for heading in HEADINGS:
        table.add_column(heading)
    for claim in claims:
        table.add_row(*claim.cells())
    Console(width=130).print(table)
