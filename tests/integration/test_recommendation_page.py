"""The recommender's playground in Chromium, against a product that was really trained and answers over HTTP."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from browser_checks import Visit, open_page, start_chromium
from contract_recommendation import write_base
from launchyard.bundle.manifest import write_manifest
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Device
from launchyard.data.prepare import prepare_dataset
from launchyard.evaluation.run import EvaluateJob, evaluate_candidate
from launchyard.features.publishing import publish_features
from launchyard.kinds.recommendation import KIND
from launchyard.kinds.recommendation.predict.rerank import FEATURES
from launchyard.privacy.pseudonyms import pseudonymise
from launchyard.records.events import EventLog
from launchyard.records.records import Records
from launchyard.rollout.change import release
from launchyard.settings import Settings
from launchyard_serving.replica.build import build_replica
from tiny_candidate import train_candidate
from tiny_interactions import make_spec, write_sources

pytestmark = pytest.mark.browser

SPEC = make_spec()
NUM_SHOWN = 10
HACK = "<img src=x onerror=window.hacked=1>"
"""Title of an item of its own category, that nobody took."""
HACK_CATEGORY = "inert"
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Endpoint:
    """A served product."""

    url: str
    settings: Settings

    def list_items(self, user: str) -> list[str]:
        """What the endpoint was told that ``user`` chose, oldest first."""
        with closing(Records(self.settings)) as records:
            pseudonym = pseudonymise(records.get_signing_key(), SPEC.product, user)
        with closing(EventLog(self.settings, SPEC.product)) as log:
            return [stored.event.item for stored in log.history(pseudonym, limit=100)]

    def list_ratings(self) -> list[float | None]:
        with closing(Records(self.settings)) as records:
            return [feedback.rating for feedback in records.list_feedback(SPEC.product)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """State in which a recommender that was trained on tiny data is the champion, with its features published."""
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(home=folder / "home")
    sources = write_sources(folder / "sources")
    with (sources / "items.csv").open("a", encoding="utf-8") as file:
        file.write(f"hack,{HACK},{HACK_CATEGORY},2023,9\n")
    prepare_dataset(SPEC, settings, base_dir=sources, output_dir=folder / "dataset")
    candidate_dir = train_candidate(folder, SPEC, folder / "dataset", write_base)
    bundle_dir: Path = folder / "bundle"
    evaluate_candidate(
        EvaluateJob(SPEC, folder / "dataset", candidate_dir, bundle_dir, threads=1, batch_threads=1), lambda *_: None
    )
    manifest = write_manifest(bundle_dir, SPEC, namespace="default", run_id="run-1", code_version="0", base_model=None)
    with closing(Records(settings)) as records:
        version = records.add_version(manifest, BundleStore(settings).add(bundle_dir)).version
    publish_features(settings, SPEC, folder / "dataset")
    release(settings, SPEC.product, version, actor="test")
    return settings


@contextmanager
def serve(settings: Settings) -> Iterator[Endpoint]:
    """Yield a replica of the product that listens on a free port; requests wait until its model is loaded."""
    replica = build_replica(settings, SPEC.product, Device(1))

    @asynccontextmanager
    async def follow(_app: Starlette) -> AsyncIterator[None]:
        # The life of an application that is mounted is not begun by the outer one.
        async with replica.router.lifespan_context(replica):
            yield

    app = Starlette(routes=[Mount(f"/{SPEC.product}", replica)], lifespan=follow)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}/{SPEC.product}/", settings)
        finally:
            server.should_exit = True
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def endpoint(released: Settings) -> Iterator[Endpoint]:
    with serve(released) as endpoint:
        yield endpoint


@contextmanager
def visit_page(
    browser: Browser,
    endpoint: Endpoint,
    *,
    locale: str = "en-GB",
    colours: Literal["light", "dark"] = "light",
    width_px: int = 1280,
) -> Iterator[Visit]:
    """Yield the page with its first list on it; afterwards nothing may have been complained of."""
    with open_page(browser, endpoint.url, locale=locale, colours=colours, width_px=width_px) as visit:
        expect(rows(visit.page)).to_have_count(NUM_SHOWN)
        yield visit
        # A refused request is logged by the browser itself.
        assert [line for line in visit.complaints if not line.startswith("Failed to load resource")] == []


def rows(page: Page) -> Locator:
    return page.locator("#items > li")


def list_titles(page: Page) -> list[str]:
    return page.locator("#items .title [translate=no]").all_inner_texts()


def find_title(page: Page, title: str) -> Locator:
    return page.get_by_role("button", name=f"Choose {title}", exact=True)


def list_badges(page: Page, place: int) -> list[str]:
    return rows(page).nth(place).locator(".badge").all_inner_texts()


def describe_move(before: list[str], title: str, place: int) -> list[str]:
    """Return the badges of an item that stands at ``place`` now."""
    if title not in before:
        return ["new"]
    climb = before.index(title) - place
    return [f"▲ up {climb}"] if climb > 0 else [f"▼ down {-climb}"] if climb < 0 else []


def ask_for_user(page: Page, user: str) -> None:
    page.get_by_role("radio", name="a user", exact=True).check()
    page.get_by_label("User id").fill(user)
    page.get_by_role("button", name="Recommend", exact=True).click()
    expect(page.get_by_role("heading", name=f"For user {user}", exact=True)).to_be_visible()


def test_page_opens_with_what_most_people_take(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page

        expect(page.get_by_role("heading", name="For nobody in particular")).to_be_visible()
        expect(page.get_by_text("What most people take.")).to_be_visible()
        expect(page.get_by_text("Model version 1")).to_be_visible()
        assert page.locator(".reason > .en").all_inner_texts() == ["Popular with everyone"] * NUM_SHOWN
        assert page.locator(".badge").count() == 0
        assert {url.removeprefix(endpoint.url) for url in visit.requests} == {"", "ready", "schema", "predict"}
        assert visit.complaints == []


def test_click_of_a_user_is_stored_and_changes_the_list_at_once(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page
        ask_for_user(page, "7")
        expect(page.get_by_text("Made from what this person did before.")).to_be_visible()
        before = list_titles(page)
        expect(page.locator(".badge")).to_have_count(0)
        chosen = before[0]

        find_title(page, chosen).click()

        expect(page.locator("#changed")).to_contain_text("Stored, and a new list, in ")
        after = list_titles(page)
        expect(page.locator("#gone")).to_contain_text(f"Chosen, so no longer offered: {chosen}.", use_inner_text=True)
        assert chosen not in after
        assert len(after) == NUM_SHOWN
        assert page.locator("#items > li.new .title [translate=no]").all_inner_texts() == [
            title for title in after if title not in before
        ]
        assert [list_badges(page, place) for place in range(NUM_SHOWN)] == [
            describe_move(before, title, place) for place, title in enumerate(after)
        ]
        assert endpoint.list_items("7") == [chosen[0].lower() + chosen.split()[1]]
        assert visit.complaints == []

    with visit_page(browser, endpoint) as visit:
        ask_for_user(visit.page, "7")

        assert list_titles(visit.page) == after


def test_double_click_is_one_choice(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        ask_for_user(visit.page, "5")
        visit.page.locator("#items .title").first.dblclick()
        expect(visit.page.locator("#changed")).to_contain_text("Stored")

        assert len(endpoint.list_items("5")) == 1
        assert len([url for url in visit.requests if url.endswith("/events")]) == 1


def test_user_of_whom_nothing_is_known_is_said_to_be(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        ask_for_user(visit.page, "never seen")

        expect(visit.page.get_by_text("Nothing is known of this user yet")).to_be_visible()


def test_click_for_nobody_starts_a_visit_that_is_sent_and_not_stored(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page
        popular = list_titles(page)
        first = popular[0]

        find_title(page, first).click()
        expect(page.get_by_role("heading", name="For the visitor of this moment")).to_be_visible()
        expect(page.get_by_label("a visitor of this moment")).to_be_checked()
        expect(page.get_by_role("button", name=f"{first} : take back")).to_be_visible()
        assert first not in list_titles(page)
        page.get_by_label("nobody in particular").check()
        expect(page.get_by_role("heading", name="For nobody in particular")).to_be_visible()
        assert list_titles(page) == popular
        page.get_by_label("a visitor of this moment").check()
        expect(page.get_by_text("Made from what this person did before.")).to_be_visible()
        personal = list_titles(page)
        find_title(page, personal[0]).click()
        expect(page.locator("#gone")).to_contain_text(personal[0])
        expect(page.locator("#session li")).to_have_count(2)
        page.get_by_role("button", name=f"{personal[0]} : take back").click()

        expect(page.locator("#items .title [translate=no]")).to_have_text(personal)
        expect(page.locator("#session li")).to_have_count(1)
        expect(page.locator("#changed")).to_contain_text("A new list, in ")
        assert not [url for url in visit.requests if url.endswith("/events")]
        assert visit.complaints == []


def test_everything_can_be_done_with_the_keyboard(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page

        tab_to(page, "input[name=whom]")
        page.keyboard.press("ArrowRight")
        tab_to(page, "#user")
        page.keyboard.type("11")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="For user 11")).to_be_visible()
        tab_to(page, ".ask")
        page.keyboard.press("Enter")
        expect(page.locator("#why-0")).to_contain_text("What moved it up")
        before = list_titles(page)
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#changed")).to_contain_text("Stored")

        expect(page.locator("#for-whom")).to_be_focused()
        assert before[0] not in list_titles(page)


def tab_to(page: Page, selector: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector}: cannot be reached with the keyboard")


def test_reasons_are_told_with_titles_and_in_plain_words(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page
        ask_for_user(page, "14")
        page.get_by_role("button", name="Why?").first.click()
        why = page.locator("#why-0")

        expect(why.locator("h3 > .en")).to_have_text(
            [re.compile("Most like it"), re.compile("What moved it up")], use_inner_text=True
        )
        expect(why.locator("p")).to_have_text(re.compile(r"^(Drama|Comedy|Western|Noir) \d+ \(0\.\d\d\)"))
        assert {*why.locator("th > .en").all_inner_texts()} <= {
            "The model's own ranking",
            "How many people take it",
            "How new it is",
            "Favourite categories",
            "Likeness to what was chosen",
            "Price",
            "Circumstances",
        }
        assert why.locator(".bar rect").count() >= 2
        assert [url for url in visit.requests if url.endswith("/explain")] == [f"{endpoint.url}explain"]


def test_every_feature_of_the_second_look_has_words() -> None:
    page = (KIND.folder / "page.html").read_text(encoding="utf-8")

    assert [name for name in FEATURES if f'"{name}"' not in page] == []


@pytest.mark.parametrize(("thumb", "rating"), [("Good", 5.0), ("Bad", 1.0)])
def test_thumb_is_stored_as_a_rating_of_the_list(
    browser: Browser, endpoint: Endpoint, thumb: str, rating: float
) -> None:
    before = endpoint.list_ratings()

    with visit_page(browser, endpoint) as visit:
        visit.page.get_by_role("button", name=thumb, exact=True).click()

        expect(visit.page.get_by_text("Thank you")).to_be_visible()
        expect(visit.page.locator("#ask")).to_be_hidden()
    assert sorted(map(str, endpoint.list_ratings())) == sorted(map(str, [*before, rating]))


def test_examples_of_the_schema_are_asked_with_one_click(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page

        page.get_by_role("button", name="user 42").click()
        expect(page.get_by_role("heading", name="For user 42")).to_be_visible()
        expect(page.get_by_label("User id")).to_have_value("42")
        page.get_by_role("button", name="a visitor who chose 50, 181").click()
        expect(page.get_by_text("is not in the catalogue and was left out")).to_be_visible()
        expect(page.locator("#session li")).to_have_count(2)
        page.get_by_role("button", name="nobody in particular, 5 items").click()

        expect(rows(page)).to_have_count(5)
        expect(page.locator("#notes")).to_be_hidden()
        assert visit.complaints == []


def test_filters_and_circumstances_are_sent_and_markup_in_a_title_is_inert(
    browser: Browser, endpoint: Endpoint
) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page
        page.get_by_text("Filters and circumstances").click()

        page.get_by_label("Only of these categories").fill(f"western, {HACK_CATEGORY}")
        page.get_by_label("Price to").fill("9")
        page.get_by_label("Circumstances").fill("device=phone")
        page.get_by_label("How many").fill("20")
        page.get_by_role("button", name="Recommend", exact=True).click()

        expect(rows(page)).to_have_count(6)
        assert {*list_titles(page)} == {HACK, *(f"Western {number}" for number in range(5))}
        assert page.evaluate("window.hacked") is None
        page.get_by_label("Only of these categories").fill("no such")
        page.get_by_role("button", name="Recommend", exact=True).click()
        expect(page.get_by_text("No item is left to recommend.")).to_be_visible()
        assert visit.complaints == []


@pytest.mark.parametrize(
    ("label", "value", "message"),
    [
        ("How many", "5000", "The server says: inputs/0: k: at most 100 items may be asked for"),
        ("Circumstances", "mood=good", "'mood' is not known to this product. Known: device, country."),
        ("Circumstances", "sunny", "Circumstances: write each as name=value"),
    ],
)
def test_problem_is_said_and_the_list_stays(
    browser: Browser, endpoint: Endpoint, label: str, value: str, message: str
) -> None:
    with visit_page(browser, endpoint) as visit:
        page = visit.page
        before = list_titles(page)
        page.get_by_text("Filters and circumstances").click()
        page.get_by_label(label).fill(value)
        page.get_by_role("button", name="Recommend", exact=True).click()

        expect(page.get_by_role("alert")).to_contain_text(message, use_inner_text=True)
        assert list_titles(page) == before
        find_title(page, before[0]).click()
        expect(page.get_by_role("heading", name="For the visitor of this moment")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()


def test_server_that_is_gone_is_said_to_be(browser: Browser, endpoint: Endpoint) -> None:
    with visit_page(browser, endpoint) as visit:
        visit.page.context.set_offline(True)
        visit.page.get_by_role("button", name="Recommend", exact=True).click()

        expect(visit.page.get_by_text("The server cannot be reached")).to_be_visible()


def test_fallbacks_are_told_in_plain_words(browser: Browser, released: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"redis://127.0.0.1:{unused.getsockname()[1]}"

    with (
        serve(released.model_copy(update={"online_store": address})) as endpoint,
        visit_page(browser, endpoint) as visit,
    ):
        ask_for_user(visit.page, "14")

        expect(visit.page.locator("#notes > li > .en")).to_have_text(
            [
                re.compile("^How popular items are right now could not be looked up"),
                re.compile("^What is stored about this user could not be looked up"),
            ]
        )


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_page_reads_well(
    browser: Browser, endpoint: Endpoint, colours: Literal["light", "dark"], locale: Literal["en-GB", "zh-CN"]
) -> None:
    shown, hidden = ("zh", "en") if locale == "zh-CN" else ("en", "zh")

    with visit_page(browser, endpoint, locale=locale, colours=colours, width_px=360) as visit:
        page = visit.page
        page.locator("#more summary").click()
        page.locator("#items .title").first.click()
        expect(page.locator("#session li")).to_have_count(1)
        expect(page.locator("#items > li.new").first).to_be_visible()
        page.locator("#items .ask").first.click()
        expect(page.locator("#why-0 h3").first).to_be_visible()

        assert visit.untranslated() == []
        assert page.locator(".reason > [translate=no]").count() == 0
        assert visit.shown_languages()[hidden] == 0
        assert visit.shown_languages()[shown] > 30
        assert visit.low_contrasts() == []
        assert visit.overflow_px() == 0
        expect(page).to_have_title({"zh": "tiny-films 试用", "en": "tiny-films playground"}[shown])
