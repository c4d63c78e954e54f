"""What the benchmarks read from the system: CPU time, memory, gauges, the machine."""

from __future__ import annotations

import os

import pytest

from benchmarks.downloads import Way, check_way
from benchmarks.machine import cpu_model, describe, first_line, memory_gib
from benchmarks.memory import LEFT_BYTES, MIB, MORE_BYTES, amount, free_bytes, touch
from benchmarks.our_peer import LOOP_LAG, gauges
from benchmarks.processes import cpu_s, cpu_ticks_of, family, hwm_mib_of, peak_mib, written_bytes

# utime, stime, cutime and cstime are fields 14 to 17; the name may hold anything.
STAT = "77 (a) b (c) S 1 77 77 0 -1 4194304 100 0 0 0 250 50 25 5 20 0 1 0 99 1000 10 18446744"


def test_cpu_time_is_of_the_process_and_of_the_children_that_ended() -> None:
    assert cpu_ticks_of(STAT) == 250 + 50 + 25 + 5


def test_the_peak_is_read_in_mib_and_is_nothing_of_a_process_that_ended() -> None:
    assert hwm_mib_of("Name:\tx\nVmPeak:\t  9999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n") == 2
    assert hwm_mib_of("Name:\tx\nState:\tZ (zombie)\n") == 0


def test_this_process_has_used_something() -> None:
    pid = os.getpid()
    assert pid in family(pid)
    assert cpu_s(pid) > 0
    assert peak_mib(pid) > 1
    before = written_bytes(pid)
    with open(os.devnull, "wb", buffering=0) as sink:
        sink.write(bytes(1_000))
    assert written_bytes(pid) >= before + 1_000


def test_a_process_that_is_gone_counts_nothing() -> None:
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    assert cpu_s(pid) == 0
    assert peak_mib(pid) == 0


@pytest.mark.parametrize("way", list(Way))
def test_the_path_is_what_the_name_says(way: Way) -> None:
    check_way(way, {"quic": 0, "bulk": 0, way: 100}, chunk_bytes=100)
    # Fetched twice, near the end.
    check_way(way, {"quic": 0, "bulk": 0, way: 130}, chunk_bytes=100)


@pytest.mark.parametrize(
    ("way", "by_path"),
    [
        (Way.QUIC, {"quic": 99, "bulk": 1}),
        (Way.QUIC, {"quic": 100, "bulk": 1}),
        (Way.BULK, {"quic": 1, "bulk": 100}),
        (Way.BULK, {"quic": 0, "bulk": 99}),
        (Way.BULK, {"quic": 100, "bulk": 0}),
    ],
)
def test_another_path_ends_the_benchmark(way: Way, by_path: dict[str, float]) -> None:
    with pytest.raises(SystemExit):
        check_way(way, by_path, chunk_bytes=100)


def test_free_memory_is_brought_in_before_a_run_but_never_the_last_of_it() -> None:
    assert free_bytes("MemTotal:  9 kB\nMemFree:  2048 kB\nMemAvailable: 4096 kB\n") == 2 * MIB
    assert amount(1_000 * MIB, free=10_000 * MIB) == 1_250 * MIB + MORE_BYTES
    assert amount(1_000 * MIB, free=1_000 * MIB) == 1_000 * MIB - LEFT_BYTES
    assert amount(1_000 * MIB, free=100 * MIB) == 0


def test_memory_is_written_into_and_not_only_asked_for() -> None:
    assert touch(64 * MIB) >= 64 * MIB


def test_gauges_with_and_without_labels() -> None:
    text = f"# HELP a b c\n# TYPE a gauge\na 1.0\n{LOOP_LAG} 0.004\nbig 1.5e+09\n"
    assert gauges(text) == {"a": 1.0, LOOP_LAG: 0.004, "big": 1.5e9}


def test_the_machine_is_described() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n") == "AMD EPYC"
    assert memory_gib("MemTotal:       25165824 kB\nMemFree: 1 kB\n") == 24
    assert first_line("nginx version: nginx/1.22.1\nbuilt by x") == "nginx version: nginx/1.22.1"
    assert first_line("") == "not installed"
    assert first_line('syncthing v1 "Flea" (go1.19 linux) builder@host 2023') == (
        'syncthing v1 "Flea"'
    )


def test_the_description_names_no_host() -> None:
    said = " ".join(describe({}).values())
    assert os.uname().nodename not in said or len(os.uname().nodename) < 4
