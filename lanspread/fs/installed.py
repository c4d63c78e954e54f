"""Which version of a game is installed, as far as a walk wants to know. Calls block.

The record may be megabytes long and a walk needs one word of it, so only its beginning is read. It
lies in a folder that anyone may have copied in from anywhere, so it is checked like something off
the network. Source: ARCHITECTURE.md, "The library on disk".
"""

from __future__ import annotations

import json
import re
from typing import Final

from lanspread.fs.install.names import RECORD
from lanspread.fs.manifest import version_of
from lanspread.seams import Folder

_HEAD_BYTES: Final = 4_096
_HEAD: Final = re.compile(
    rb'\s*\{\s*"format"\s*:\s*1\s*,\s*"version"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*")\s*[,}]'
)


def installed_version(folder: Folder) -> str | None:
    """What the install record names; None without a record, or with one that is not ours.

    Never raises: what cannot be read is not known.
    """
    try:
        with folder.open(RECORD, "read") as file:
            head = _HEAD.match(file.read_at(_HEAD_BYTES, 0))
        version = None if head is None else json.loads(head[1])
        # Exactly what a version.ini could have said: bounded and printable.
        return version if version is not None and version_of(version.encode()) == version else None
    except (OSError, ValueError):
        return None
