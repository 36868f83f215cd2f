"""Identities of answers: an id says which product and version answered and when, and proves that we said so.

    <namespace>.<product>.<version>.<base64url of: 6 bytes time in ms, 8 random bytes, 16 bytes HMAC-SHA256>

Feedback on an answer can so be accepted at once, without waiting for the prediction log. The HMAC is cut to 128 bits,
the shortest that RFC 2104 section 5 advises. A key belongs to one namespace and is kept in the records.
"""

from __future__ import annotations

import hmac
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime

from launchyard.errors import RequestError

PURPOSE = b"launchyard output id 1\0"
TIME_BYTES = 6
NONCE_BYTES = 8
MAC_BYTES = 16
TOKEN_CHARACTERS = (TIME_BYTES + NONCE_BYTES + MAC_BYTES) * 4 // 3
MAX_SKEW_MS = 60_000
"""How far the clock of the replica that answered may be ahead of ours."""


@dataclass(frozen=True)
class OutputId:
    """What a verified id says."""

    namespace: str
    product: str
    version: int
    predicted_at: datetime


class IdentitySigner:
    """Signs and verifies the ids of one product's answers."""

    def __init__(self, key: bytes, *, namespace: str, product: str) -> None:
        self._key = key
        self._namespace = namespace
        self._product = product

    def sign(self, version: int) -> str:
        """Return a new id of an answer that ``version`` gives now."""
        return self._sign(version, time.time_ns() // 1_000_000, os.urandom(NONCE_BYTES))

    def verify(self, text: str) -> OutputId:
        """Return what ``text`` says.

        Raises:
            RequestError: it is malformed, forged, from the future, or the id of another product's answer.
        """
        names, _, token = text.rpartition(".")
        namespace, product, version = _split_names(names)
        payload = _decode_token(token)
        signed = PURPOSE + names.encode() + payload[:-MAC_BYTES]
        if not hmac.compare_digest(payload[-MAC_BYTES:], self._mac(signed)):
            raise RequestError("id: was not given out by this server. Send the id of an answer unchanged.")
        if (namespace, product) != (self._namespace, self._product):
            raise RequestError(
                f"id: belongs to an answer of '{product}', not of '{self._product}'. Send it to /{product}/."
            )
        time_ms = int.from_bytes(payload[:TIME_BYTES], "big")
        if time_ms > time.time_ns() // 1_000_000 + MAX_SKEW_MS:
            raise RequestError("id: is from the future. Check the clocks of the machines that serve.")
        return OutputId(namespace, product, version, datetime.fromtimestamp(time_ms / 1000, UTC))

    def _sign(self, version: int, time_ms: int, nonce: bytes) -> str:
        names = f"{self._namespace}.{self._product}.{version}"
        body = time_ms.to_bytes(TIME_BYTES, "big") + nonce
        token = urlsafe_b64encode(body + self._mac(PURPOSE + names.encode() + body))
        return f"{names}.{token.decode()}"

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._key, message, "sha256")[:MAC_BYTES]


def _split_names(names: str) -> tuple[str, str, int]:
    parts = names.split(".")
    if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) < 10):
        raise RequestError(_malformed())
    return parts[0], parts[1], int(parts[2])


def _decode_token(token: str) -> bytes:
    if len(token) != TOKEN_CHARACTERS or not token.isascii():
        raise RequestError(_malformed())
    payload = urlsafe_b64decode(token)
    # Characters outside the alphabet are skipped in decoding; only the one spelling that we write is ours.
    if urlsafe_b64encode(payload).decode() != token:
        raise RequestError(_malformed())
    return payload


def _malformed() -> str:
    return "id: is not the id of an answer. Send the 'id' that a prediction came with."
