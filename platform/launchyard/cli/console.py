"""The console of all commands: tables and lines of others' words that cannot make the terminal do anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from launchyard.foreign_text import make_printable


class PlainConsole(Console):
    """A console for tables and lines that hold what others wrote: only its own styles reach the terminal as codes."""

    def render_str(  # noqa: PLR0913 - rich's own signature
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: Callable[[str | Text], Text] | None = None,
    ) -> Text:
        """Return a text to be shown, with escapes in it; before it is measured, so that columns fit."""
        return super().render_str(
            make_printable(text),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=emoji,
            markup=markup,
            highlight=highlight,
            highlighter=highlighter,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is written to the terminal, whatever it was made from."""
        for segment in super().render(renderable, options):
            # Rich moves the cursor by control segments, and colours are styles: no other text needs a code.
            yield segment if segment.control else segment._replace(text=make_printable(segment.text))
