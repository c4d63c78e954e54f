"""Views and answers as JSON: the one place that knows how typed values look on the WebSocket."""

from __future__ import annotations

from typing import Any

import msgspec

from lanspread.commands import Done, OperationStarted
from lanspread.eventhub import PublishedEvent, json_value
from lanspread.views import GameDetail, GameView, PeerView, SettingsView, StatusView

# Fields written `name?` in docs/api.md: left out where there is nothing to say.
OPTIONAL_GAME_FIELDS = ("description", "year", "genre", "players")


def game(view: GameView) -> dict[str, Any]:
    """A Game of docs/api.md."""
    data: dict[str, Any] = msgspec.to_builtins(view)
    for name in OPTIONAL_GAME_FIELDS:
        if data[name] is None:
            del data[name]
    return data


def game_detail(detail: GameDetail) -> dict[str, Any]:
    """The answer of `game.get`: the Game's fields with `files` and `variants` beside them."""
    return {
        **game(detail.game),
        "files": msgspec.to_builtins(detail.files),
        "variants": msgspec.to_builtins(detail.variants),
    }


def event(published: PublishedEvent) -> dict[str, Any]:
    """The parameters of an `event` notification."""
    return {
        "seq": published.seq,
        "time": published.time,
        "type": published.type,
        "data": published.data,
    }


def answer(value: object) -> Any:
    """What `Runtime.execute` returned, as a JSON-RPC result."""
    match value:
        case GameDetail():
            return game_detail(value)
        case GameView():
            return game(value)
        case PeerView() | StatusView() | SettingsView():
            return json_value(value)
        case tuple() | list():
            return [answer(item) for item in value]
        case OperationStarted():
            return {"operation_id": value.operation_id}
        case Done() | None:
            return {}
    raise TypeError(f"no JSON form for {type(value).__name__}")


def encode(value: object) -> str:
    """JSON text of plain values.

    Texts and numbers that no encoder takes (they come from odd file names or other peers) are
    replaced, so that one such value never takes the rest of the answer with it.
    """
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, ValueError, TypeError):
        return msgspec.json.encode(json_value(value)).decode()
