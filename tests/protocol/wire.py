"""The pure half of an independent peer: frames, hashes, identities, games in memory.

Written from docs/protocol.md alone; it must never import anything of lanspread.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cbor2
from blake3 import blake3
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ALPN = "lanspread"
PROTO_VER = 3
MAX_FRAME = 1024 * 1024
DOMAIN = b"lanspread hello proof v1\x00"

Message = dict[str, Any]


def encode(value: object) -> bytes:
    return cbor2.dumps(value, canonical=True)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def message(type: str, **fields: object) -> bytes:
    """A message in its frame."""
    return frame(encode({"type": type, **fields}))


# -- identity -------------------------------------------------------------------------------------


def spki_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def peer_id_of(spki: bytes) -> str:
    raw = bytearray(sha256(spki)[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


class Identity:
    """A fresh key, and the certificate that shows it."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.spki = spki_of(self.key.public_key())
        self.peer_id = peer_id_of(self.spki)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "independent")])
        self.certificate = (
            x509.CertificateBuilder(name, name, self.key.public_key(), 1)
            .not_valid_before(datetime.datetime(2000, 1, 1))
            .not_valid_after(datetime.datetime(2001, 1, 1))
            .sign(self.key, hashes.SHA256())
        )

    def prove(self, listener_spki: bytes, body: bytes) -> bytes:
        return self.key.sign(DOMAIN + sha256(listener_spki) + body, ec.ECDSA(hashes.SHA256()))


