"""The text-classification playground in Chromium, against a server that answers as the endpoint does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, expect

from browser_checks import open_page, start_chromium
from launchyard.kinds.text_classification import KIND
from launchyard_serving.page import read_page

pytestmark = pytest.mark.browser

MODEL = {"version": 3, "digest": "ab" * 32}
EXAMPLES = ["A warm, funny film.", "<script>window.hacked = true</script> dull"]
TEXT = "😀 not good"


@dataclass
class Endpoint:
    """A product's endpoint; ``problems`` are answered in the place of the paths they are filed under."""

    url: str = ""
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=lambda: {"negative": 0.873, "positive": 0.127})
    received: list[tuple[str, Any]] = field(default_factory=list)

    def answer(self, path: str, body: Any) -> dict[str, Any]:
        match path:
            case "ready":
                return {"ready": True, "model": MODEL, "refused": None}
            case "schema":
                return {"product": "review-sentiment", "examples": [{"text": text} for text in EXAMPLES]}
            case "predict":
                return {"model": MODEL, "outputs": [self.output(body["inputs"][0]["text"])]}
            case "explain":
                text = body["inputs"][0]["text"]
                return {"model": MODEL, "outputs": [self.output(text) | {"explanation": explain(text)}]}
        return {"id": body["id"], "stored": True}

    def output(self, text: str) -> dict[str, Any]:
        label = max(self.scores, key=lambda name: self.scores[name])
        confidence = self.scores[label]
        return {
            "id": f"id-of-{len(text)}",
            "label": label,
            "scores": self.scores,
            "confidence": confidence,
            "abstained": confidence < 0.6,
        }


def explain(text: str) -> dict[str, Any]:
    """Attribute +1 to the first word, -0.5 to the second, 0 to all others."""
    words, start = [], 0
    for number, word in enumerate(text.split(" ")):
        value = (1.0, -0.5)[number] if number < 2 else 0.0
        words.append({"word": word, "start": start, "end": start + len(word), "attribution": value})
        start += len(word) + 1
    return {"text": text, "target": "negative", "words": words, "delta": 0.0}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    stub = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/review-sentiment/")
            if path:
                self._answer(path, None)
            else:
                html, headers = read_page(KIND.name)
                self._send(200, "text/html", html.encode(), headers)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            path = self.path.removeprefix("/review-sentiment/")
            stub.received.append((path, body))
            self._answer(path, body)

        def _answer(self, path: str, body: Any) -> None:
            if path in stub.problems:
                status, detail = stub.problems[path]
                problem = {"type": "about:blank", "status": status, "detail": detail}
                self._send(status, "application/problem+json", json.dumps(problem).encode())
            else:
                self._send(200, "application/json", json.dumps(stub.answer(path, body)).encode())

        def _send(self, status: int, content_type: str, body: bytes, headers: Mapping[str, str] = {}) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_address[1]}/review-sentiment/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield stub
        server.shutdown()
        thread.join()


def test_text_is_classified_and_explained(browser: Browser, endpoint: Endpoint) -> None:
    with open_page(browser, endpoint.url) as visit:
        page = visit.page
        page.get_by_label("Text to classify").fill(TEXT)
        page.get_by_role("button", name="Classify").click()

        expect(page.locator("#label")).to_have_text("negative")
        expect(page.get_by_role("row", name="negative 87.3%")).to_be_visible()
        expect(page.get_by_role("row", name="positive 12.7%")).to_be_visible()
        expect(page.get_by_text("Model version 3")).to_be_visible()
        expect(page.locator("#words")).to_have_text(TEXT)
        expect(page.locator("#words mark.for3")).to_have_text("😀")
        expect(page.locator("#words mark.against2")).to_have_text("not")
        expect(page.locator("#words mark:not([class])")).to_have_text("good")
        expect(page.locator("#unsure")).to_be_hidden()
        assert [path for path, _ in endpoint.received] == ["predict", "explain"]
        assert {url.removeprefix(endpoint.url) for url in visit.requests} == {
            "", "ready", "schema", "predict", "explain"
        }  # fmt: skip
        assert visit.complaints == []


def test_bars_are_as_long_as_the_probabilities(browser: Browser, endpoint: Endpoint) -> None:
    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_label("Text to classify").fill("dull")
        visit.page.keyboard.press("Control+Enter")
        fills = visit.page.locator(".bar .fill")
        expect(fills).to_have_count(2)
        widths = [(box := one.bounding_box()) and box["width"] for one in fills.all()]

        assert widths[0] is not None
        assert widths[1] is not None
        assert widths[0] / widths[1] == pytest.approx(0.873 / 0.127, rel=0.02)


