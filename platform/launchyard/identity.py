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
MAX_VERSION_DIGITS = 9
MALFORMED = "id: is not the id of an answer. Send the 'id' that a prediction came with."
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
        namespace, product, version, payload = _split(text)
        signed = PURPOSE + text.rpartition(".")[0].encode() + payload[:-MAC_BYTES]
        if not hmac.compare_digest(payload[-MAC_BYTES:], self._mac(signed)):
            raise RequestError("id: was not given out by this server. Send the id of an answer unchanged.")
        if namespace != self._namespace:
            raise RequestError(f"id: belongs to namespace '{namespace}', not to '{self._namespace}'. Send it there.")
        if product != self._product:
            raise RequestError(
                f"id: belongs to an answer of '{product}', not of '{self._product}'. Send it to /{product}/feedback."
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


def _split(text: str) -> tuple[str, str, int, bytes]:
    """Return namespace, product, version and payload of what looks like an id; nothing is verified yet."""
    namespace, product, version, token = text.split(".") if text.isascii() and text.count(".") == 3 else ("",) * 4
    if not version.isdigit() or len(version) > MAX_VERSION_DIGITS or len(token) != TOKEN_CHARACTERS:
        raise RequestError(MALFORMED)
    try:
        payload = urlsafe_b64decode(token)
    except ValueError as err:
        raise RequestError(MALFORMED) from err
    # Decoding skips characters outside the alphabet; only the one spelling that we write is ours.
    if urlsafe_b64encode(payload).decode() != token:
        raise RequestError(MALFORMED)
    return namespace, product, int(version), payload
