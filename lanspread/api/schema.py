"""`/schema`: a JSON Schema of everything on the WebSocket, generated from the attrs classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from lanspread.api.encoding import OPTIONAL_GAME_FIELDS
from lanspread.api.rpc import METHODS, SUBSCRIBE, Fault, Since, Subscribe
from lanspread.commands import Done, GameCommand, OperationStarted, PeerCommand
from lanspread.errors import Code
from lanspread.events import (
    PAUSE_REASONS,
    OperationFailed,
    PeerEvent,
    RemoveFinished,
    UpdateFinished,
)
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
_TIME = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
}
_NAMES = {
    "GameView": "Game",
    "PeerView": "Peer",
    "StatusView": "Status",
    "LoopLagView": "LoopLag",
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
    parameters = (*METHODS.values(), Since, Subscribe)
    _, parts = msgspec.json.schema_components(
        [*values, *parameters, OperationStarted, Done, *events],
        schema_hook=_any_value,
        ref_template=_REF,
    )
    defs = {_NAMES.get(name, name): _renamed(part) for name, part in parts.items()}
    for kind in parameters:
        # An unknown parameter is refused; what the server says may grow.
        defs[kind.__name__]["additionalProperties"] = False
    for kind in (StatusView, SettingsView, *events):
        # A default is for who makes the value: on the wire everything is there.
        part = defs[_NAMES.get(kind.__name__, kind.__name__)]
        part["required"] = list(part["properties"])
    defs["Peer"]["properties"]["last_seen"] = {"anyOf": [_TIME, {"type": "null"}]}
    _loosen(defs["Game"], OPTIONAL_GAME_FIELDS)
    _loosen(defs["DownloadPaused"], ("needed_bytes",))
    _loosen(defs["GameFiles"], ("files_omitted",))
    for name in (UpdateFinished.__name__, RemoveFinished.__name__):
        _loosen(defs[name], ("kept_omitted",))
    defs["GameFiles"]["properties"]["files"]["items"] = {"$ref": "#/$defs/File"}
    defs["DownloadPaused"]["properties"]["reason"] = {"enum": list(PAUSE_REASONS)}
    defs["GameDetail"] = _game_detail()
    for kind in events:
        name = _NAMES.get(kind.__name__, kind.__name__)
        if "peer" in attrs.fields_dict(kind):
            defs[name] = _beside_peer(defs[name])
        elif issubclass(kind, OperationFailed):
            defs[name]["properties"]["code"] = {"$ref": "#/$defs/ErrorCode"}
    defs["ErrorCode"] = {"enum": [code.value for code in Code]}
    defs["Event"] = {"oneOf": [_event(kind) for kind in events]}
    defs["Subscribed"] = _subscribed()
    defs |= _messages()
    methods = {
        method: {
            "params": {"$ref": f"#/$defs/{kind.__name__}"},
            "result": _result(method, kind),
        }
        for method, kind in METHODS.items()
    }
    methods[SUBSCRIBE] = {
        "params": {"$ref": "#/$defs/Subscribe"},
        "result": {"$ref": "#/$defs/Subscribed"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lanspread API",
        "x-api-version": API_VERSION,
        "x-methods": methods,
        "x-events": {kind.event_type: {"$ref": _ref(kind)} for kind in events},
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in _messages()],
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
    """These are left out where there is nothing to say, and so never null."""
    part["required"] = [name for name in part["required"] if name not in names]
    for name in names:
        (part["properties"][name],) = (
            kind for kind in part["properties"][name]["anyOf"] if kind != {"type": "null"}
        )


def _game_detail() -> dict[str, Any]:
    own = _object(
        files={"type": "array", "items": {"$ref": "#/$defs/File"}},
        variants={"type": "array", "items": {"$ref": "#/$defs/Variant"}},
    )
    return {"allOf": [{"$ref": "#/$defs/Game"}], **own}


def _beside_peer(part: dict[str, Any]) -> dict[str, Any]:
    """A peer event: the Peer's fields stand beside the event's own."""
    own = {name: value for name, value in part["properties"].items() if name != "peer"}
    return {"allOf": [{"$ref": "#/$defs/Peer"}], **_object(**own)}


def _event(kind: type[PeerEvent]) -> dict[str, Any]:
    return _object(
        seq={"type": "null" if kind.is_progress else "integer"},
        time=_TIME,
        type={"const": kind.event_type},
        data={"$ref": _ref(kind)},
    )


def _subscribed() -> dict[str, Any]:
    subscribed = _object(
        instance={"type": "string"},
        seq={"type": "integer"},
        snapshot=_object(
            games=_RESULTS["games.list"],
            peers=_RESULTS["peers.list"],
            status=_RESULTS["status"],
        ),
    )
    # Whoever gave `since` has one.
    return {**subscribed, "required": ["instance", "seq"]}


def _messages() -> dict[str, dict[str, Any]]:
    """What a frame from the server may be."""
    version = {"const": "2.0"}
    id_ = {"type": ["string", "integer", "null"]}
    text = {"type": "string"}
    hello = _object(
        api_version={"type": "integer"},
        instance=text,
        peer_id=text,
        name=text,
        version=text,
        capabilities={"type": "array", "items": text},
    )
    protocol = _object(
        code={"enum": [int(fault) for fault in Fault if fault is not Fault.APPLICATION]},
        message=text,
    )
    application = _object(
        code={"const": int(Fault.APPLICATION)},
        message=text,
        data=_object(code={"$ref": "#/$defs/ErrorCode"}, remedy=text),
    )
    return {
        "HelloMessage": _object(jsonrpc=version, method={"const": "hello"}, params=hello),
        "EventMessage": _object(
            jsonrpc=version, method={"const": "event"}, params={"$ref": "#/$defs/Event"}
        ),
        "ResultMessage": _object(
            jsonrpc=version, id=id_, result={"description": "as `x-methods` says"}
        ),
        "ErrorMessage": _object(jsonrpc=version, id=id_, error={"oneOf": [application, protocol]}),
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
