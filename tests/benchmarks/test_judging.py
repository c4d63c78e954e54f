"""Medians, ratios, what passes and what does not, and what is kept of a run."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from benchmarks.between import (
    BARE,
    EIGHT,
    ENDPOINT,
    LIMITED,
    ONE_FOR_EIGHT,
    TEN,
    VANISHING,
    judge_between,
    plan_for,
)
from benchmarks.claims import Claim, cpu_ratio, failures, rate_ratio
from benchmarks.downloads import Way
from benchmarks.peers import CURL, OURS, RSYNC, SYNCTHING, TORRENT, judge_peers
from benchmarks.processes import Result
from benchmarks.record import Record, Section, as_json, as_page, keep
from benchmarks.tables import row_of

BULK = OURS[Way.BULK]
WHEN = datetime.datetime(2025, 2, 3, 4, 5, tzinfo=datetime.UTC)


def run_of(mb_per_s: float, *, cpu: float = 1.0, peak: float = 10.0, **extra: float) -> Result:
    """A transfer of 100 MB at that rate, `cpu` seconds a GB on each side."""
    return Result(
        total_bytes=100_000_000,
        seconds=100 / mb_per_s,
        sender_cpu_s=cpu / 10,
        receiver_cpu_s=cpu / 10,
        sender_peak_mib=peak,
        receiver_peak_mib=peak,
        extra=extra,
    )


def section_of(**rates: float) -> Section:
    return Section("", {name: [run_of(rate)] for name, rate in rates.items()})


def test_a_row_is_the_median_and_the_worst_peak() -> None:
    runs = [run_of(rate, cpu=cpu, peak=peak) for rate, cpu, peak in
            ((10, 9, 30), (100, 1, 50), (20, 2, 20))]  # fmt: skip
    row = row_of("x", runs)
    assert row.mb_per_s == pytest.approx(20)
    assert (row.slowest_mb_per_s, row.fastest_mb_per_s) == pytest.approx((10, 100))
    assert row.sender_cpu_s_per_gb == pytest.approx(2)
    assert row.cpu_s_per_gb == pytest.approx(4)
    assert row.sender_peak_mib == 50
    assert row.rounds == 3


def test_the_worst_lag_is_shown_and_one_that_nobody_measured_is_not() -> None:
    row = row_of("x", [run_of(1, sender_loop_lag_p99_ms=3), run_of(1, sender_loop_lag_p99_ms=7)])
    assert row.sender_lag_ms == 7
    assert row.receiver_lag_ms is None
    assert "7 + ?" in row.cells()


@pytest.mark.parametrize(
    ("value", "bound", "holds"),
    [
        (2.0, "at least", True),
        (1.99, "at least", False),
        (2.0, "at most", True),
        (2.01, "at most", False),
        (None, "at least", False),
        (None, "at most", False),
    ],
)
def test_a_claim_holds_at_its_limit_and_never_unmeasured(
    value: float | None, bound: str, holds: bool
) -> None:
    claim = Claim("", value, 2.0, bound)  # type: ignore[arg-type]
    assert claim.passed is holds
    assert claim.verdict == ("pass" if holds else "not measured" if value is None else "FAIL")


def test_ratios_of_rates_and_of_cpu_time() -> None:
    rows = Section("", {"a": [run_of(60, cpu=1)], "b": [run_of(20, cpu=4)]}).rows()
    assert rate_ratio(rows, "", "a", "b", 1).value == pytest.approx(3)
    assert cpu_ratio(rows, "", "a", "b", 1).value == pytest.approx(0.25)
    assert rate_ratio(rows, "", "a", "c", 1).value is None


def peers(**changed: float) -> dict[str, Section]:
    rates = {BULK: 400.0, SYNCTHING["tcp"]: 200.0, TORRENT: 260.0, RSYNC: 440.0, **changed}
    disk = Section("", {name: [run_of(rate, cpu=10)] for name, rate in rates.items()})
    disk.runs[BULK] = [run_of(rates[BULK], cpu=5)]
    return {
        "disk": disk,
        "memory": section_of(**{BULK: 450.0, SYNCTHING["tcp"]: 300.0}),
        "large": section_of(**{BULK: 480.0, CURL: 400.0}),
        "quic": section_of(**{OURS[Way.QUIC]: 90.0, SYNCTHING["quic"]: 47.0}),
    }


def test_others_are_judged_beside_us() -> None:
    assert failures(judge_peers(peers())) == []


@pytest.mark.parametrize(
    ("name", "rate"), [(SYNCTHING["tcp"], 201), (TORRENT, 270), (RSYNC, 450), (BULK, 390)]
)
def test_each_ratio_counts(name: str, rate: float) -> None:
    assert failures(judge_peers(peers(**{name: rate})))


def test_a_tool_that_is_missing_is_no_victory() -> None:
    sections = peers()
    del sections["disk"].runs[RSYNC]
    (missing,) = [one for one in judge_peers(sections) if not one.passed]
    assert missing.verdict == "not measured"


def between(way: Way) -> Section:
    less = 8 if way is Way.QUIC else 1
    lag = {"sender_loop_lag_p99_ms": 20.0, "receiver_loop_lag_p99_ms": 50.0}
    return Section(
        "",
        {
            BARE: [run_of(110, cpu=9)],
            ENDPOINT: [run_of(110, cpu=10)],
            "large": [run_of(100, **lag)],
            "flat": [run_of(50)],
            LIMITED: [run_of(82 / less)],
            VANISHING: [run_of(10, longest_stall_s=0.9, served_again=1.0)],
            ONE_FOR_EIGHT: [run_of(100)],
            EIGHT: [run_of(91, fastest_s=0.85, slowest_s=1.0)],
            TEN: [run_of(100, peak=249)],
        },
    )


def judge(way: Way, section: Section) -> list[str]:
    """What did not pass."""
    claims = judge_between({way: section}, {way: plan_for(way, "disk")})
    return [claim.text for claim in claims if not claim.passed]


@pytest.mark.parametrize("way", Way)
def test_our_peers_pass(way: Way) -> None:
    assert judge(way, between(way)) == []


@pytest.mark.parametrize(
    ("name", "run", "word"),
    [
        ("flat", run_of(49), "small files"),
        (LIMITED, run_of(70), "limited"),
        (VANISHING, run_of(10, longest_stall_s=1.1, served_again=1.0), "stall"),
        (VANISHING, run_of(10, longest_stall_s=0.1, served_again=0.0), "served again"),
        (EIGHT, run_of(80, fastest_s=0.85, slowest_s=1.0), "together"),
        (EIGHT, run_of(91, fastest_s=0.7, slowest_s=1.0), "slowest"),
        (TEN, run_of(100, peak=251), "memory"),
        ("large", run_of(90, receiver_loop_lag_p99_ms=51.0), "lag"),
    ],
)
def test_each_of_our_claims_can_fail(name: str, run: Result, word: str) -> None:
    section = between(Way.BULK)
    section.runs[name] = [run]
    assert any(word in text for text in judge(Way.BULK, section))


def test_a_stall_of_one_round_is_not_averaged_away() -> None:
    section = between(Way.BULK)
    good = run_of(10, longest_stall_s=0.1, served_again=1.0)
    section.runs[VANISHING] = [good, good, run_of(10, longest_stall_s=5, served_again=1.0)]
    assert any("stall" in text for text in judge(Way.BULK, section))


def test_slow_quic_beside_the_bare_engine_fails() -> None:
    section = between(Way.QUIC)
    section.runs[BARE] = [run_of(112, cpu=9)]
    assert judge(Way.QUIC, section) == ["quic: one large file, of bare aioquic"]


def test_an_endpoint_that_costs_more_than_a_tenth_fails() -> None:
    section = between(Way.QUIC)
    section.runs[ENDPOINT] = [run_of(110, cpu=10.1)]
    assert judge(Way.QUIC, section) == ["quic: CPU of our endpoint, of bare aioquic's"]


def test_a_run_is_kept_whole(tmp_path: Path) -> None:
    record = Record(
        name="A run",
        machine={"cores": "2"},
        sections=[Section("Mixed", {"a": [run_of(60), run_of(20)]})],
        claims=[Claim("fast", 1.0, 2.0, unit=" x")],
    )
    found = json.loads(as_json(record, WHEN))
    runs = found["sections"][0]["runs"]["a"]
    assert [run["mb_per_s"] for run in runs] == [60, 20]
    assert found["claims"][0]["passed"] is False
    assert found["when"].startswith("2025-02-03")
    page = as_page(record, WHEN)
    assert "| cores | 2 |" in page
    assert "| a | 100 | 40.0 (20-60) |" in page
    assert "| fast | at least 2 x | 1.00 x | FAIL |" in page
    keep(record, "run", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.md"]
