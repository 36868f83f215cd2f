"""What a replica holds of bodies has a bound."""

from __future__ import annotations

import pytest

from launchyard_serving.requests.held_bytes import FREE_BYTES, BytesFull, HeldBytes


def test_large_bodies_share_a_bound_and_give_back_what_they_held() -> None:
    held = HeldBytes()

    with held.room(100_000) as first, held.room(100_000) as second:
        first(60_000)
        with pytest.raises(BytesFull):
            second(60_000)

    assert held.total == 0


def test_a_small_body_always_has_room() -> None:
    held = HeldBytes()

    with held.room(100_000) as large, held.room(100_000) as small:
        large(100_000)
        small(FREE_BYTES)

        assert held.total == 100_000 + FREE_BYTES


def test_a_body_that_comes_in_pieces_is_refused_at_the_piece_that_is_too_much() -> None:
    held = HeldBytes()

    with held.room(100_000) as other, held.room(100_000) as own:
        other(80_000)
        for _ in range(2):
            own(10_000)
        with pytest.raises(BytesFull):
            own(10_000)
