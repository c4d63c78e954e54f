"""`api.json`: where the commands find the peer that runs for a state folder.

The peer writes it (`lanspread.fs.state.State.write_api_json`); this is the one thing that a command
reads of the state folder. Source: docs/operators.md, "The state folder".
"""

from __future__ import annotations

import json
import os

import attrs

from lanspread import limits
from lanspread.errors import StartError


@attrs.frozen
class ApiAddress:
    """Where a running peer's local API is, and what lets one in."""

    api_url: str
    token: str = attrs.field(repr=False)
    pid: int
    instance: str


def read_api_json(state: str) -> ApiAddress | None:
    """Where a running peer's API is; None if none runs or the file is no such file.

    A peer that was killed leaves its file: ask for the pid. Raises `StartError` if the file is
    there and cannot be read.
    """
    path = os.path.join(state, "api.json")
    try:
        with open(path, "rb") as file:
            data = file.read(limits.MIB)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartError(f"cannot read {path!a}: {error.strerror or error}") from error
    try:
        value = json.loads(data)
        texts = [value["api_url"], value["token"], value["instance"]]
        if all(isinstance(text, str) for text in texts) and type(value["pid"]) is int:
            return ApiAddress(texts[0], texts[1], value["pid"], texts[2])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
