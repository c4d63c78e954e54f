"""The scanner lets through what a decoder can hold, and nothing else."""

from __future__ import annotations

import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanspread.transport import cbor

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=40)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text("abc"), inner, max_size=6),
    max_leaves=30,
)


@given(VALUES)
def test_what_is_ours_passes(value: Any) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@given(st.binary(max_size=300))
def test_anything_else_is_one_error(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except cbor.CborError:
        return
    assert cbor2.loads(data) == value or value != value


@given(VALUES, st.data())
def test_a_cut_or_longer_item_is_refused(value: Any, data: st.DataObject) -> None:
    encoded = cbor.encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(cbor.CborError):
        cbor.decode(encoded[:cut])
    with pytest.raises(cbor.CborError, match="after the end"):
        cbor.decode(encoded + b"\x00")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (cbor2.dumps(cbor2.CBORTag(35, "(a+)+$")), "tags"),
        (b"\x9f\x01\xff", "indefinite"),
        (b"\x5f\x41a\xff", "indefinite"),
        (b"\xbf\xff", "indefinite"),
        (b"\xa2\x61a\x01\x61a\x02", "twice"),
        # The same key with a longer head is the same key.
        (b"\xa2\x61a\x01\x78\x01a\x02", "twice"),
        (b"\xa1\x01\x02", "not text"),
        (b"\xf7", "simple"),
        (b"\xf8\x20", "simple"),
        (b"\x1c", "reserved"),
        (b"\x9a\xff\xff\xff\xff", "cut short"),
        (b"\x5b" + b"\xff" * 8, "cut short"),
        (b"\x81" * 17 + b"\x01", "deeper"),
        (b"\x99\x4e\x21" + b"\x00" * 20_001, "items"),
        (b"\x61\xff", "decodable"),
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(cbor.CborError, match=why):
        cbor.decode(data)


def test_a_bomb_costs_no_memory() -> None:
    bomb = b"\x9a\x00\x0f\xff\x00" + b"\x80" * 0x0FFF00
    tracemalloc.start()
    try:
        with pytest.raises(cbor.CborError, match="items"):
            cbor.decode(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024
