"""Variants: same sizes and other bytes are never one; who has most votes; what is chosen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanspread.model import Availability, GameSummary
from lanspread.transfer.variants import Offer, choose, group

A, B = b"a" * 32, b"b" * 32


def offer(
    peer: str,
    *,
    version: str = "1",
    manifest: bytes = A,
    content: bytes | None = A,
    host: str | None = None,
    availability: Availability = Availability.READY,
) -> Offer:
    summary = GameSummary(
        id="g",
        name="g",
        eti_version=version,
        size=10,
        downloaded=True,
        installed=False,
        manifest_hash=manifest,
        content_hash=content,
        availability=availability,
    )
    return Offer(peer, host or peer, summary)


def test_same_sizes_and_other_bytes_are_two_variants() -> None:
    variants = group([offer("p1"), offer("p2", content=B)])
    assert [variant.peers for variant in variants] == [("p1",), ("p2",)]


def test_unknown_content_joins_the_variants_of_its_manifest() -> None:
    variants = group([offer("p1"), offer("p2", content=B), offer("p3", content=None)])
    assert [variant.peers for variant in variants] == [("p1", "p3"), ("p2", "p3")]
    alone = group([offer("p3", content=None), offer("p4", content=None, manifest=B)])
    assert {variant.peers for variant in alone} == {("p3",), ("p4",)}


def test_the_newest_version_wins_then_the_most_hosts() -> None:
    many = [offer(f"old{n}") for n in range(5)]
    variants = group([*many, offer("new", version="2"), offer("n2", version="2", content=B)])
    assert variants[0].version == "2"
    # Five peers on one host are one vote.
    crowd = [offer(f"c{n}", content=B, host="one") for n in range(5)]
    best = choose(group([offer("x"), offer("y"), *crowd]), named=None, expected_version=None)
    assert best is not None
    assert best.peers == ("x", "y")


def test_what_is_named_wins_and_a_catalog_allows_its_version_only() -> None:
    variants = group([offer("p1"), offer("p2", content=B, version="2")])
    by_content = choose(variants, named=A.hex().upper(), expected_version=None)
    assert by_content is not None
    assert by_content.peers == ("p1",)
    assert choose(variants, named="00" * 32, expected_version=None) is None
    expected = choose(variants, named=None, expected_version="1")
    assert expected is not None
    assert expected.version == "1"
    assert choose(variants, named=None, expected_version="3") is None


def test_a_game_that_is_being_changed_is_no_offer() -> None:
    assert group([offer("p1", availability=Availability.DOWNLOADING)]) == []


@given(st.permutations([offer("a"), offer("b", content=B), offer("c", version="2"), offer("d")]))
def test_the_order_of_offers_does_not_matter(offers: list[Offer]) -> None:
    assert group(offers) == group(sorted(offers, key=lambda found: found.peer_id))
