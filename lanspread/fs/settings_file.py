"""Writing `lanspread.toml`: one setting changed, the rest left as its owner wrote it.

Reading is `lanspread.config`'s. Calls block. Source: docs/operators.md.
"""

from __future__ import annotations

import os

import tomlkit
from tomlkit.exceptions import TOMLKitError

from lanspread.config import MAX_SETTINGS_BYTES, SETTINGS_FILE
from lanspread.fs.state import replace_file

# None takes the setting out of the file.
Value = str | float | bool | None


def save_setting(state_folder: str, name: str, value: Value) -> None:
    """Set `name` in the settings file, made if it is not there; comments and order are kept.

    On the disk when this returns. Raises `OSError`, `ValueError` for a file that is not TOML.
    """
    path = os.path.join(state_folder, SETTINGS_FILE)
    try:
        # A file that is a link stays one: some keep their settings elsewhere.
        path = os.path.realpath(path)
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_SETTINGS_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode & 0o777
    except FileNotFoundError:
        text, mode = "", 0o600
    if len(text) > MAX_SETTINGS_BYTES:
        raise ValueError(f"{SETTINGS_FILE} is too large")
    try:
        document = tomlkit.parse(text)
        if value is not None:
            document[name] = value
        elif name in document:
            del document[name]
        written = tomlkit.dumps(document)
    except TOMLKitError as error:
        raise ValueError(f"{SETTINGS_FILE} is not valid TOML: {error}") from None
    replace_file(path, written.encode(), mode=mode)
