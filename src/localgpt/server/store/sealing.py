"""One value at a time: AES-256-GCM under a key of its own, bound to the place it is stored at.

The place (table, column, row) goes into the derivation of the key and is authenticated with the text, so a
ciphertext that is copied elsewhere does not open. A key per place also keeps the number of random nonces
under one key far below the 2^32 that NIST SP 800-38D allows. Not hidden: how long a value is, when and how
often it is written, ids, and who owns it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from localgpt.errors import StoreError

__all__ = ["KEY_BYTES", "NONCE_BYTES", "Sealer", "renewed"]

KEY_BYTES = 32
NONCE_BYTES = 12
_PLAIN, _SEALED = b"\x00", b"\x01"  # first byte of every stored value


class Sealer:
    """Closes and opens values.

    Args:
        data_key: 32 random bytes; everything else is derived from them. After a rotation 64: the first half
            seals, and the second makes fingerprints as before: what they were made of is stored nowhere.
        encrypt: False stores values as they are, and refuses sealed ones.
    """

    def __init__(self, data_key: bytes, *, encrypt: bool) -> None:
        self._seals, self._marks = data_key[:KEY_BYTES], data_key[-KEY_BYTES:]
        self.encrypts = encrypt

    def seal(self, plain: bytes, *place: str) -> bytes:
        """The stored form of `plain`; `place` is table, column and row."""
        if not self.encrypts:
            return _PLAIN + plain
        name = _encode(place)
        nonce = secrets.token_bytes(NONCE_BYTES)
        return _SEALED + nonce + AESGCM(_subkey(self._seals, name)).encrypt(nonce, plain, name)

    def unseal(self, stored: bytes, *place: str) -> bytes:
        """The value that `seal` closed for the same place.

        Raises:
            StoreError: it was changed, moved, or written under another key.
        """
        kind, rest = stored[:1], stored[1:]
        if kind == _PLAIN and not self.encrypts:
            return rest
        name = _encode(place)
        try:
            if kind != _SEALED or not self.encrypts:
                raise InvalidTag
            return AESGCM(_subkey(self._seals, name)).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], name)
        except (InvalidTag, ValueError):
            raise StoreError(
                f"a stored value ({place[0]}.{place[1]}) was damaged or changed; restore a backup"
            ) from None

    def seal_text(self, text: str, *place: str) -> bytes:
        """`seal` for text."""
        return self.seal(text.encode(), *place)

    def unseal_text(self, stored: bytes, *place: str) -> str:
        """`unseal` for text."""
        return self.unseal(stored, *place).decode()

    def fingerprint(self, purpose: str, data: bytes) -> bytes:
        """A keyed SHA-256 of `data`, 32 bytes: equal for equal data, and telling nothing without the key."""
        return hmac.digest(_subkey(self._marks, _encode(("fingerprint", purpose))), data, hashlib.sha256)


def renewed(data_key: bytes) -> bytes:
    """A data key that seals anew and makes the same fingerprints."""
    return secrets.token_bytes(KEY_BYTES) + data_key[-KEY_BYTES:]


def _subkey(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(key)


def _encode(place: tuple[str, ...]) -> bytes:
    """One byte string per place: `("a", "b")` and `("ab",)` differ."""
    return json.dumps(place, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
