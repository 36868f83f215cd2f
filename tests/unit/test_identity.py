from __future__ import annotations

import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchyard.errors import RequestError
from launchyard.privacy.pseudonyms import MAC_BYTES, NONCE_BYTES, TIME_BYTES, IdentitySigner, pseudonymise

KEY = b"k" * 32
OLD_ID = "default.reviews.3.AaIFyihRsZsGpDDTgMnqdKrdHHk0ImTriH0BbyJ0"
"""Given out by schema 1 of the records, before ids could name a user."""


def make_signer(product: str = "reviews", namespace: str = "default", key: bytes = KEY) -> IdentitySigner:
    return IdentitySigner(key, namespace=namespace, product=product)


def test_an_id_says_what_answered_and_when() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    signed = make_signer().sign(3)

    said = make_signer().verify(signed)

    assert (said.namespace, said.product, said.version) == ("default", "reviews", 3)
    assert before <= said.predicted_at <= datetime.now(UTC)


def test_ids_are_short_and_need_no_escaping_in_a_url() -> None:
    signed = make_signer("a" * 40, "b" * 40).sign(999_999)

    assert re.fullmatch(r"[A-Za-z0-9._-]+", signed)
    assert len(signed) < 200
    assert len(make_signer().sign(1)) <= 64


def test_no_two_answers_share_an_id() -> None:
    signer = make_signer()

    assert len({signer.sign(1) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("subject", [None, "0123456789abcdef" * 2], ids=["without a user", "with a user"])
@given(position=st.integers(0, 79), character=st.characters(codec="utf-8"))
def test_no_changed_character_goes_unnoticed(subject: str | None, position: int, character: str) -> None:
    signed = make_signer().sign(1, subject)
    forged = signed[:position] + character + signed[position + 1 :]
    if forged == signed:
        return

    with pytest.raises(RequestError):
        make_signer().verify(forged)


@given(st.text())
def test_any_text_is_refused_with_a_message_for_the_caller(text: str) -> None:
    with pytest.raises(RequestError, match=r"^id: "):
        make_signer().verify(text)


@pytest.mark.parametrize("text", ["", "...", "\ud800.a.1." + "A" * 40, "a.b.1." + "=" * 40, "a.b.²." + "A" * 40])
def test_what_no_text_strategy_thinks_of_is_refused_too(text: str) -> None:
    with pytest.raises(RequestError, match=r"^id: is not the id of an answer"):
        make_signer().verify(text)


def test_an_id_signed_with_another_key_is_forged() -> None:
    with pytest.raises(RequestError, match="not given out by this server"):
        make_signer().verify(make_signer(key=b"x" * 32).sign(1))


def test_an_id_of_another_product_says_where_it_belongs() -> None:
    with pytest.raises(RequestError, match="belongs to an answer of 'intents', not of 'reviews'"):
        make_signer().verify(make_signer("intents").sign(1))


def test_an_id_of_another_namespace_is_refused() -> None:
    with pytest.raises(RequestError, match="namespace 'other'"):
        make_signer().verify(make_signer(namespace="other").sign(1))


def test_an_id_from_the_future_is_refused_but_a_little_skew_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = time.time_ns()
    signer = make_signer()
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 59 * 10**9)
    slightly = signer.sign(1)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 61 * 10**9)
    far = signer.sign(1)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)

    signer.verify(slightly)
    with pytest.raises(RequestError, match="from the future"):
        signer.verify(far)


def test_signing_and_verifying_cost_little_beside_a_prediction() -> None:
    signer = make_signer()
    times_s = []
    for _ in range(2000):
        start = time.perf_counter()
        signer.verify(signer.sign(1))
        times_s.append(time.perf_counter() - start)

    # The fastest tenth is what it costs; the rest is what else the machine was doing.
    assert sorted(times_s)[200] < 40e-6


def test_an_id_carries_the_user_whom_the_answer_went_to() -> None:
    subject = pseudonymise(KEY, "reviews", "ann")

    assert make_signer().verify(make_signer().sign(3, subject)).subject == subject
    assert make_signer().verify(make_signer().sign(3)).subject is None
    assert len(make_signer("a" * 40, "b" * 40).sign(999_999_999, subject)) < 200


def test_without_the_key_nobody_sees_that_two_answers_went_to_one_user() -> None:
    subject = pseudonymise(KEY, "reviews", "ann")
    payloads = [urlsafe_b64decode(make_signer().sign(1, subject).rpartition(".")[2] + "==") for _ in range(100)]

    assert all(bytes.fromhex(subject) not in payload for payload in payloads)
    assert len({payload[TIME_BYTES + NONCE_BYTES : -MAC_BYTES] for payload in payloads}) == 100


def test_an_id_of_before_users_were_in_ids_still_verifies() -> None:
    said = IdentitySigner(KEY, namespace="default", product="reviews").verify(OLD_ID)

    assert (said.version, said.subject) == (3, None)


def test_a_user_that_is_cut_out_of_an_id_is_noticed() -> None:
    names, _, token = make_signer().sign(1, pseudonymise(KEY, "reviews", "ann")).rpartition(".")
    payload = urlsafe_b64decode(token + "==")
    cut = payload[: TIME_BYTES + NONCE_BYTES] + payload[-MAC_BYTES:]

    with pytest.raises(RequestError, match="not given out by this server"):
        make_signer().verify(f"{names}.{urlsafe_b64encode(cut).decode()}")


def test_a_pseudonym_depends_on_key_product_and_user_and_on_nothing_else() -> None:
    pseudonyms = [
        pseudonymise(key, product, user)
        for key in (KEY, b"x" * 32)
        for product in ("reviews", "films")
        for user in ("7", "07", "Ann", "ann", "", "\ud800", "名前")
    ]

    assert len(set(pseudonyms)) == len(pseudonyms)
    assert all(re.fullmatch("[0-9a-f]{32}", pseudonym) for pseudonym in pseudonyms)
    assert pseudonymise(KEY, "reviews", "ann") == "a30032ac462a10624c1daba74c071c3b"
