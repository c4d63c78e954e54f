"""Which of two connections to the same peer stays. Pure.

Source: docs/protocol.md, "One connection per pair".
"""

from __future__ import annotations

import enum

import attrs

from lanspread import limits


class Verdict(enum.Enum):
    """What to do with a connection that has just finished its handshake."""

    USE_NEW = "use the new one; close the old one at once"
    SWITCH = "use the new one; the other side closes the old one"
    KEEP_OLD = "keep the old one; close the new one at once"
    WAIT = "keep the old one; the other side closes the new one"


@attrs.frozen
class Link:
    """What the rule needs to know of a connection. `greeted_at` is trio time."""

    instance: bytes
    dialed_by: str
    greeted_at: float


def judge(old: Link | None, new: Link, our_peer_id: str, their_peer_id: str) -> Verdict:
    """Decide between the session that there is and a new connection of the same peer.

    A new instance replaces the old one at once. Of a crossed dial (both connections made at about
    the same time) the one dialed by the smaller peer_id stays, and the smaller side closes the
    other, so that the two sides never close one each. Later than that, the other side would not
    have dialed if its session still lived: the new one replaces the old.
    """
    if old is None or old.instance != new.instance:
        return Verdict.USE_NEW
    if new.greeted_at - old.greeted_at > limits.CROSSED_DIAL_S:
        return Verdict.USE_NEW
    if old.dialed_by == new.dialed_by:
        return Verdict.USE_NEW
    smaller = min(our_peer_id, their_peer_id)
    we_close = our_peer_id == smaller
    if new.dialed_by == smaller:
        return Verdict.USE_NEW if we_close else Verdict.SWITCH
    return Verdict.KEEP_OLD if we_close else Verdict.WAIT
