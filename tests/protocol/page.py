"""What docs/protocol.md says in forms that a program can read: vectors, and tables of fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"

_BLOCK = re.compile(
    r"^```text\nvector: (?P<name>\S+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
_ENTRY = re.compile(r"^(?P<key>\w+) = (?P<value>.*(?:\n[ \t].*)*)$", re.MULTILINE)
_HEX = re.compile(r"h'(?P<hex>[0-9a-f\s]*)'")
_HEADING = re.compile(r"^#### `(?P<name>\w+)`$", re.MULTILINE)
_ROW = re.compile(r"^\| (?P<cells>.*) \|$", re.MULTILINE)


class Vector(Mapping[str, Any]):
    """The values of one block; it remembers which of them were looked at."""

    def __init__(self, name: str, values: dict[str, Any]) -> None:
        self.name = name
        self._values = values
        self.unread = set(values)

    def __getitem__(self, key: str) -> Any:
        self.unread.discard(key)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read_page() -> str:
    return PAGE.read_text(encoding="utf-8")


def vectors(page: str) -> dict[str, Vector]:
    """Every vector of the page, by name. Raises `ValueError` for a block that cannot be read."""
    found: dict[str, Vector] = {}
    for block in _BLOCK.finditer(page):
        name, body = block["name"], block["body"]
        if name in found:
            raise ValueError(f"the vector {name} is there twice")
        entries = list(_ENTRY.finditer(body))
        if "".join(entry[0] + "\n" for entry in entries) != body:
            raise ValueError(f"the vector {name} has a line that is no entry")
        found[name] = Vector(name, {entry["key"]: _value(entry["value"]) for entry in entries})
    return found


def _value(text: str) -> Any:
    hexadecimal = _HEX.fullmatch(text)
    return bytes.fromhex(hexadecimal["hex"]) if hexadecimal else json.loads(text)


def field_tables(page: str) -> dict[str, set[str]]:
    """Message → the names of its fields, as its section's table (or its lack of one) says."""
    headings = list(_HEADING.finditer(page))
    found: dict[str, set[str]] = {}
    for heading in headings:
        section = re.split(r"^#+ ", page[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        before_table = section.split("\n| field |", 1)
        fields: set[str] = set()
        if len(before_table) == 2:
            table = before_table[1].split("\n\n", 1)[0]
            fields = {re.split(r" \| ", row["cells"])[0].strip("`") for row in _ROW.finditer(table)}
            fields = {field for field in fields if not field.startswith("---")}
        found[heading["name"]] = fields
    return found


def table(page: str, section: str) -> dict[str, str]:
    """First cell → last cell of the first table of a section (`## section`)."""
    text = re.split(rf"^## {section}$", page, maxsplit=1, flags=re.MULTILINE)[1]
    rows = [row["cells"].split(" | ") for row in _ROW.finditer(text.split("\n## ", 1)[0])]
    return {cells[0].strip("`"): cells[-1] for cells in rows[1:]}
