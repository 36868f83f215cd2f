from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from launchyard.cli.answers import ask
from launchyard.client import Client, open_http
from launchyard.errors import RequestError, ServerError, TooLargeError

Reply = tuple[int, dict[str, str], bytes]
OUTPUT = {"id": "default.churn.2.x", "label": "stays"}
ANSWER: Reply = (
    200,
    {"content-type": "application/json"},
    json.dumps({"model": {"version": 2, "digest": "d"}, "outputs": [OUTPUT]}).encode(),
)


def make_problem(status: int, detail: str, **headers: str) -> Reply:
    body = json.dumps({"type": "about:blank", "title": "x", "status": status, "detail": detail})
    return status, {"content-type": "application/problem+json"} | headers, body.encode()


@dataclass
class Stub:
    """A server that gives the replies it was told to, the last one again and again."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    most_inputs: int | None = None
    """When given, requests of so many inputs are answered, each input by its own text, and larger ones refused."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        body = json.loads(handler.rfile.read(length)) if length else None
        self.requests.append((handler.command, handler.path, body))
        status, headers, content = self._reply(body)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _reply(self, body: Any) -> Reply:
        if self.most_inputs is None:
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if len(body["inputs"]) > self.most_inputs:
            return make_problem(413, f"inputs: at most {self.most_inputs} in one request")
        outputs = [{"id": "x", "label": text} for text in body["inputs"]]
        return 200, {}, json.dumps({"model": {"version": 2, "digest": "d"}, "outputs": outputs}).encode()


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.answer(self)

        def do_POST(self) -> None:
            stub.answer(self)

        def log_message(self, *args: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()
    thread.join()


def test_predict_sends_the_inputs_and_returns_the_outputs_with_their_model(stub: Stub) -> None:
    stub.replies = [ANSWER]

    answers = Client(stub.url + "/", "churn").predict(["a"])

    assert (answers.version, answers.digest, answers.outputs) == (2, "d", (OUTPUT,))
    assert stub.requests == [("POST", "/churn/predict", {"inputs": ["a"]})]


def test_feedback_sends_only_what_is_said(stub: Stub) -> None:
    stub.replies = [(200, {}, b"{}")]

    Client(stub.url, "churn").give_feedback(OUTPUT["id"], rating=4)

    assert stub.requests == [("POST", "/churn/feedback", {"id": OUTPUT["id"], "rating": 4})]


def test_events_are_sent_as_they_are_and_their_counts_returned(stub: Stub) -> None:
    stub.replies = [make_problem(503, "the database is away", retry_after="0.01"), (200, {}, b'{"stored": 1}')]
    events = [{"user": 7, "item": "a", "timestamp": 1.5}]

    assert Client(stub.url, "films").send_events(events) == {"stored": 1}
    assert stub.requests == [("POST", "/films/events", {"events": events})] * 2


def test_a_single_text_in_place_of_a_list_is_refused_before_it_is_sent(stub: Stub) -> None:
    with pytest.raises(RequestError, match="Put it into a list"):
        Client(stub.url, "churn").predict("a film")

    assert stub.requests == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_passing_refusal_is_tried_again_when_the_server_says(stub: Stub, status: int) -> None:
    stub.replies = [make_problem(status, "busy", retry_after="0.01"), ANSWER]

    answers = Client(stub.url, "churn").predict(["a"])

    assert answers.version == 2
    assert len(stub.requests) == 2


def test_a_refusal_that_lasts_longer_than_the_patience_is_raised(stub: Stub) -> None:
    stub.replies = [make_problem(503, "no model answers: model.safetensors was altered", retry_after="60")]

    with pytest.raises(ServerError, match=r"model\.safetensors was altered"):
        Client(stub.url, "churn", retry_s=1).predict(["a"])

    assert len(stub.requests) == 1


def test_a_callers_mistake_is_raised_with_the_servers_words_and_not_tried_again(stub: Stub) -> None:
    stub.replies = [make_problem(422, "inputs/0: text: is empty.")]

    with pytest.raises(RequestError, match="inputs/0: text: is empty"):
        Client(stub.url, "churn").predict([""])

    assert len(stub.requests) == 1


@pytest.mark.parametrize("limit", [100, 7, 1])
def test_the_command_asks_for_no_more_inputs_at_once_than_the_server_takes(stub: Stub, limit: int) -> None:
    inputs = [str(number) for number in range(230)]
    stub.most_inputs = limit

    answers = ask(Client(stub.url, "churn"), inputs, explain=False)

    asked = [body["inputs"] for _, _, body in stub.requests]
    answered = [part for part in asked if len(part) <= limit]
    assert [text for part in answered for text in part] == inputs
    assert [output["label"] for reply in answers for output in reply.outputs] == inputs
    # A limit is found once: 200, 100, 50, ... are refused, and after that nothing is.
    assert len(asked) - len(answered) <= 8


def test_one_input_that_is_too_large_alone_is_told_in_the_servers_words(stub: Stub) -> None:
    stub.most_inputs = 0

    with pytest.raises(TooLargeError, match="413: inputs: at most 0"):
        ask(Client(stub.url, "churn"), ["a", "b"], explain=False)

    assert [len(body["inputs"]) for _, _, body in stub.requests] == [2, 1]


def test_a_server_that_is_no_launchyard_is_told_apart(stub: Stub) -> None:
    stub.replies = [(200, {"content-type": "text/html"}, b"<html>")]

    with pytest.raises(ServerError, match="Is this a Launchyard server"):
        Client(stub.url, "churn").ready()


def test_a_server_that_is_not_there_names_the_command_that_starts_it() -> None:
    with pytest.raises(ServerError, match="launchyard serve churn"):
        Client("http://127.0.0.1:1", "churn").ready()


def test_this_machine_is_not_asked_through_a_proxy(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.replies = [ANSWER]
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert Client(stub.url, "churn", retry_s=0).predict(["a"]).version == 2


@pytest.mark.parametrize("host", ["http://models.example:8000", "http://10.0.0.7"])
def test_another_machine_is_asked_as_the_environment_says(host: str) -> None:
    assert open_http(host).trust_env


@pytest.mark.parametrize("host", ["http://localhost:1", "http://127.8.0.1", "https://[::1]:8000/x"])
def test_every_name_of_this_machine_is_known(host: str) -> None:
    assert not open_http(host).trust_env
