"""What can go wrong between two peers. One small tree; transport errors end here.

Source: ARCHITECTURE.md, "Errors".
"""

from __future__ import annotations

import enum


class SyncError(Exception):
    """Base of the errors of a session."""


class SessionLost(SyncError):
    """The session that a request or a download used has ended; `reason` says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PeerMisbehaved(SyncError):
    """The other side broke the protocol; the session ends because of it."""


class RequestRefused(SyncError):
    """A request was answered by an `Error`; `code` is its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code


class RequestReset(SyncError):
    """The answer was cut short by a stream reset; `code` is QUIC's application code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the answer was reset with code {code:#x}")
        self.code = code


class HandshakeFault(enum.Enum):
    """Why a handshake failed, in a word."""

    LOST = "lost"
    MISBEHAVED = "misbehaved"
    INCOMPATIBLE = "incompatible"
    REFUSED = "refused"
    WRONG_IDENTITY = "wrong_identity"
    SELF = "self"
    CLONE = "clone"
    REPLACED = "replaced"


class HandshakeFailed(SyncError):
    """No session came of a connection. `kind` says why in a word that code can act on."""

    def __init__(self, kind: HandshakeFault, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
