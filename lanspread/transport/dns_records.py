"""What a peer's mDNS records say, as values. Pure: no socket, no thread, no clock.

Everything that comes in is hostile: anyone on the network can send any record. What comes out is
bounded and clean, and still only a hint. Source: docs/protocol.md, "Discovery".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

import attrs

from lanspread import limits
from lanspread.identity import is_peer_id
from lanspread.seams import Address, Advertisement, Found, Gone
from lanspread.transport import addresses

_MAX_REV = (1 << 63) - 1
_MAX_VERSION = (1 << 31) - 1
# A TXT string is at most 255 bytes with its key; a DNS label at most 63.
_MAX_HOSTNAME_BYTES = 200
# A peer that crashed and came back leaves its old names in everyone's cache for a while.
_MAX_NAMES_PER_PEER = 8


@attrs.frozen
class RawRecord:
    """One service instance as the responder gives it: nothing in it is checked."""

    port: int
    txt: Mapping[bytes, bytes | None]
    hosts: tuple[str, ...]


def instance_label(peer_id: str, start: str, port: int) -> str:
    """The instance name of one port of one start of a peer.

    `start` is random: two machines with one cloned identity never fight for a name, and a peer
    that crashed comes back as a new record, which others notice at once.
    """
    return f"{peer_id}-{start}-{port}"


def start_of(name_untrusted: str, peer_id: str) -> str | None:
    """The start in the name of a record of this peer; None if it does not have the usual form."""
    start, _, rest = name_untrusted.removeprefix(f"{peer_id}-").partition("-")
    usual = rest and len(start) == 6 and all(char in "0123456789abcdef" for char in start)
    return start if usual else None


def txt_of(advert: Advertisement) -> dict[str, str]:
    """The TXT record; what the trust mode hides is left out."""
    txt = {"peer_id": advert.peer_id, "proto_ver": str(advert.proto_ver)}
    if advert.library_rev is not None:
        txt["library_rev"] = str(advert.library_rev)
    if advert.hostname is not None:
        cut = advert.hostname.encode()[:_MAX_HOSTNAME_BYTES]
        txt["hostname"] = cut.decode(errors="ignore")
    return txt


def by_port(advert: Advertisement) -> dict[int, tuple[str, ...]]:
    """The hosts to announce for each port: one record has one port. Scopes stay at home, and so
    does loopback, unless there is nothing else."""
    hosts: dict[int, dict[str, None]] = {}
    for address in _near_only_if_alone(advert.addresses)[: limits.MAX_ADDRESSES_PER_PEER]:
        plain = address.host.partition("%")[0]
        hosts.setdefault(address.port, {})[plain] = None
    return {port: tuple(found) for port, found in hosts.items()}


def parse_record(raw_untrusted: RawRecord, *, allow_loopback: bool) -> Advertisement | None:
    """The advertisement in a record; None if it is not one. Never raises.

    Other protocol versions are parsed like our own: the caller decides. Loopback beside other
    addresses is left out: whoever hears it from another machine would only dial itself.
    """
    txt = raw_untrusted.txt
    peer_id = _text(txt.get(b"peer_id"), 64)
    proto_ver = _number(txt.get(b"proto_ver"), _MAX_VERSION)
    if peer_id is None or not is_peer_id(peer_id) or proto_ver is None:
        return None
    claimed = (Address(host, raw_untrusted.port) for host in raw_untrusted.hosts)
    found = _near_only_if_alone(
        [one for one in claimed if addresses.is_dialable(one, allow_loopback=allow_loopback)]
    )
    if not found:
        return None
    return Advertisement(
        peer_id=peer_id,
        proto_ver=proto_ver,
        addresses=found[: limits.MAX_ADDRESSES_PER_PEER],
        library_rev=_number(txt.get(b"library_rev"), _MAX_REV),
        hostname=_clean_name(_text(txt.get(b"hostname"), 255)),
    )


def _near_only_if_alone(found: Iterable[Address]) -> tuple[Address, ...]:
    every = tuple(dict.fromkeys(found))
    far = tuple(address for address in every if not addresses.is_loopback(address.host))
    return far or every


def _text(value: bytes | None, most_bytes: int) -> str | None:
    if value is None or len(value) > most_bytes:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _number(value: bytes | None, most: int) -> int | None:
    text = _text(value, 20)
    if text is None or not (text.isascii() and text.isdigit()) or int(text) > most:
        return None
    return int(text)


def _clean_name(name: str | None) -> str | None:
    """A name that is safe to show: control, format and other invisible characters removed."""
    if name is None:
        return None
    kept = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029")
    return kept.strip()[: limits.MAX_NAME_CHARS] or None


class RecordTable:
    """Which records stand, and what they say together of each peer.

    A peer may have several: one per port, and those of an earlier start. The newest comes first;
    a peer is gone when its last record is.
    """

    def __init__(self, *, allow_loopback: bool, most: int = limits.DISCOVERY_QUEUE) -> None:
        self.allow_loopback = allow_loopback
        self._most = most
        self._by_name: dict[str, Advertisement] = {}
        self._names: dict[str, list[str]] = {}
        self._told: dict[str, Advertisement] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def heard(self, name: str, raw_untrusted: RawRecord) -> list[Found | Gone]:
        """A record appeared or changed."""
        advert = parse_record(raw_untrusted, allow_loopback=self.allow_loopback)
        before = self._by_name.get(name)
        if advert is None:
            return self.withdrawn(name)
        events: list[Found | Gone] = []
        if before is not None and before.peer_id != advert.peer_id:
            events += self.withdrawn(name)
        elif before is None and len(self._by_name) >= self._most:
            events += self.withdrawn(next(iter(self._by_name)))
        self._by_name.pop(name, None)
        self._by_name[name] = advert
        names = self._names.setdefault(advert.peer_id, [])
        if name not in names:
            names.insert(0, name)
        for old in names[_MAX_NAMES_PER_PEER:]:
            self._forget(old)
        return events + self._tell(advert.peer_id)

    def withdrawn(self, name: str) -> list[Found | Gone]:
        """A record was withdrawn or ran out."""
        advert = self._forget(name)
        return [] if advert is None else self._tell(advert.peer_id)

    def _forget(self, name: str) -> Advertisement | None:
        advert = self._by_name.pop(name, None)
        if advert is not None:
            names = self._names[advert.peer_id]
            names.remove(name)
            if not names:
                del self._names[advert.peer_id]
        return advert

    def _tell(self, peer_id: str) -> list[Found | Gone]:
        """What changed for this peer since it was last told."""
        names = self._names.get(peer_id)
        if not names:
            self._told.pop(peer_id, None)
            return [Gone(peer_id)]
        adverts = [self._by_name[name] for name in names]
        start = start_of(names[0], peer_id)
        merged = attrs.evolve(adverts[0], addresses=_merge(adverts), start=start)
        if self._told.get(peer_id) == merged:
            return []
        self._told[peer_id] = merged
        return [Found(merged)]


def _merge(adverts: Iterable[Advertisement]) -> tuple[Address, ...]:
    groups = [advert.addresses for advert in adverts]
    return addresses.take_in_turns(groups, limits.MAX_ADDRESSES_PER_PEER)
