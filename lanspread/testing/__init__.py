"""The virtual LAN: whole peers in one process under trio's mock clock, from a seed.

How to use it is in docs/testing.md.
"""

from lanspread.testing.crashes import Survivor, check_crashes, check_faults, crash_points
from lanspread.testing.entropy import SeededEntropy
from lanspread.testing.faults import Crashed, FaultyFileSystem, Step
from lanspread.testing.front_end import ApiClient, RpcFault, connect_api, serve_api
from lanspread.testing.games import DiskGames, MemoryGames, game_files
from lanspread.testing.host import VirtualHost
from lanspread.testing.lan import Datagram, VirtualLan, open_virtual_lan
from lanspread.testing.link import Link
from lanspread.testing.mdns import Multicast, VirtualMdns
from lanspread.testing.memory_files import MemoryFileSystem
from lanspread.testing.network import VirtualNetwork, VirtualSocket
from lanspread.testing.parts import (
    InlineThreads,
    ManualWatcher,
    MemoryIndex,
    SilentWatcher,
    VirtualSuspendClock,
    VirtualWallClock,
)
from lanspread.testing.party import start_party
from lanspread.testing.peers import (
    VirtualPeer,
    everyone_connected,
    open_virtual_peer,
    until_connected,
)
from lanspread.testing.power import (
    CONTENTS_LOST,
    CONTENTS_ZEROED,
    EVERYTHING_KEPT,
    EVERYTHING_LOST,
    NAMES_LOST,
    POWER_LOSSES,
    PowerLoss,
    some_kept,
)
from lanspread.testing.waiting import EventLog, until

__all__ = [
    "CONTENTS_LOST",
    "CONTENTS_ZEROED",
    "EVERYTHING_KEPT",
    "EVERYTHING_LOST",
    "NAMES_LOST",
    "POWER_LOSSES",
    "ApiClient",
    "Crashed",
    "Datagram",
    "DiskGames",
    "EventLog",
    "FaultyFileSystem",
    "InlineThreads",
    "Link",
    "ManualWatcher",
    "MemoryFileSystem",
    "MemoryGames",
    "MemoryIndex",
    "Multicast",
    "PowerLoss",
    "RpcFault",
    "SeededEntropy",
    "SilentWatcher",
    "Step",
    "Survivor",
    "VirtualHost",
    "VirtualLan",
    "VirtualMdns",
    "VirtualNetwork",
    "VirtualPeer",
    "VirtualSocket",
    "VirtualSuspendClock",
    "VirtualWallClock",
    "check_crashes",
    "check_faults",
    "connect_api",
    "crash_points",
    "everyone_connected",
    "game_files",
    "open_virtual_lan",
    "open_virtual_peer",
    "serve_api",
    "some_kept",
    "start_party",
    "until",
    "until_connected",
]
