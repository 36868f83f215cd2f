from __future__ import annotations

import pytest

from launchyard_serving.requests.rates import Rates, name_sender


def test_a_full_bucket_refuses_until_it_has_leaked_and_says_how_long_that_takes() -> None:
    rates = Rates()

    assert rates.find_wait("a", per_minute=60, now_s=0) == 0
    rates.count({"a": 60}, per_minute=60, now_s=0)

    assert rates.find_wait("a", per_minute=60, now_s=0) == 1
    assert rates.find_wait("b", per_minute=60, now_s=0) == 0
    assert rates.find_wait("a", per_minute=60, now_s=1.5) == 0


def test_a_request_larger_than_the_allowance_is_taken_once_and_paid_for_afterwards() -> None:
    rates = Rates()
    rates.count({"a": 1000}, per_minute=60, now_s=0)

    wait_s = rates.find_wait("a", per_minute=60, now_s=0)

    assert wait_s == 941
    assert rates.find_wait("a", per_minute=60, now_s=wait_s - 2) > 0
    assert rates.find_wait("a", per_minute=60, now_s=wait_s) == 0


def test_over_time_no_more_is_taken_than_the_limit_says() -> None:
    rates, taken = Rates(), 0
    for second in range(600):
        while not rates.find_wait("a", per_minute=120, now_s=second):
            rates.count({"a": 7}, per_minute=120, now_s=second)
            taken += 7

    assert 1200 <= taken <= 1200 + 120 + 7


def test_memory_is_bounded_and_who_was_quiet_longest_is_forgotten_first() -> None:
    rates = Rates(capacity=2)
    for key in ("a", "b", "a", "c"):
        rates.count({key: 60}, per_minute=60, now_s=0)

    assert [rates.find_wait(key, per_minute=60, now_s=0) > 0 for key in "abc"] == [True, False, True]


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:443", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ("[2001:db8:1:2:bbbb::1]:443", "2001:db8:1:2::"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_a_sender_is_an_address_without_a_port_and_of_ipv6_the_network(address: str, sender: str) -> None:
    assert name_sender(address) == sender
