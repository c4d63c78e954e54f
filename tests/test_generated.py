"""What is generated from the code is up to date, and says what the code says."""

from __future__ import annotations

import json

import attrs
import jsonschema
import pytest

from lanspread.api import schema, typescript
from lanspread.config import SETTINGS, Config
from tests.generated import ROOT, generated, with_settings


@pytest.mark.parametrize("name", list(generated()))
def test_generated_files_are_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name], "run `make generate`"


def test_the_schema_is_one() -> None:
    built = json.loads(json.dumps(schema.build()))
    jsonschema.Draft202012Validator.check_schema(built)
    names = set(built["$defs"])
    assert {f"#/$defs/{name}" for name in names} >= _references(built)


def _references(part: object) -> set[str]:
    if isinstance(part, list):
        return {name for item in part for name in _references(item)}
    if not isinstance(part, dict):
        return set()
    own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
    return own | {name for item in part.values() for name in _references(item)}


def test_types_for_what_no_type_was_made_for_are_not_made_up() -> None:
    built = schema.build()
    built["$defs"]["New"] = {"type": "object", "properties": {"x": {"not": {}}}}
    with pytest.raises(ValueError, match="no TypeScript"):
        typescript.render(built)


def test_types_say_what_may_be_missing_and_what_may_be_null() -> None:
    types = typescript.render(schema.build())
    game = types.partition("export interface Game {")[2].partition("}")[0]
    assert "  description?: string;\n" in game
    assert "  local_version: string | null;\n" in game
    assert '{ seq: null; time: string; type: "download.progress"; data: DownloadProgress }' in types
    assert "export type PeerLost = Peer & { reason: string };" in types
    assert '"game.download": { params: DownloadGame; result: OperationStarted };' in types


def test_every_setting_is_in_the_reference() -> None:
    page = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    orders = {"state", "new_identity", "new_token"}
    fields = {setting.field for setting in SETTINGS.values()}
    assert fields == {field.name for field in attrs.fields(Config)} - orders
    for name in SETTINGS:
        assert f"\n| `{name}` |" in page
    with pytest.raises(ValueError, match="marks"):
        with_settings("a page without them")
