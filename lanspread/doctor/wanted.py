"""What the doctor is to look at: the settings that `run` would take, and a peer to go to."""

from __future__ import annotations

import attrs

from lanspread.seams import Address
from lanspread.transport.addresses import is_loopback


@attrs.frozen(kw_only=True)
class Wanted:
    """`games` is None where no games folder is set; `peer`'s host may be a name.

    `listen` and `api` are None for the defaults; `bulk`: games move over TCP, too. `trouble` is
    what is wrong with the settings; then the rest of this are defaults.
    """

    state: str
    games: str | None = None
    interfaces: tuple[str, ...] = ()
    listen: tuple[Address, ...] | None = None
    api: Address | None = None
    mdns: bool = True
    bulk: bool = True
    peer: Address | None = None
    trouble: str = ""

    @property
    def on_this_machine_alone(self) -> bool:
        """Whether nothing may leave the machine: only loopback interfaces were given."""
        return bool(self.interfaces) and all(is_loopback(host) for host in self.interfaces)
