"""The mDNS packets of the doctor: one question, and what is read of answers. Pure.

Source: RFC 6762; RFC 6763 section 9 (who is there at all).
"""

from __future__ import annotations

import attrs
from zeroconf import (  # type: ignore[attr-defined]  # exported, and not said so
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSText,
)

from lanspread import limits
from lanspread.identity import is_peer_id

# Printers, televisions and other computers answer this: multicast works with whoever is there.
_ANYBODY = "_services._dns-sd._udp.local."
_QUERY = 0x0000
_TYPE_PTR = 12
_CLASS_IN = 1
_PEER_ID_CHARS = 36
MAX_PEERS = 64
_MAX_VERSION_CHARS = 10


@attrs.frozen
class Answer:
    """What one packet says: the peers that it names, each with its protocol version if given."""

    peers: dict[str, int | None]


def question(number: int, *, anybody: bool = True) -> bytes:
    """Ask who speaks lanspread, and who is there at all.

    `number` is the packet's id, by which we know it again when it comes back to us: receivers
    ignore it (RFC 6762 section 18.1).
    """
    out = DNSOutgoing(_QUERY, multicast=False, id_=number)
    for name in (limits.SERVICE_TYPE, *([_ANYBODY] if anybody else [])):
        out.add_question(DNSQuestion(name, _TYPE_PTR, _CLASS_IN))
    return out.packets()[0]


def read_answer(data_untrusted: bytes) -> Answer | None:
    """The answer in a packet; None if it is none. Never raises."""
    try:
        packet = DNSIncoming(data_untrusted)
        if not packet.valid or not packet.is_response():
            return None
        records = packet.answers()
    except Exception:
        # zeroconf catches what it expects of hostile packets; nothing of the rest may end us.
        return None
    peers: dict[str, int | None] = {}
    for record in records:
        if len(peers) >= MAX_PEERS:
            break
        if isinstance(record, DNSPointer) and record.name.lower() == limits.SERVICE_TYPE:
            peer_id = record.alias[:_PEER_ID_CHARS]
            if is_peer_id(peer_id):
                peers.setdefault(peer_id, None)
        elif isinstance(record, DNSText) and record.name.lower().endswith(limits.SERVICE_TYPE):
            peer_id = record.name[:_PEER_ID_CHARS]
            if is_peer_id(peer_id):
                peers[peer_id] = _version(record.text)
    return Answer(peers)


def _version(text_untrusted: bytes) -> int | None:
    """The `proto_ver` of a TXT record: strings, each behind its length (RFC 6763 section 6.1)."""
    at = 0
    while at < len(text_untrusted):
        end = at + 1 + text_untrusted[at]
        key, _, value = text_untrusted[at + 1 : end].partition(b"=")
        if key == b"proto_ver" and value.isdigit() and len(value) <= _MAX_VERSION_CHARS:
            return int(value)
        at = end
    return None
