from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from launchyard.foreign_text import find_unprintable
from launchyard_serving.replica.logs import make_logs_printable

EVIL = "\x1b[2J \u202etxt"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a handler writes that some library set up."""
    before = logging.getLogRecordFactory()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger("somebody.else").addHandler(handler)
    make_logs_printable()
    yield written
    logging.setLogRecordFactory(before)
    logging.getLogger("somebody.else").removeHandler(handler)


def test_messages_and_tracebacks_of_any_logger_hold_no_codes_for_the_terminal(log: io.StringIO) -> None:
    logger = logging.getLogger("somebody.else")

    logger.warning("asked for %s", EVIL)
    try:
        raise ValueError(f"cannot read {EVIL}")
    except ValueError:
        logger.exception("failed on %s", {"text": EVIL})

    shown = log.getvalue()
    assert find_unprintable(shown) == []
    assert r"asked for \x1b[2J \u202etxt" in shown
    assert r"ValueError: cannot read \x1b[2J \u202etxt" in shown
    assert shown.count("\n") > 3
