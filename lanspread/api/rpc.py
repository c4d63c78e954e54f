"""JSON-RPC 2.0, pure: texts in, typed calls out, and answers back into texts.

Strict: parameters by name only, each of exactly its type, none unknown; no batches.
Source: https://www.jsonrpc.org/specification and docs/api.md, "Calls".
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping

import attrs
import msgspec

from lanspread.api import encoding
from lanspread.commands import COMMANDS, PeerCommand
from lanspread.errors import LanspreadError

Id = str | int | None

SUBSCRIBE = "subscribe"
METHODS: Mapping[str, type[PeerCommand]] = {command.method: command for command in COMMANDS}
# What `hello` lists: everything that can be called.
CAPABILITIES: tuple[str, ...] = (SUBSCRIBE, *METHODS)


class Fault(enum.IntEnum):
    """Error codes of the protocol itself; an operation's own errors are all APPLICATION."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    APPLICATION = -32000


class RpcError(Exception):
    """A call that cannot be made. `id` is what could be learned of the request's."""

    def __init__(self, fault: Fault, message: str, id_: Id = None, *, silent: bool = False) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.id = id_
        self.silent = silent


@attrs.frozen
class Since:
    """Where a front-end stopped: the last event it saw."""

    instance: str
    seq: int


@attrs.frozen
class Subscribe:
    """From now on, or from after `since`, events are sent."""

    since: Since | None = None


@attrs.frozen
class Call:
    """A request. `silent`: a notification, which is carried out and never answered."""

    id: Id
    action: PeerCommand | Subscribe
    silent: bool = False


def parse(text: str) -> Call:
    """One frame. Raises `RpcError`."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RpcError(Fault.PARSE, f"not valid JSON: {error}") from None
    if isinstance(message, list):
        raise RpcError(Fault.INVALID_REQUEST, "batches are not supported: one call a frame")
    if not isinstance(message, dict):
        raise RpcError(Fault.INVALID_REQUEST, "a request is an object")
    id_ = message.get("id")
    if isinstance(id_, bool) or not isinstance(id_, str | int | None):
        raise RpcError(Fault.INVALID_REQUEST, "`id` must be a text, a whole number or null")
    if isinstance(id_, int) and not -(2**63) <= id_ < 2**63:
        raise RpcError(Fault.INVALID_REQUEST, "`id` must fit into 64 bits")
    if message.get("jsonrpc") != "2.0":
        raise RpcError(Fault.INVALID_REQUEST, '`jsonrpc` must be "2.0"', id_)
    method = message.get("method")
    if not isinstance(method, str):
        raise RpcError(Fault.INVALID_REQUEST, "`method` must be a text", id_)
    silent = "id" not in message
    params = message.get("params", {})
    try:
        return Call(id_, _action(method, params), silent)
    except RpcError as error:
        error.id, error.silent = id_, silent
        raise


def _action(method: str, params: object) -> PeerCommand | Subscribe:
    if method != SUBSCRIBE and method not in METHODS:
        raise RpcError(Fault.UNKNOWN_METHOD, f"there is no method {_shown(method)}")
    if not isinstance(params, dict):
        raise RpcError(Fault.INVALID_PARAMS, "`params` must be an object: parameters by name")
    if method != SUBSCRIBE:
        return _build(METHODS[method], params)
    subscribe = dict(params)
    if subscribe.get("since") is not None:
        if not isinstance(subscribe["since"], dict):
            raise RpcError(Fault.INVALID_PARAMS, "`since` must be an object")
        subscribe["since"] = _build(Since, subscribe["since"], "since.")
    return _build(Subscribe, subscribe)


T = typing.TypeVar("T", bound=attrs.AttrsInstance)


def _build(kind: type[T], params: Mapping[str, object], prefix: str = "") -> T:
    """An attrs class from an object, type-exact; the error names the parameter."""
    fields = attrs.fields_dict(kind)
    for name in params:
        if name not in fields:
            raise RpcError(Fault.INVALID_PARAMS, f"unknown parameter {_shown(prefix + name)}")
    hints = typing.get_type_hints(kind, include_extras=True)
    values: dict[str, object] = {}
    for name, field in fields.items():
        if name in params:
            try:
                values[name] = msgspec.convert(params[name], hints[name], strict=True)
            except msgspec.ValidationError as error:
                rule = _rule(hints[name])
                why = f"must be {rule}" if rule else str(error)
                raise RpcError(Fault.INVALID_PARAMS, f"`{prefix}{name}`: {why}") from None
        elif field.default is attrs.NOTHING:
            raise RpcError(Fault.INVALID_PARAMS, f"`{prefix}{name}` is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise RpcError(Fault.INVALID_PARAMS, str(error)) from None


def _rule(hint: object) -> str:
    """What a type says of itself to people; "" if nothing."""
    if isinstance(hint, msgspec.Meta):
        return hint.description or ""
    return next(filter(None, map(_rule, typing.get_args(hint))), "")


def _shown(text: str) -> str:
    return ascii(text[:80])


# -- answers --------------------------------------------------------------------------------------


def result(id_: Id, value: object) -> str:
    """An answer."""
    return encoding.encode({"jsonrpc": "2.0", "id": id_, "result": value})


def fault(error: RpcError) -> str:
    """An answer to a call that could not be made."""
    return _error(error.id, {"code": int(error.fault), "message": error.message})


def failure(id_: Id, error: LanspreadError) -> str:
    """An answer to a call that was made and failed."""
    return _error(
        id_,
        {
            "code": int(Fault.APPLICATION),
            "message": error.message,
            "data": {"code": error.code.value, "remedy": error.remedy},
        },
    )


def notification(method: str, params: object) -> str:
    """Something the server says by itself."""
    return encoding.encode({"jsonrpc": "2.0", "method": method, "params": params})


def _error(id_: Id, error: dict[str, object]) -> str:
    return encoding.encode({"jsonrpc": "2.0", "id": id_, "error": error})
