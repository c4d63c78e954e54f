"""What is offered of a game, grouped by content, and which of it to fetch. Pure.

Source: ARCHITECTURE.md, "Variants".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from lanspread.model import GameSummary, version_key


@attrs.frozen
class Announced:
    """What a source said of a game in its library: the version, and the hashes that it knew."""

    version: str
    manifest_hash: bytes | None
    content_hash: bytes | None

    @property
    def key(self) -> tuple[bytes, bytes] | None:
        """Under which its manifest is known, once it was verified."""
        if self.manifest_hash is None or self.content_hash is None:
            return None
        return self.manifest_hash, self.content_hash


@attrs.frozen
class Offer:
    """One peer's offer. `host` is where its packets come from: one vote per host."""

    peer_id: str
    host: str
    summary: GameSummary

    @property
    def announced(self) -> Announced:
        summary = self.summary
        return Announced(summary.eti_version, summary.manifest_hash, summary.content_hash)


@attrs.frozen(kw_only=True)
class Variant:
    """Offers with one version and, as far as it is known, one content."""

    version: str
    manifest_hash: bytes
    content_hash: bytes | None
    size: int
    offers: tuple[Offer, ...]

    @property
    def announced(self) -> Announced:
        return Announced(self.version, self.manifest_hash, self.content_hash)

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(sorted({offer.peer_id for offer in self.offers}))

    def is_content_of(self, manifest_hash: bytes | None, content_hash: bytes | None) -> bool:
        """Whether what has these hashes is this, as far as is known."""
        if content_hash is None or self.content_hash is None:
            return manifest_hash == self.manifest_hash
        return content_hash == self.content_hash

    @property
    def votes(self) -> int:
        return len({offer.host for offer in self.offers})


# (version, manifest_hash, content_hash or None)
_Key = tuple[str, bytes, bytes | None]


def group(offers: Iterable[Offer]) -> list[Variant]:
    """All variants, best first: newest version, then most votes.

    An offer whose content_hash is not known yet joins the variants of its manifest_hash, if there
    are any: each block is verified against the reference whoever sent it.
    """
    usable = [offer for offer in offers if offer.summary.offered and offer.summary.manifest_hash]
    groups: dict[_Key, list[Offer]] = {}
    unknown: list[Offer] = []
    for offer in usable:
        summary = offer.summary
        if summary.content_hash is None:
            unknown.append(offer)
        else:
            assert summary.manifest_hash is not None
            key: _Key = (summary.eti_version, summary.manifest_hash, summary.content_hash)
            groups.setdefault(key, []).append(offer)
    for offer in unknown:
        summary = offer.summary
        assert summary.manifest_hash is not None
        same = [
            found
            for found in groups
            if found[:2] == (summary.eti_version, summary.manifest_hash) and found[2] is not None
        ]
        alone: _Key = (summary.eti_version, summary.manifest_hash, None)
        for known in same or [alone]:
            groups.setdefault(known, []).append(offer)
    variants = [
        Variant(
            version=version,
            manifest_hash=manifest_hash,
            content_hash=content_hash,
            size=found[0].summary.size,
            offers=tuple(sorted(found, key=lambda offer: offer.peer_id)),
        )
        for (version, manifest_hash, content_hash), found in groups.items()
    ]
    # Hashes last, so that the order is the same wherever it is computed.
    variants.sort(key=lambda v: (v.content_hash or b"", v.manifest_hash))
    variants.sort(key=lambda v: (version_key(v.version), v.votes), reverse=True)
    return variants


def choose(
    variants: Sequence[Variant], *, named: str | None, expected_version: str | None
) -> Variant | None:
    """The variant to fetch: the named one, else the catalog's version and no other, else the best.

    None if there is none. `variants` are as `group` orders them.
    """
    if named is not None:
        return by_hash(variants, named)
    if expected_version is not None:
        key = version_key(expected_version)
        variants = [variant for variant in variants if version_key(variant.version) == key]
    return variants[0] if variants else None


def by_hash(variants: Sequence[Variant], named: str) -> Variant | None:
    """The variant with this content_hash, else the best with this manifest_hash, in hex."""
    wanted = named.strip().lower()
    for variant in variants:
        if variant.content_hash is not None and variant.content_hash.hex() == wanted:
            return variant
    return next((variant for variant in variants if variant.manifest_hash.hex() == wanted), None)
