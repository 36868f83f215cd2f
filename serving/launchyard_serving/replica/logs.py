"""Log records of a replica: what they quote of requests cannot make the terminal that shows them do anything."""

from __future__ import annotations

import logging

from launchyard.foreign_text import make_printable


class PrintableRecord(logging.LogRecord):
    """A record whose message and traceback are shown with escapes in place of what a terminal would obey."""

    def getMessage(self) -> str:  # noqa: N802 - the library's name
        """Return the message with its arguments."""
        return make_printable(super().getMessage())

    @property
    def exc_text(self) -> str | None:
        """The traceback, once a formatter has written it."""
        return self._exc_text

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        self._exc_text = None if text is None else make_printable(text)


def make_logs_printable() -> None:
    """Let all loggers of this process, those of libraries too, make such records from now on."""
    logging.setLogRecordFactory(PrintableRecord)
