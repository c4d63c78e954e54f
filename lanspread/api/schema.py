"""`/schema`: a JSON Schema of everything on the WebSocket, generated from the attrs classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from lanspread.api.encoding import OPTIONAL_GAME_FIELDS
from lanspread.api.rpc import METHODS, SUBSCRIBE, Since, Subscribe
from lanspread.commands import Done, GameCommand, OperationStarted, PeerCommand
from lanspread.errors import Code
from lanspread.events import PeerEvent, RemoveFinished, UpdateFinished
from lanspread.model import FileEntry
from lanspread.views import (
    GameView,
    OperationView,
    PeerView,
    SettingsView,
    StatusView,
    VariantView,
)

API_VERSION = 1
_REF = "#/$defs/{name}"
_NAMES = {
    "GameView": "Game",
    "PeerView": "Peer",
    "StatusView": "Status",
    "SettingsView": "Settings",
    "OperationView": "Operation",
    "VariantView": "Variant",
    "FileEntry": "File",
    "Warning_": "Warning",
}
_RESULTS: dict[str, dict[str, Any]] = {
    "status": {"$ref": "#/$defs/Status"},
    "games.list": {"type": "array", "items": {"$ref": "#/$defs/Game"}},
    "game.get": {"$ref": "#/$defs/GameDetail"},
    "settings.get": {"$ref": "#/$defs/Settings"},
    "settings.set": {"$ref": "#/$defs/Settings"},
    "peers.list": {"type": "array", "items": {"$ref": "#/$defs/Peer"}},
}


def event_types(base: type[PeerEvent] = PeerEvent) -> Iterator[type[PeerEvent]]:
    """Every event that has a name of its own."""
    for kind in base.__subclasses__():
        if "event_type" in vars(kind):
            yield kind
        yield from event_types(kind)


def build() -> dict[str, Any]:
    """The schema of one frame from the server, with every part in `$defs`.

    `x-methods` lists what can be called, `x-events` the data of each type of event.
    """
    events = sorted(event_types(), key=lambda kind: kind.event_type)
    values = (GameView, PeerView, StatusView, SettingsView, OperationView, VariantView, FileEntry)
    _, parts = msgspec.json.schema_components(
        [*values, *METHODS.values(), Since, Subscribe, OperationStarted, Done, *events],
        schema_hook=_any_value,
        ref_template=_REF,
    )
    defs = {_NAMES.get(name, name): _renamed(part) for name, part in parts.items()}
    _loosen(defs["Game"], OPTIONAL_GAME_FIELDS)
    _loosen(defs["DownloadPaused"], ("needed_bytes",))
    _loosen(defs["GameFiles"], ("files_omitted",))
    for name in (UpdateFinished.__name__, RemoveFinished.__name__):
        _loosen(defs[name], ("kept_omitted",))
    defs["GameDetail"] = _game_detail()
    for kind in events:
        if "peer" in attrs.fields_dict(kind):
            name = _NAMES.get(kind.__name__, kind.__name__)
            defs[name] = _beside_peer(defs[name])
    defs["ErrorCode"] = {"enum": [code.value for code in Code]}
    defs["Event"] = _event(events)
    methods = {
        method: {
            "params": {"$ref": f"#/$defs/{kind.__name__}"},
            "result": _result(method, kind),
        }
        for method, kind in METHODS.items()
    }
    methods[SUBSCRIBE] = {"params": {"$ref": "#/$defs/Subscribe"}, "result": _subscribed()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lanspread API",
        "x-api-version": API_VERSION,
        "x-methods": methods,
        "x-events": {kind.event_type: {"$ref": _ref(kind)} for kind in events},
        "type": "object",
        "required": ["jsonrpc"],
        "properties": {"jsonrpc": {"const": "2.0"}},
        "$defs": defs,
    }


def _result(method: str, command: type[PeerCommand]) -> dict[str, Any]:
    default = OperationStarted if issubclass(command, GameCommand) else Done
    return _RESULTS.get(method, {"$ref": _REF.format(name=default.__name__)})


def _any_value(kind: type) -> dict[str, Any]:
    if kind is object:
        return {"description": "any JSON value"}
    raise NotImplementedError


def _ref(kind: type[PeerEvent]) -> str:
    return _REF.format(name=_NAMES.get(kind.__name__, kind.__name__))


def _renamed(part: Any) -> Any:
    """The same schema with the names of docs/api.md."""
    if isinstance(part, dict):
        changed = {key: _renamed(value) for key, value in part.items()}
        target = changed.get("$ref")
        if isinstance(target, str):
            name = target.rpartition("/")[2]
            changed["$ref"] = _REF.format(name=_NAMES.get(name, name))
        if changed.get("title") in _NAMES:
            changed["title"] = _NAMES[changed["title"]]
        return changed
    if isinstance(part, list):
        return [_renamed(item) for item in part]
    return part


def _loosen(part: dict[str, Any], names: tuple[str, ...]) -> None:
    part["required"] = [name for name in part["required"] if name not in names]


def _game_detail() -> dict[str, Any]:
    return {
        "allOf": [{"$ref": "#/$defs/Game"}],
        "type": "object",
        "required": ["files", "variants"],
        "properties": {
            "files": {"type": "array", "items": {"$ref": "#/$defs/File"}},
            "variants": {"type": "array", "items": {"$ref": "#/$defs/Variant"}},
        },
    }


def _beside_peer(part: dict[str, Any]) -> dict[str, Any]:
    """A peer event: the Peer's fields stand beside the event's own."""
    own = {name: value for name, value in part["properties"].items() if name != "peer"}
    return {
        "allOf": [{"$ref": "#/$defs/Peer"}],
        "type": "object",
        "required": sorted(own),
        "properties": own,
    }


def _event(events: list[type[PeerEvent]]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["seq", "time", "type", "data"],
        "properties": {
            "seq": {"type": ["integer", "null"]},
            "time": {"type": "string", "format": "date-time"},
            "type": {"type": "string"},
            "data": {"type": "object"},
        },
        "oneOf": [
            {"properties": {"type": {"const": kind.event_type}, "data": {"$ref": _ref(kind)}}}
            for kind in events
        ],
    }


def _subscribed() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["instance", "seq"],
        "properties": {
            "instance": {"type": "string"},
            "seq": {"type": "integer"},
            "snapshot": {
                "type": "object",
                "required": ["games", "peers", "status"],
                "properties": {
                    "games": _RESULTS["games.list"],
                    "peers": _RESULTS["peers.list"],
                    "status": _RESULTS["status"],
                },
            },
        },
    }
