"""The log of `run` never holds up the program that writes it."""

from __future__ import annotations

import subprocess
import sys

FLOOD = """
import structlog
from lanspread.cli import logs
logs.configure("text")
for number in range(5_000):
    structlog.get_logger("lanspread.flood").info("line", number=number, pad="x" * 100)
"""


def test_a_stderr_that_nobody_reads_stops_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", FLOOD], stderr=subprocess.PIPE)
    try:
        # Far more than a pipe holds, and not one byte of it is read.
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read(200).count(b"flood") >= 1
    finally:
        process.kill()
        process.communicate()
