"""The launch report in Chromium: it renders, asks for nothing, and reads well in both languages and colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from browser_checks import open_page, start_chromium
from launchyard.report import render_report
from launchyard.report.charts import SHADES
from report_samples import full_inputs, many_label_inputs, minimal_inputs, refused_inputs

pytestmark = pytest.mark.browser

REPORTS = {
    "full": full_inputs,
    "refused": refused_inputs,
    "minimal": minimal_inputs,
    "many_labels": many_label_inputs,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for name, make in REPORTS.items():
        path: Path = folder / f"{name}.html"
        path.write_text(render_report(make()), encoding="utf-8")
        found[name] = path.as_uri()
    return found


@pytest.mark.parametrize("name", REPORTS)
def test_report_asks_for_nothing_and_complains_of_nothing(browser: Browser, urls: dict[str, str], name: str) -> None:
    with open_page(browser, urls[name]) as visit:
        visit.page.get_by_text("中文").click()
        visit.page.get_by_text("深色", exact=True).click()

        assert visit.requests == [urls[name]]
        assert visit.complaints == []


def test_all_charts_have_a_size_and_a_name(browser: Browser, urls: dict[str, str]) -> None:
    with open_page(browser, urls["full"]) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        plots = visit.page.get_by_role("img").all()
        bars = visit.page.locator("td.bar svg").all()
        boxes = [one.bounding_box() for one in plots + bars]

        assert len(plots) == 7
        assert len(bars) >= 10
        assert all(box is not None and box["width"] > 50 and box["height"] > 10 for box in boxes)
        for plot in plots:
            expect(plot).to_have_accessible_name(re.compile(r"\w"))
        assert visit.page.locator(".heat td").count() == 4 + 1


@pytest.mark.parametrize("name", REPORTS)
def test_every_visible_text_is_there_in_both_languages(browser: Browser, urls: dict[str, str], name: str) -> None:
    with open_page(browser, urls[name]) as visit:
        english = visit.shown_languages()
        visit.page.get_by_text("中文").click()
        chinese = visit.shown_languages()

        assert visit.untranslated() == []
        assert english["zh"] == chinese["en"] == 0
        assert english["en"] == chinese["zh"] > 40


def test_language_follows_the_browser_and_the_choice_is_remembered(browser: Browser, urls: dict[str, str]) -> None:
    with open_page(browser, urls["full"], locale="zh-CN") as visit:
        expect(visit.page.locator("html")).to_have_attribute("lang", "zh-Hans")
        expect(visit.page).to_have_title("review-sentiment：可以上线")

        visit.page.get_by_text("English", exact=True).click()
        expect(visit.page.locator("html")).to_have_attribute("lang", "en")
        visit.page.reload()

        expect(visit.page).to_have_title("review-sentiment: It may ship")


def test_switches_work_by_keyboard(browser: Browser, urls: dict[str, str]) -> None:
    with open_page(browser, urls["full"]) as visit:
        visit.page.locator("#language-en").focus()
        visit.page.keyboard.press("ArrowRight")

        assert visit.shown_languages()["en"] == 0

        visit.page.locator("#theme-auto").focus()
        visit.page.keyboard.press("ArrowRight")
        visit.page.keyboard.press("ArrowRight")

        expect(visit.page.locator("html")).to_have_css("color-scheme", "dark")


def test_switches_work_without_scripts(browser: Browser, urls: dict[str, str]) -> None:
    with open_page(browser, urls["full"], java_script_enabled=False) as visit:
        visit.page.get_by_text("中文").click()

        expect(visit.page.get_by_text("可以上线", exact=True)).to_be_visible()
        expect(visit.page.get_by_text("It may ship", exact=True)).to_be_hidden()


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", ["full", "refused"])
def test_all_text_has_enough_contrast(
    browser: Browser, urls: dict[str, str], name: str, colours: Literal["light", "dark"]
) -> None:
    with open_page(browser, urls[name], colours=colours) as visit:
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")

        assert visit.low_contrasts() == []
        assert background == {"light": "rgb(247, 247, 245)", "dark": "rgb(18, 20, 23)"}[colours]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_shade_of_a_heatmap_can_be_read(
    browser: Browser, urls: dict[str, str], colours: Literal["light", "dark"]
) -> None:
    with open_page(browser, urls["full"], colours=colours) as visit:
        cell = "<td class='s{shade}'>12</td>"
        cells = "".join(cell.format(shade=shade) for shade in range(SHADES + 1))
        visit.page.evaluate("(cells) => { document.querySelector('.heat tbody tr').innerHTML = cells; }", cells)

        assert visit.page.locator(".heat tbody tr").first.locator("td").count() == SHADES + 1
        assert visit.low_contrasts() == []


@pytest.mark.parametrize(
    ("name", "locale"), [("full", "en-GB"), ("full", "zh-CN"), ("refused", "zh-CN"), ("many_labels", "en-GB")]
)
def test_page_fits_a_phone(browser: Browser, urls: dict[str, str], name: str, locale: str) -> None:
    with open_page(browser, urls[name], width_px=360, locale=locale) as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")

        assert visit.overflow_px() == 0


def test_script_in_a_text_does_not_run(browser: Browser, urls: dict[str, str]) -> None:
    with open_page(browser, urls["full"]) as visit:
        expect(visit.page.get_by_text("<script>window.hacked")).to_be_visible()

        assert visit.page.evaluate("window.hacked") is None


def test_own_policy_stops_a_script_that_was_put_in(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "tampered.html"
    path.write_text(render_report(full_inputs()).replace("<main>", "<main><script>window.hacked = 1</script>"), "utf-8")

    with open_page(browser, path.as_uri()) as visit:
        assert visit.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in one for one in visit.complaints)


def test_report_prints_dark_on_white_without_switches(browser: Browser, urls: dict[str, str]) -> None:
    with open_page(browser, urls["full"], colours="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")

        expect(visit.page.locator(".switches")).to_be_hidden()
        assert visit.low_contrasts() == []
        assert visit.page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 30, 35)"
