"""Identities of answers and of people.

An answer's id says which product and version answered, when and perhaps whom, and proves that we said so:

    <namespace>.<product>.<version>.<base64url of: 6 bytes time in ms, 8 random bytes, [16 bytes user,] 16 bytes HMAC>

Feedback on an answer can so be accepted at once, without waiting for the prediction log. The user is a pseudonym under
a mask that changes with each id: only the holder of the key can tell that two answers went to the same person. HMACs
are HMAC-SHA256, cut to 128 bits, the shortest that RFC 2104 section 5 advises. A key belongs to one namespace and is
kept in the records.
"""

from __future__ import annotations

import hmac
import math
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from launchyard.data.values.canonical import format_id, list_former_ids
from launchyard.errors import RequestError

PURPOSE = b"launchyard output id 1\0"
SUBJECT_PURPOSE = b"launchyard output id 2\0"
"""Of the ids that name a user: with a purpose of its own, neither form can be read as the other."""
MASK_PURPOSE = b"launchyard output id mask 1\0"
USER_PURPOSE = b"launchyard user 1\0"

USER = "user"
"""Key of a row that names a user."""
FORMER_USERS = "former_users"
"""Key of a row that names the same user by other forms of the id: the pseudonyms of these may be what is known."""

TIME_BYTES = 6
NONCE_BYTES = 8
MAC_BYTES = 16
USER_BYTES = 16
PAYLOAD_BYTES = TIME_BYTES + NONCE_BYTES + MAC_BYTES
TOKEN_CHARACTERS = frozenset({math.ceil(size * 4 / 3) for size in (PAYLOAD_BYTES, PAYLOAD_BYTES + USER_BYTES)})
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
    subject: str | None = None
    """Pseudonym of the user who was answered, where the request named one."""


def pseudonymise(key: bytes, product: str, user: str) -> str:
    """Return the pseudonym of a product's user, 32 hex digits: without the namespace's key nobody can make it again.

    It is the same for every form of an id, see :func:`launchyard.data.values.canonical.format_id`. Each product has its
    own: who uses two of them cannot be told from what is kept of them.
    """
    return _pseudonymise(key, product, format_id(user) or user)


def list_pseudonyms(key: bytes, product: str, user: str) -> tuple[str, ...]:
    """Return the pseudonym of a product's user, first, and those of the other forms of the id that homes may hold."""
    forms = list_former_ids(user) or (user,)
    return tuple(_pseudonymise(key, product, form) for form in forms)


def name_user(key: bytes, product: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row with pseudonyms in place of the user's own id, and of the forms in which it was given before."""
    if row.get(USER) is None:
        return row
    named = {**row, USER: pseudonymise(key, product, row[USER])}
    if FORMER_USERS in row:
        named[FORMER_USERS] = tuple(_pseudonymise(key, product, form) for form in row[FORMER_USERS])
    return named


def _pseudonymise(key: bytes, product: str, user: str) -> str:
    # No name holds U+0000, so no other product and user give the same bytes. Half of a surrogate pair is an id, too.
    message = USER_PURPOSE + product.encode() + b"\0" + user.encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256")[:USER_BYTES].hex()


class IdentitySigner:
    """Signs and verifies the ids of one product's answers."""

    def __init__(self, key: bytes, *, namespace: str, product: str) -> None:
        self.key = key
        self._namespace = namespace
        self._product = product

    def sign(self, version: int, subject: str | None = None) -> str:
        """Return a new id of an answer that ``version`` gives now, to the user with the pseudonym ``subject``."""
        body = (time.time_ns() // 1_000_000).to_bytes(TIME_BYTES, "big") + os.urandom(NONCE_BYTES)
        if subject is not None:
            body += _xor(bytes.fromhex(subject), self._mask(body))
        names = f"{self._namespace}.{self._product}.{version}"
        token = urlsafe_b64encode(body + self._sign(names, body)).rstrip(b"=")
        return f"{names}.{token.decode()}"

    def pseudonymise(self, user: str) -> str:
        """Return the pseudonym of the product's user."""
        return pseudonymise(self.key, self._product, user)

    def verify(self, text: str) -> OutputId:
        """Return what ``text`` says.

        Raises:
            RequestError: it is malformed, forged, from the future, or the id of another product's answer.
        """
        namespace, product, version, payload = _split(text)
        body = payload[:-MAC_BYTES]
        # In a time that does not tell how much of a forged id is right.
        if not hmac.compare_digest(payload[-MAC_BYTES:], self._sign(text.rpartition(".")[0], body)):
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
        predicted_at = datetime.fromtimestamp(time_ms / 1000, UTC)
        return OutputId(namespace, product, version, predicted_at, self._find_subject(body))

    def _sign(self, names: str, body: bytes) -> bytes:
        purpose = PURPOSE if len(body) == TIME_BYTES + NONCE_BYTES else SUBJECT_PURPOSE
        return self._mac(purpose + names.encode() + body)

    def _find_subject(self, body: bytes) -> str | None:
        masked = body[TIME_BYTES + NONCE_BYTES :]
        return _xor(masked, self._mask(body[: TIME_BYTES + NONCE_BYTES])).hex() if masked else None

    def _mask(self, head: bytes) -> bytes:
        return self._mac(MASK_PURPOSE + head)

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self.key, message, "sha256")[:MAC_BYTES]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(USER_BYTES, "big")


def _split(text: str) -> tuple[str, str, int, bytes]:
    """Return namespace, product, version and payload of what looks like an id; nothing is verified yet."""
    # isdigit() takes digits of other scripts too, hence ASCII alone.
    namespace, product, version, token = text.split(".") if text.isascii() and text.count(".") == 3 else ("",) * 4
    if not version.isdigit() or len(version) > MAX_VERSION_DIGITS or len(token) not in TOKEN_CHARACTERS:
        raise RequestError(MALFORMED)
    try:
        payload = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError as err:
        raise RequestError(MALFORMED) from err
    # Decoding skips characters outside the alphabet; only the one spelling that we write is ours.
    if urlsafe_b64encode(payload).rstrip(b"=").decode() != token:
        raise RequestError(MALFORMED)
    return namespace, product, int(version), payload
