"""Entropy from a seed: the same identities, epochs, instances and tokens in every run.

Worthless as a secret, and only for peers that never leave the process.
"""

from __future__ import annotations

import random
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# The commonest length of a P-256 signature in DER: every second one.
_SIGNATURE_BYTES: Final = 71


class SeededEntropy:
    """`Entropy` of one virtual host: a stream of its own, whatever other hosts do."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def token_bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def new_key(self) -> ec.EllipticCurvePrivateKey:
        key = ec.derive_private_key(self._random.randrange(1, _P256_ORDER), ec.SECP256R1())
        return SteadyKey(key)

    def signing_key(self, key: ec.EllipticCurvePrivateKey) -> ec.EllipticCurvePrivateKey:
        return key if isinstance(key, SteadyKey) else SteadyKey(key)


class SteadyKey(ec.EllipticCurvePrivateKey):
    """A key whose signatures all have one length.

    A signature's bytes differ in every run (TLS signs its own random numbers), which harms nobody;
    a length that differs would move congestion windows and, with a rate, arrival times.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(
        self,
        data: bytes | bytearray | memoryview,
        signature_algorithm: ec.EllipticCurveSignatureAlgorithm,
    ) -> bytes:
        # One try in two fits: never in this many is no chance anyone will live to see.
        for _ in range(256):
            signature = self._key.sign(data, signature_algorithm)
            if len(signature) == _SIGNATURE_BYTES:
                return signature
        raise RuntimeError("no signature of the usual length")

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        return self._key.exchange(algorithm, peer_public_key)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._key.curve

    @property
    def key_size(self) -> int:
        return self._key.key_size

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        return self._key.private_numbers()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        return self._key.private_bytes(encoding, format, encryption_algorithm)

    def __copy__(self) -> SteadyKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> SteadyKey:
        return self