def test_confirmed_answer_is_sent_as_its_label(browser: Browser, endpoint: Endpoint) -> None:
    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_label("Text to classify").fill("dull")
        visit.page.get_by_role("button", name="Classify").click()
        visit.page.get_by_role("button", name="Yes, it is right").click()

        expect(visit.page.get_by_text("Thank you")).to_be_visible()
        assert endpoint.received[-1] == ("feedback", {"id": "id-of-4", "label": "negative"})


def test_wrong_answer_is_corrected_by_label(browser: Browser, endpoint: Endpoint) -> None:
    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_label("Text to classify").fill("dull")
        visit.page.get_by_role("button", name="Classify").click()
        visit.page.get_by_role("button", name="No", exact=True).click()
        expect(visit.page.get_by_label("It should be").locator("option")).to_have_text(["positive"])
        visit.page.get_by_role("button", name="Send").click()

        expect(visit.page.get_by_text("Thank you")).to_be_visible()
        assert endpoint.received[-1] == ("feedback", {"id": "id-of-4", "label": "positive"})


def test_unsure_answer_is_called_a_guess(browser: Browser, endpoint: Endpoint) -> None:
    endpoint.scores = {"negative": 0.51, "positive": 0.49}

    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_label("Text to classify").fill("dull")
        visit.page.get_by_role("button", name="Classify").click()

        expect(visit.page.get_by_text("treat this answer as a guess")).to_be_visible()


def test_of_many_labels_the_likeliest_are_shown(browser: Browser, endpoint: Endpoint) -> None:
    endpoint.scores = {f"intent {number:03}": (number + 1) / 11325 for number in range(150)}

    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_label("Text to classify").fill("dull")
        visit.page.get_by_role("button", name="Classify").click()

        expect(visit.page.locator("#scores tr")).to_have_count(8)
        expect(visit.page.locator("#scores th").first).to_have_text("intent 149")
        expect(visit.page.get_by_text("142 less likely labels are not shown.")).to_be_visible()


def test_example_is_filled_in_and_classified_and_its_markup_is_inert(browser: Browser, endpoint: Endpoint) -> None:
    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_role("button", name=EXAMPLES[1]).click()

        expect(visit.page.locator("#words")).to_have_text(EXAMPLES[1])
        expect(visit.page.get_by_label("Text to classify")).to_have_value(EXAMPLES[1])
        assert visit.page.evaluate("window.hacked") is None


@pytest.mark.parametrize("path", ["predict", "explain", "feedback", "ready"])
def test_problem_is_shown_in_the_server_s_words(browser: Browser, endpoint: Endpoint, path: str) -> None:
    endpoint.problems[path] = (422, "text: too long. Send at most 100,000 characters.")

    with open_page(browser, endpoint.url) as visit:
        if path != "ready":
            visit.page.get_by_label("Text to classify").fill("dull")
            visit.page.get_by_role("button", name="Classify").click()
        if path == "feedback":
            visit.page.get_by_role("button", name="Yes, it is right").click()

        expect(visit.page.get_by_role("alert")).to_have_text(
            "The server says: text: too long. Send at most 100,000 characters.", use_inner_text=True
        )
        expect(visit.page.locator("#send")).to_be_enabled()
        expect(visit.page.locator("#waiting")).to_be_hidden()
        expect(visit.page.locator("#thanks")).to_be_hidden()


def test_server_that_is_gone_is_said_to_be(browser: Browser, endpoint: Endpoint) -> None:
    with open_page(browser, endpoint.url) as visit:
        visit.page.get_by_label("Text to classify").fill("dull")
        visit.page.context.set_offline(True)
        visit.page.get_by_role("button", name="Classify").click()

        expect(visit.page.get_by_text("The server cannot be reached")).to_be_visible()


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_page_reads_well(
    browser: Browser, endpoint: Endpoint, colours: Literal["light", "dark"], locale: Literal["en-GB", "zh-CN"]
) -> None:
    shown, hidden = ("zh", "en") if locale == "zh-CN" else ("en", "zh")

    with open_page(browser, endpoint.url, locale=locale, colours=colours, width_px=360) as visit:
        visit.page.locator("#text").fill(TEXT)
        visit.page.locator("#send").click()
        expect(visit.page.locator("#words mark")).to_have_count(3)
        visit.page.locator("#wrong").click()

        assert visit.untranslated() == []
        assert visit.shown_languages()[hidden] == 0
        assert visit.shown_languages()[shown] > 10
        assert visit.low_contrasts() == []
        assert visit.overflow_px() == 0
        expect(visit.page).to_have_title({"zh": "review-sentiment 试用", "en": "review-sentiment playground"}[shown])
