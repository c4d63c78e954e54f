"""What the doctor says: findings, each with a level, a stable code, a sentence and a remedy. Pure.

Levels: `ok` was looked at and is well, `note` is worth knowing, `warning` may cost speed or
comfort, or cannot be told from here; with a `fault` something does not work.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


@attrs.frozen
class Finding:
    """`check` is what was looked at, `code` what was found; `remedy` is empty where none is due.

    Message and remedy are one line each, and may hold names that others chose: whoever shows them
    on a terminal cleans them.
    """

    check: str
    level: Level
    code: str
    message: str
    remedy: str = ""


def ok(check: str, code: str, message: str) -> Finding:
    return Finding(check, Level.OK, code, message)


def note(check: str, code: str, message: str, remedy: str = "") -> Finding:
    return Finding(check, Level.NOTE, code, message, remedy)


def warning(check: str, code: str, message: str, remedy: str) -> Finding:
    return Finding(check, Level.WARNING, code, message, remedy)


def fault(check: str, code: str, message: str, remedy: str) -> Finding:
    return Finding(check, Level.FAULT, code, message, remedy)


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is wrong; warnings do not count."""
    return all(finding.level is not Level.FAULT for finding in findings)
