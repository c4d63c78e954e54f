"""A peer's identity: its key, its certificate, and the peer_id derived from the key.

Pure but for the random source of key generation; keeping it on disk is `lanspread.fs.state`.
Source: ARCHITECTURE.md, "Identity".
"""

from __future__ import annotations

import datetime
import hashlib
import uuid

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lanspread.seams import Entropy

HELLO_DOMAIN = b"lanspread hello proof v1\x00"


class IdentityError(Exception):
    """A key or certificate that cannot be used; the text says what is wrong with it."""


@attrs.frozen
class Identity:
    """The key pair of this peer. `peer_id` and `public_key` follow from it."""

    private_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate
    public_key: bytes
    peer_id: str


def public_key_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The SubjectPublicKeyInfo of a key, DER (RFC 5480)."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def peer_id_of(public_key: bytes) -> str:
    """The peer_id of a SubjectPublicKeyInfo: SHA-256, its first 128 bits as a UUIDv8 (RFC 9562)."""
    raw = bytearray(hashlib.sha256(public_key).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def is_peer_id(text: str) -> bool:
    """Whether `text` has the one form that `peer_id_of` makes."""
    try:
        value = uuid.UUID(text)
    except ValueError:
        return False
    return str(value) == text and value.version == 8 and value.variant == uuid.RFC_4122


def new_identity(entropy: Entropy) -> Identity:
    """A fresh P-256 key and a self-signed certificate for it."""
    key = entropy.new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lanspread")])
    # Fixed dates: nobody checks them (the key is the identity), and a wrong clock must not matter.
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(_serial_number(entropy))
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC))
        .sign(key, hashes.SHA256())
    )
    return _identity(key, certificate)


def _serial_number(entropy: Entropy) -> int:
    # As cryptography makes them: positive, and at most 20 bytes.
    return int.from_bytes(entropy.token_bytes(20)) >> 1


def dump_identity(identity: Identity) -> tuple[bytes, bytes]:
    """(key, certificate) as PEM, for two files readable by their owner alone."""
    return (
        identity.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        identity.certificate.public_bytes(serialization.Encoding.PEM),
    )


def load_identity(key_pem: bytes, certificate_pem: bytes) -> Identity:
    """Read back what `dump_identity` made. Raises `IdentityError`."""
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except (ValueError, TypeError) as error:
        raise IdentityError("is damaged: it is not a key and certificate in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("holds a key that is not a P-256 key")
    found = certificate.public_key()
    if not isinstance(found, ec.EllipticCurvePublicKey) or public_key_bytes(
        found
    ) != public_key_bytes(key.public_key()):
        raise IdentityError("holds a certificate that does not belong to the key")
    return _identity(key, certificate)


def _identity(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Identity:
    public_key = public_key_bytes(key.public_key())
    return Identity(key, certificate, public_key, peer_id_of(public_key))


def sign_hello(identity: Identity, listener_public_key: bytes, body: bytes) -> bytes:
    """The dialer's proof: ECDSA-SHA256 (DER) over domain, the listener's key digest, and body.

    It names the listener's key, so it is worthless to anyone it is replayed or relayed to.
    """
    return identity.private_key.sign(_signed(listener_public_key, body), ec.ECDSA(hashes.SHA256()))


def check_hello(
    public_key_untrusted: bytes, proof_untrusted: bytes, our_public_key: bytes, body: bytes
) -> str:
    """Check a dialer's proof and return the peer_id of its key. Raises `IdentityError`."""
    try:
        key = serialization.load_der_public_key(public_key_untrusted)
    except (ValueError, TypeError) as error:
        raise IdentityError("the key is not a public key") from error
    except Exception as error:  # cryptography raises UnsupportedAlgorithm and others on odd input
        raise IdentityError("the key is of no known kind") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the key is not a P-256 key")
    # One encoding per key, or one key could have several peer_ids.
    if public_key_bytes(key) != public_key_untrusted:
        raise IdentityError("the key is not in its canonical form")
    try:
        key.verify(proof_untrusted, _signed(our_public_key, body), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise IdentityError("the proof does not belong to the key") from error
    return peer_id_of(public_key_untrusted)


def _signed(listener_public_key: bytes, body: bytes) -> bytes:
    return HELLO_DOMAIN + hashlib.sha256(listener_public_key).digest() + body
