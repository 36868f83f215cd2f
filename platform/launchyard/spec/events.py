"""The ``serve.events:`` block: how much the endpoint takes of what users are said to have done."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from launchyard.spec.blocks import Block, Unit


class EventLimits(Block):
    """How many events POST events takes; more are answered 429. Each replica counts for itself."""

    per_user_per_minute: Annotated[int, Unit("events")] = Field(600, ge=1, description="Most events of one user.")
    per_sender_per_minute: Annotated[int, Unit("events")] = Field(
        60_000, ge=1, description="Most events of one sender: a shop's own server may send those of all its users."
    )
    sender_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which your proxy names the sender, such as x-forwarded-for: its last entry counts; "
        "default: the address that connects to the replica, which behind a proxy is the proxy's.",
    )
