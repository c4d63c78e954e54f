"""`lanspread doctor`: looks at the machine and its network, changes nothing, and says what to do.

Probing and judging are apart: a probe brings facts, within a deadline; what they mean is decided
by pure functions (`judge_…`) that are handed the facts alone.
"""

from lanspread.doctor.examination import examine
from lanspread.doctor.findings import Finding, Level, is_well
from lanspread.doctor.running import NotRunning, Running, RunningPeer
from lanspread.doctor.wanted import Wanted

__all__ = [
    "Finding",
    "Level",
    "NotRunning",
    "Running",
    "RunningPeer",
    "Wanted",
    "examine",
    "is_well",
]
