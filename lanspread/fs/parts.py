"""What a library works with, whichever folder it is of."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from lanspread.fs.catalog import Catalog
from lanspread.fs.repairs import OnRecovery
from lanspread.seams import FileSystem, Index, Threads, Watcher

# The ids of games that changed.
OnChange = Callable[[frozenset[str]], None]
# (code, message, remedy)
OnWarning = Callable[[str, str, str], None]


@attrs.frozen(kw_only=True)
class Parts:
    """Everything around a library: what it reads with, and whom it tells."""

    files: FileSystem
    threads: Threads
    index: Index
    watcher: Watcher
    catalog: Catalog
    block_bytes: int
    busy: Callable[[], bool]
    on_change: OnChange
    on_warning: OnWarning
    on_repaired: OnRecovery
    on_blocked: OnRecovery
