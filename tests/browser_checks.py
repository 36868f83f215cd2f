"""What every page of ours must fulfil in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
MIN_CONTRAST = 4.5
"""WCAG 2.1, success criterion 1.4.3 (AA), for text of normal size."""

UNTRANSLATED = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!/\\p{L}/u.test(node.data) || parent.closest("script, style, .en, .zh, [translate=no]")) continue;
    found.push(node.data.trim());
  }
  return found;
}"""
"""Texts with letters that are neither in one of the two languages nor marked as data."""

SHOWN_LANGUAGES = """() => {
  const shown = (element) => element.checkVisibility();
  return {en: [...document.querySelectorAll(".en")].filter(shown).length,
          zh: [...document.querySelectorAll(".zh")].filter(shown).length};
}"""

LOW_CONTRAST = """(least) => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(srgb") ? 1 : 255;
    return {rgb: numbers.slice(0, 3).map((value) => value / scale), alpha: numbers[3] ?? 1};
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.alpha === 1) return colour.rgb;
    }
    return [1, 1, 1];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = new Set();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color).rgb;
    const [low, high] = [luminance(ink), luminance(background(element))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < least) found.add(`${element.className.baseVal ?? element.className}: ${node.data.trim()}: ${ratio}`);
  }
  return [...found];
}"""


class Visit:
    """A page that is open, and what it did since."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def untranslated(self) -> list[str]:
        return list(self.page.evaluate(UNTRANSLATED))

    def shown_languages(self) -> dict[str, int]:
        """Number of visible texts in each language."""
        return dict(self.page.evaluate(SHOWN_LANGUAGES))

    def low_contrasts(self) -> list[str]:
        """Visible texts that cannot be read well."""
        return list(self.page.evaluate(LOW_CONTRAST, MIN_CONTRAST))

    def overflow_px(self) -> int:
        """By how much the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextmanager
def start_chromium() -> Iterator[Browser]:
    """Yield Debian's Chromium, driven by playwright."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM}: no Chromium here. Install it with: make system-deps")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def open_page(
    browser: Browser,
    url: str,
    *,
    locale: str = "en-GB",
    colours: Literal["light", "dark"] = "light",
    width_px: int = 1280,
    **options: Any,
) -> Iterator[Visit]:
    """Yield a page in a context of its own."""
    context = browser.new_context(
        locale=locale, color_scheme=colours, viewport={"width": width_px, "height": 900}, **options
    )
    visit = Visit(context.new_page())
    visit.page.goto(url)
    yield visit
    context.close()
