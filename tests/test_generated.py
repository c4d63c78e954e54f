"""What is generated from the code is up to date, and says what the code says."""

from __future__ import annotations

import json

import attrs
import jsonschema
import pytest

from lanspread.api import encoding, rpc, schema, typescript
from lanspread.config import SETTINGS, Config
from lanspread.errors import Code
from lanspread.eventhub import EventHub
from lanspread.events import PAUSE_REASONS, PeerEvent
from scripts.generate import ROOT, generated, with_settings
from tests.api.fake import FixedClock, a_peer
from tests.api.outsider import Judge


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


EVENTS = list(schema.event_types())


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.event_type)
async def test_every_type_of_event_fits_the_schema(kind: type[PeerEvent]) -> None:
    """As it is on the wire, those included that no small scene of real peers shows."""
    hub = EventHub("instance", FixedClock())
    with hub.subscribe(None) as subscription:
        hub.publish(made(kind))
        (event,) = await subscription.next_batch()
    judge = Judge(json.loads(json.dumps(schema.build())))
    judge.frame(json.loads(rpc.notification("event", encoding.event(event))))


def made(kind: type[PeerEvent]) -> PeerEvent:
    """An event with something of its type in every field."""
    values: dict[str, object] = {
        "peer": a_peer(),
        "reason": PAUSE_REASONS[0],
        "code": Code.IO_ERROR.value,
        "files": ({"path": "a", "size": 1},),
        "source_rates": {"a": 1.5},
    }
    by_type = {"str": "text", "int": 1, "float": 1.5, "tuple[str, ...]": ("a",)}
    for name, field in attrs.fields_dict(kind).items():
        if name not in values:
            values[name] = by_type[str(field.type).removesuffix(" | None")]
    return kind(**{name: values[name] for name in attrs.fields_dict(kind)})
