"""The virtual LAN: whole peers in one process under trio's mock clock, from a seed."""

from lanspread.testing.lan import VirtualHost, VirtualLan, open_virtual_lan
from lanspread.testing.link import Link
from lanspread.testing.mdns import VirtualMdns
from lanspread.testing.network import VirtualNetwork, VirtualSocket
from lanspread.testing.parts import (
    InlineThreads,
    ManualWatcher,
    MemoryIndex,
    SilentWatcher,
    VirtualSuspendClock,
    VirtualWallClock,
)
from lanspread.testing.peers import open_virtual_peer

__all__ = [
    "InlineThreads",
    "Link",
    "ManualWatcher",
    "MemoryIndex",
    "SilentWatcher",
    "VirtualHost",
    "VirtualLan",
    "VirtualMdns",
    "VirtualNetwork",
    "VirtualSocket",
    "VirtualSuspendClock",
    "VirtualWallClock",
    "open_virtual_lan",
    "open_virtual_peer",
]
