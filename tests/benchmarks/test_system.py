"""What the benchmarks read from the system: CPU time, memory, connections, gauges, the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from benchmarks.downloads import Way, are_linked, check_way, established
from benchmarks.machine import cpu_model, describe, first_line, memory_gib
from benchmarks.our_peer import LOOP_LAG, gauges
from benchmarks.processes import cpu_s, cpu_ticks_of, family, hwm_mib_of, peak_mib, written_bytes

# utime, stime, cutime and cstime are fields 14 to 17; the name may hold anything.
STAT = "77 (a) b (c) S 1 77 77 0 -1 4194304 100 0 0 0 250 50 25 5 20 0 1 0 99 1000 10 18446744"
TCP = """\
   0: 0100007F:1CCD 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 501 1 0 20 4 30
   1: 0100007F:1CCD 0100007F:9C41 01 00000000:00000000 00:00000000 00000000  1000 0 502 1 0 20 4 30
   2: 0100007F:1CCD 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 503 1 0 20 4 30
"""


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


def test_established_connections_of_the_process_alone() -> None:
    assert established(TCP.splitlines(), {"501", "503"}) == {(0x1CCD, 0x9C40)}


def test_the_path_is_what_the_name_says() -> None:
    check_way(Way.QUIC, linked=0, samples=9)
    check_way(Way.BULK, linked=8, samples=9)


def test_a_connection_between_two_processes_is_seen() -> None:
    code = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        "print(flush=True); sys.stdin.read()"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with subprocess.Popen(
            [sys.executable, "-c", code, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert not are_linked(os.getpid(), [other.pid]), "our side is not accepted yet"
            accepted, _ = server.accept()
            with accepted:
                assert are_linked(os.getpid(), [other.pid])
                assert not are_linked(os.getpid(), [os.getppid()])
            other.communicate()


@pytest.mark.parametrize(("way", "linked"), [(Way.QUIC, 1), (Way.BULK, 0), (Way.BULK, 4)])
def test_another_path_ends_the_benchmark(way: Way, linked: int) -> None:
    with pytest.raises(SystemExit):
        check_way(way, linked=linked, samples=9)


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
