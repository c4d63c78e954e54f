"""A client that is not ours (`websockets`), which holds every message that it gets to `/schema`."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import jsonschema
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 20.0


class RpcFault(Exception):
    """A call was answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.number: int = error["code"]
        self.code: str | None = error.get("data", {}).get("code")
        self.remedy: str | None = error.get("data", {}).get("remedy")


class Judge:
    """What the schema that a peer serves says of messages. A field that it does not name is wrong
    too, though clients are to overlook it: the schema would be behind the server."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._known: dict[str, Any] = {}

    def frame(self, message: Any) -> None:
        self._check({"oneOf": self.schema["oneOf"]}, message)
        if message.get("method") == "hello":
            self._check(_strict({"$ref": "#/$defs/HelloMessage"}), message)
        if message.get("method") == "event":
            event = message["params"]
            assert set(event) == {"seq", "time", "type", "data"}
            self._check(_strict(self.schema["x-events"][event["type"]]), event["data"])

    def params(self, method: str, params: Any) -> None:
        self._check(self.schema["x-methods"][method]["params"], params)

    def result(self, method: str, result: Any) -> None:
        self._check(_strict(self.schema["x-methods"][method]["result"]), result)

    def _check(self, part: Mapping[str, Any], value: Any) -> None:
        key = json.dumps(part)
        if key not in self._known:
            self._known[key] = jsonschema.Draft202012Validator(
                {"$defs": self.schema["$defs"], **part}
            )
        self._known[key].validate(value)


def _strict(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "array":
        return {**part, "items": _strict(part["items"])}
    return {**part, "unevaluatedProperties": False}


class Outsider:
    """A front-end: calls one after another, keeps the events, and looks at each of them."""

    def __init__(self, socket: ClientConnection, judge: Judge) -> None:
        self.socket = socket
        self.called: set[str] = set()
        self.events: list[dict[str, Any]] = []
        # Judging very many large messages takes longer than is worth it.
        self.judging = True
        self._judge = judge
        self._seen = 0
        self._last_id = 0
        self.hello = self.receive()["params"]

    def receive(self) -> dict[str, Any]:
        """The next message; an event is kept."""
        message: dict[str, Any] = json.loads(self.socket.recv(timeout=PATIENCE_S))
        if self.judging:
            self._judge.frame(message)
        if message.get("method") == "event":
            self.events.append(message["params"])
        return message

    def call(self, method: str, **params: Any) -> Any:
        """The result of a call. Raises `RpcFault`."""
        self.called.add(method)
        self._last_id += 1
        self._judge.params(method, params)
        self.send(jsonrpc="2.0", id=self._last_id, method=method, params=params)
        while True:
            message = self.receive()
            if message.get("id") == self._last_id and "method" not in message:
                break
        if "error" in message:
            raise RpcFault(message["error"])
        if self.judging:
            self._judge.result(method, message["result"])
        return message["result"]

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def expect(self, kind: str, **data: Any) -> dict[str, Any]:
        """The next event of this type with this in it, and everything before it counts as seen."""
        while True:
            while self._seen < len(self.events):
                event = self.events[self._seen]
                self._seen += 1
                if event["type"] == kind and data.items() <= event["data"].items():
                    return event
            self.receive()

    def numbered(self) -> list[dict[str, Any]]:
        """The events that have a number, in which there is no gap."""
        found = [event for event in self.events if event["seq"] is not None]
        numbers = [event["seq"] for event in found]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        return found


def served_schema(ready: Mapping[str, Any]) -> Any:
    """What `/schema` says."""
    request = urllib.request.Request(
        f"{ready['api_url']}/schema", headers={"Authorization": f"Bearer {ready['token']}"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return json.load(answer)


@contextmanager
def outsider(ready: Mapping[str, Any], judge: Judge, **options: Any) -> Iterator[Outsider]:
    """Connect to the peer that said this when it was ready."""
    with connection(ready, ready["token"], **options) as opened:
        yield Outsider(opened, judge)


def connection(ready: Mapping[str, Any], token: str | None, **options: Any) -> ClientConnection:
    """A connection with `websockets`; to be used in a `with`."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    host = options.pop("host", urlsplit(ready["api_url"]).netloc)
    opened: ClientConnection = connect(
        f"ws://{host}/ws",
        additional_headers=headers,
        **{"proxy": None, "max_size": None, "close_timeout": 2, **options},
    )
    return opened


def slow_reader(ready: Mapping[str, Any]) -> socket.socket:
    """A socket that takes little by itself."""
    url = urlsplit(ready["api_url"])
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.connect((url.hostname, url.port))
    return opened
