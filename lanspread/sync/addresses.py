"""Which of the addresses in a Hello are worth keeping. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from lanspread import limits
from lanspread.config import parse_host_port
from lanspread.seams import Address
from lanspread.transport.addresses import is_dialable, is_loopback


def usable_addresses(texts_untrusted: Iterable[str], *, from_host: str) -> tuple[Address, ...]:
    """Listener addresses from a Hello whose packets came from `from_host`, at most eight.

    Loopback counts only from a peer on loopback. What cannot be dialed, or is no address at all,
    is left out and no error: it is only a hint.
    """
    found: list[Address] = []
    for text in texts_untrusted:
        try:
            address = parse_host_port(text)
        except ValueError:
            continue
        if is_dialable(address, allow_loopback=is_loopback(from_host)):
            found.append(address)
    return tuple(dict.fromkeys(found))[: limits.MAX_ADDRESSES_PER_PEER]