def proves(spki: bytes, proof: bytes, listener_spki: bytes, body: bytes) -> bool:
    key = serialization.load_der_public_key(spki)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(proof, DOMAIN + sha256(listener_spki) + body, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


# -- games ----------------------------------------------------------------------------------------


def manifest_hash_of(rows: Sequence[Sequence[Any]]) -> bytes:
    return sha256(encode([[row[0], row[1]] for row in rows]))


def content_hash_of(manifest_hash: bytes, block_size: int, digests: Sequence[bytes]) -> bytes:
    return sha256(encode([manifest_hash, block_size, list(digests)]))


def library_digest(summaries: Sequence[bytes]) -> bytes:
    rows = [[cbor2.loads(summary)["id"], sha256(summary)] for summary in summaries]
    return sha256(encode(sorted(rows, key=lambda row: row[0].encode())))


def digests_of(data: bytes, block_size: int) -> list[bytes]:
    blocks = range(0, len(data), block_size)
    return [blake3(data[offset : offset + block_size]).digest() for offset in blocks]


@dataclass
class Game:
    """A game in memory. A test that lies changes what it likes after `Game.of`.

    `rows` are [path, size, joined digests or None]; the hashes follow from `rows`, `block_size` and
    `digests`, and not from `blobs`, which is what is served. `announced` replaces fields of the
    summary, `listed` of the pages of the manifest.
    """

    id: str
    version: str
    block_size: int
    rows: list[list[Any]]
    digests: list[bytes]
    blobs: list[bytes]
    rows_per_page: int = 1_000
    digests_per_page: int = 20_000
    announced: Message = field(default_factory=dict)
    listed: Message = field(default_factory=dict)

    @classmethod
    def of(cls, id: str, version: str, files: Mapping[str, bytes], block_size: int) -> Game:
        ordered = sorted(files.items(), key=lambda item: item[0].encode())
        digests = [digests_of(data, block_size) for _, data in ordered]
        rows: list[list[Any]] = [
            [path, len(data), b"".join(known)]
            for (path, data), known in zip(ordered, digests, strict=True)
        ]
        blobs = [data for _, data in ordered]
        return cls(id, version, block_size, rows, [d for known in digests for d in known], blobs)

    @property
    def manifest_hash(self) -> bytes:
        return manifest_hash_of(self.rows)

    @property
    def content_hash(self) -> bytes:
        return content_hash_of(self.manifest_hash, self.block_size, self.digests)

    def summary(self) -> bytes:
        fields = {
            "id": self.id,
            "name": self.id,
            "eti_version": self.version,
            "size": sum(row[1] for row in self.rows),
            "downloaded": True,
            "installed": False,
            "manifest_hash": self.manifest_hash,
            "content_hash": self.content_hash,
            "availability": "ready",
        }
        return encode(fields | self.announced)

    def manifest_pages(self) -> Iterator[bytes]:
        every = self.rows_per_page
        for page, begin in enumerate(range(0, max(1, len(self.rows)), every)):
            fields = {
                "page": page,
                "more": begin + every < len(self.rows),
                "id": self.id,
                "eti_version": self.version,
                "manifest_hash": self.manifest_hash,
                "content_hash": self.content_hash,
                "block_size": self.block_size,
                "file_count": len(self.rows),
                "files": self.rows[begin : begin + every],
            }
            yield message("GameManifest", **(fields | self.listed))

    def digest_pages(self) -> Iterator[bytes]:
        every = self.digests_per_page
        for page, begin in enumerate(range(0, max(1, len(self.digests)), every)):
            yield message(
                "BlockDigests",
                page=page,
                more=begin + every < len(self.digests),
                manifest_hash=self.manifest_hash,
                block_size=self.block_size,
                digests=b"".join(self.digests[begin : begin + every]),
            )

    def flip(self, file: int, offset: int) -> None:
        """Serve one wrong byte; the digests stay those of the right one."""
        wrong = bytearray(self.blobs[file])
        wrong[offset] ^= 0xFF
        self.blobs[file] = bytes(wrong)


@dataclass
class Library:
    """Where a library stands, and what is in it."""

    games: dict[str, Game] = field(default_factory=dict)
    epoch: bytes = field(default_factory=lambda: os.urandom(16))
    rev: int = 1

    # What each revision so far held, as encoded summaries by id.
    revisions: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def remember(self) -> dict[str, bytes]:
        """What the library holds now, from now on also as this revision."""
        return self.revisions.setdefault(
            self.rev, {game.id: game.summary() for game in self.games.values()}
        )

    def delta_since(self, rev: int) -> Message | None:
        """The fields of a LibraryDelta but `peer_id`; None if that revision is not remembered."""
        before, now = self.revisions.get(rev), self.remember()
        if before is None:
            return None
        return {
            "library_epoch": self.epoch,
            "from_rev": rev,
            "to_rev": self.rev,
            "library_digest": library_digest(list(now.values())),
            "added": [data for id, data in now.items() if id not in before],
            "updated": [data for id, data in now.items() if before.get(id, data) != data],
            "removed": [id for id in before if id not in now],
        }

    def position(self) -> Message:
        return {
            "library_epoch": self.epoch,
            "library_rev": self.rev,
            "library_digest": library_digest([game.summary() for game in self.games.values()]),
        }


@dataclass
class View:
    """The other side's library as it was last applied."""

    epoch: bytes = b""
    rev: int = -1
    games: dict[str, bytes] = field(default_factory=dict)

    def apply(self, delta: Message) -> bool:
        """Whether a delta fits; if not, the view stays as it was."""
        at = (delta["library_epoch"], delta["from_rev"])
        if at != (self.epoch, self.rev) or delta["to_rev"] < delta["from_rev"]:
            return False
        games = dict(self.games)
        for id in delta["removed"]:
            if games.pop(id, None) is None:
                return False
        for kind in ("updated", "added"):
            for data in delta[kind]:
                id = cbor2.loads(data)["id"]
                if (id in games) != (kind == "updated"):
                    return False
                games[id] = data
        if library_digest(list(games.values())) != delta["library_digest"]:
            return False
        self.games, self.rev = games, delta["to_rev"]
        return True

    def replace(self, pages: Sequence[Message]) -> bool:
        """Whether a snapshot is what it says."""
        encoded = [game for page in pages for game in page["games"]]
        first = pages[0]
        if library_digest(encoded) != first["library_digest"]:
            return False
        self.epoch, self.rev = first["library_epoch"], first["library_rev"]
        self.games = {cbor2.loads(data)["id"]: data for data in encoded}
        return True
