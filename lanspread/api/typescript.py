"""TypeScript declarations of everything on the WebSocket, generated from its schema. Pure.

Covers what `schema.build` makes, and fails loudly on anything else. Written to `lanspread.d.ts`
beside this module by `make generate`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_HEAD = """\
// What is said on the WebSocket of lanspread's local API, docs/api.md.
// Generated from the schema by `make generate`: do not edit.

export type ApiVersion = {version};
"""
_SCALARS = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def render(schema: Mapping[str, Any]) -> str:
    """The declarations: a type for each of `$defs`, `Methods`, `Events`, `ServerMessage`."""
    parts = [_HEAD.format(version=schema["x-api-version"])]
    parts += [_declaration(name, part) for name, part in schema["$defs"].items()]
    methods = {
        name: f"{{ params: {_type(method['params'])}; result: {_type(method['result'])} }}"
        for name, method in schema["x-methods"].items()
    }
    parts.append(_table("Methods", "What can be called.", methods))
    events = {name: _type(part) for name, part in schema["x-events"].items()}
    parts.append(_table("Events", "The data of each type of event.", events))
    message = _union([_type(part) for part in schema["oneOf"]])
    parts.append(f"/** One frame from the server. */\nexport type ServerMessage = {message};\n")
    return "\n".join(parts)


def _declaration(name: str, part: Mapping[str, Any]) -> str:
    comment = _comment(part.get("description"), "")
    if part.get("type") == "object" and "allOf" not in part and part.get("properties"):
        return f"{comment}export interface {name} {{\n{_fields(part, '  ')}}}\n"
    if "oneOf" in part:
        options = "".join(f"\n  | {_type(option)}" for option in part["oneOf"])
        return f"{comment}export type {name} ={options};\n"
    return f"{comment}export type {name} = {_type(part)};\n"


def _table(name: str, text: str, rows: Mapping[str, str]) -> str:
    lines = "".join(f"  {json.dumps(key)}: {value};\n" for key, value in rows.items())
    return f"{_comment(text, '')}export interface {name} {{\n{lines}}}\n"


def _fields(part: Mapping[str, Any], indent: str) -> str:
    required = part.get("required", ())
    return "".join(
        f"{_comment(field.get('description'), indent)}"
        f"{indent}{name}{'' if name in required else '?'}: {_type(field)};\n"
        for name, field in part["properties"].items()
    )


def _type(part: Mapping[str, Any]) -> str:
    match part:
        case {"allOf": others, "properties": own, **rest}:
            parts = [_type(other) for other in others]
            return " & ".join([*parts, _type({**rest, "properties": own})] if own else parts)
        case {"$ref": str(target)}:
            return target.rpartition("/")[2]
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return _union([json.dumps(value) for value in values])
        case {"anyOf": options} | {"oneOf": options}:
            return _union([_type(option) for option in options])
        case {"type": list(kinds)}:
            return _union([_SCALARS[kind] for kind in kinds])
        case {"type": "array", "items": items}:
            inner = _type(items)
            return f"({inner})[]" if "|" in inner or "&" in inner else f"{inner}[]"
        case {"type": "object"}:
            return _object(part)
        case {"type": str(kind)}:
            return _SCALARS[kind]
        case {"description": _} if len(part) == 1:
            return "unknown"
    raise ValueError(f"no TypeScript for {part}")


def _object(part: Mapping[str, Any]) -> str:
    if part.get("properties"):
        fields = _fields({**part, "properties": _without_comments(part["properties"])}, "")
        return "{ " + " ".join(fields.splitlines()).removesuffix(";") + " }"
    if isinstance(part.get("additionalProperties"), dict):
        return f"Record<string, {_type(part['additionalProperties'])}>"
    # What the server says may grow; what it is asked may not hold anything else.
    closed = part.get("additionalProperties") is False
    return f"Record<string, {'never' if closed else 'unknown'}>"


def _without_comments(properties: Mapping[str, Any]) -> dict[str, Any]:
    """On one line there is no place for them; a field that has nothing else keeps its own."""
    return {
        name: {key: value for key, value in field.items() if key != "description"} or field
        for name, field in properties.items()
    }


def _union(options: list[str]) -> str:
    return " | ".join(dict.fromkeys(options))


def _comment(text: str | None, indent: str) -> str:
    if text is None:
        return ""
    return f"{indent}/** {' '.join(text.replace('*/', '').split())} */\n"
