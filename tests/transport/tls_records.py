"""TLS 1.3 records made by hand, for what no library sends (RFC 8446, sections 4.6.3, 5.2 and 7)."""

from __future__ import annotations

import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_HANDSHAKE, _APPLICATION_DATA = 22, 23
_KEY_UPDATE_NOT_REQUESTED = b"\x18\x00\x00\x01\x00"


class Records:
    """What a client sends behind its handshake, which was of TLS_AES_256_GCM_SHA384.

    `key_log` is the file that `ssl.SSLContext.keylog_filename` names.
    """

    def __init__(self, key_log: Path) -> None:
        (line,) = (
            line
            for line in key_log.read_text().splitlines()
            if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")
        )
        self._secret = bytes.fromhex(line.split()[2])
        self._sequence = 0

    def key_update(self) -> bytes:
        """A message without a byte for the application; what follows has other keys."""
        record = self._record(_HANDSHAKE, _KEY_UPDATE_NOT_REQUESTED)
        self._secret = self._expand(b"traffic upd", SHA384.digest_size)
        self._sequence = 0
        return record

    def data(self, data: bytes) -> bytes:
        """Bytes for the application."""
        return self._record(_APPLICATION_DATA, data)

    def _record(self, kind: int, content: bytes) -> bytes:
        inner = content + bytes([kind])
        head = struct.pack("!BHH", _APPLICATION_DATA, 0x0303, len(inner) + 16)
        iv = int.from_bytes(self._expand(b"iv", 12), "big")
        nonce = (iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return head + AESGCM(self._expand(b"key", 32)).encrypt(nonce, inner, head)

    def _expand(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\0"
        return HKDFExpand(SHA384(), length, info).derive(self._secret)
