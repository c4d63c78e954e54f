"""How a running peer shows who it is before anybody gives it the token.

A peer that was killed leaves its `api.json`, and another program may have its port by then. So who
comes by that file asks first for a proof that only the holder of the token can give, for a number
that was never used. Source: docs/api.md, "Who answers".
"""

from __future__ import annotations

import hashlib
import hmac
import re

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,128}")
_DOMAIN = b"lanspread api"


def is_nonce(text: str) -> bool:
    """Whether this will do as a number that was never used."""
    return _NONCE.fullmatch(text) is not None


def prove(token: str, instance: str, nonce: str) -> str:
    """The proof, in hex: HMAC-SHA256 with the token over domain, instance and nonce."""
    message = b"\0".join((_DOMAIN, instance.encode("utf-8", "replace"), nonce.encode()))
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


def is_proof(proof_untrusted: str, token: str, instance: str, nonce: str) -> bool:
    """Whether who answered knows the token; in constant time."""
    expected = prove(token, instance, nonce)
    return hmac.compare_digest(proof_untrusted.encode("utf-8", "replace"), expected.encode())
