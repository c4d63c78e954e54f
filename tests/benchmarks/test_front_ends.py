"""What the benchmark of front-ends says of what it measured."""

from __future__ import annotations

import pytest

from benchmarks.front_ends import FrontEnds


def measured(watched: list[float], *medians_ms: float) -> FrontEnds:
    heard = [{"median_ms": one, "p95_ms": 99.0, "events": 5} for one in medians_ms]
    return FrontEnds(alone=[90.0, 100.0, 400.0], watched=watched, heard=heard)


def test_the_median_rate_and_the_best_latency_count() -> None:
    assert measured([1.0, 91.0, 95.0], 400.0, 50.0, 90.0).failures() == []


@pytest.mark.parametrize(
    ("watched", "median_ms", "said"),
    [
        ([89.0, 89.0, 95.0], 3.0, ["50 clients cost 11.0% of the rate, not less than 10%"]),
        ([95.0, 95.0, 95.0], 50.1, ["half of the events were later than 50.1 ms, not 50 ms"]),
        ([float("nan")] * 3, float("nan"), ["50 clients cost", "half of the events"]),
    ],
)
def test_what_does_not_hold_is_said(
    watched: list[float], median_ms: float, said: list[str]
) -> None:
    failures = measured(watched, median_ms, median_ms + 1).failures()
    assert len(failures) == len(said)
    for failure, words in zip(failures, said, strict=True):
        assert failure.startswith(words)
