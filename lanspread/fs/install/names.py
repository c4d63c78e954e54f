"""The names in a game's folder that installing uses."""

from __future__ import annotations

from typing import Final

from lanspread.fs.paths import LOCAL, OWN_FOLDER, OWNED

__all__ = ["BACKUP", "INSTALLING", "INTENT", "INTENT_SCRATCH", "LOCAL", "NEW_RECORD", "OWNED"]
__all__ += ["RECORD"]

INTENT: Final = ".lanspread.json"
INTENT_SCRATCH: Final = f"{INTENT}.tmp"
INSTALLING: Final = ".local.installing"
BACKUP: Final = ".local.backup"
RECORD: Final = f"{OWN_FOLDER}/install.json"
# The record of an install that is not committed yet.
NEW_RECORD: Final = f"{OWN_FOLDER}/install.json.new"
