"""Errors that a person or a front-end sees: a stable code, a sentence, and what to do about it.

The codes are the ones listed in docs/api.md; each package's internal errors are turned into one of
these at its edge. Source: ARCHITECTURE.md, "Errors".
"""

from __future__ import annotations

import enum


class Code(enum.StrEnum):
    """Stable error codes of the API and the command line."""

    NOT_FOUND = "not_found"
    FOLDER_NOT_EMPTY = "folder_not_empty"
    NOT_AVAILABLE = "not_available"
    BUSY = "busy"
    IN_USE = "in_use"
    NO_SPACE = "no_space"
    NO_SOURCES = "no_sources"
    UNSAFE_PATH = "unsafe_path"
    MANIFEST_TOO_LARGE = "manifest_too_large"
    NOTHING_TO_INSTALL = "nothing_to_install"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    ARCHIVE_DAMAGED = "archive_damaged"
    ARCHIVE_UNSUPPORTED = "archive_unsupported"
    READ_ONLY = "read_only"
    IO_ERROR = "io_error"
    INCOMPATIBLE = "incompatible"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    RESYNC_REQUIRED = "resync_required"
    INTERNAL = "internal"


class LanspreadError(Exception):
    """An operation could not be done; `message` says why, `remedy` what would help."""

    def __init__(self, code: Code, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


class StartError(Exception):
    """The peer cannot start; the text is one line for stderr.

    `usage` is True where the settings are at fault (exit 2), False where the machine is (exit 1).
    """

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


def causes(error: BaseException) -> list[BaseException]:
    """The errors in a group, whatever its depth; of a plain error, itself."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for part in error.exceptions for cause in causes(part)]
    return [error]
