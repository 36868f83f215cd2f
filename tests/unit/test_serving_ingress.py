from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from starlette.testclient import TestClient

from launchyard.bundle.feedback import LabelFeedback
from launchyard.bundle.manifest import GateRecord
from launchyard.contract.feedback import FeedbackRules
from launchyard.contract.predictor import Output
from launchyard.contract.rows import Row
from launchyard.errors import BundleError, RequestError
from launchyard.kinds.recommendation.predict.feedback import ItemFeedback
from launchyard.privacy.pseudonyms import IdentitySigner
from launchyard.records.database import RecordDatabase
from launchyard.records.records import MAX_PIECES, Records
from launchyard.records.tables import FEEDBACK
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard_serving.ingress import ProductEndpoint
from launchyard_serving.page import describe_policy
from launchyard_serving.replica.batching import MicroBatcher
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.model import ServedModel
from launchyard_serving.requests.body import MAX_LISTED, parse_rows
from launchyard_serving.requests.held_bytes import HELD_BODIES
from serving_samples import LABELS, PRODUCT, make_spec

RELEASE = Release(
    version=3, digest="d" * 64, bundle_uri="bundles/d", gate=GateRecord(evaluation_sha256="0" * 64, gates=())
)
KEY = b"k" * 32


class EchoInput(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "Say it again."}]})

    text: str


class EchoOutput(BaseModel):
    label: str
    length: int


class EchoPredictor:
    """Answers each text with its length; waits for ``gate`` before each batch."""

    input_schema: type[BaseModel] = EchoInput
    output_schema: type[BaseModel] = EchoOutput

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()

    @classmethod
    def load(cls, bundle_dir: Path, *, threads: int) -> Self:
        raise NotImplementedError

    def parse(self, raw: object) -> Row:
        if not isinstance(raw, str) or not raw:
            raise RequestError(f"text: must be a text, got {type(raw).__name__}. Send a text.")
        return {"text": raw}

    def predict(self, rows: Sequence[Row]) -> list[Output]:
        self.started.set()
        assert self.gate.wait(timeout=10)
        return [{"label": LABELS[0], "length": len(row["text"])} for row in rows]

    def explain(self, rows: Sequence[Row]) -> list[Output]:
        return [{**output, "why": "long"} for output in self.predict(rows)]

    def describe(self, row: Row) -> dict[str, float | str]:
        return {"length": float(len(row["text"]))}


@pytest.fixture
def predictor() -> EchoPredictor:
    return EchoPredictor()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records(Settings(home=tmp_path))
    yield records
    records.close()


def make_model(predictor: EchoPredictor, *, waiting: int = 100, **serve: Any) -> ServedModel:
    executor = ThreadPoolExecutor(2)
    return ServedModel(
        release=RELEASE,
        spec=make_spec(**serve),
        feedback=LabelFeedback(LABELS),
        predictor=predictor,
        predictions=MicroBatcher(predictor.predict, executor, max_batch_size=2, max_waiting_rows=waiting),
        explanations=MicroBatcher(predictor.explain, executor, max_batch_size=1, max_waiting_rows=waiting),
    )


def load_rules(version: int) -> FeedbackRules:
    """Return what may be said of versions that serve no longer; no label of version 1 is known."""
    return {1: LabelFeedback(()), 2: LabelFeedback(("bad", "good"))}[version]


def make_client(records: Records, model: ServedModel) -> TestClient:
    follower = Follower(lambda: RELEASE, lambda _: model)
    signer = IdentitySigner(KEY, namespace="default", product=PRODUCT)
    # As behind Serve: the path is the whole path, of which root_path is where the product is mounted.
    app = ProductEndpoint(PRODUCT, follower, signer, records, load_rules).build_app()
    return TestClient(app, root_path=f"/{PRODUCT}", raise_server_exceptions=False)


@pytest.fixture
def client(records: Records, predictor: EchoPredictor) -> Iterator[TestClient]:
    model = make_model(predictor, max_inputs=5, max_body_bytes=1024)
    with make_client(records, model) as client:
        yield client


def post(client: TestClient, route: str, body: Any) -> Any:
    return client.post(f"/{PRODUCT}/{route}", json=body)


def problem(response: Any, status: int) -> dict[str, Any]:
    """Return the problem document of a response, which must be one of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["detail"]
    return document


def test_predict_answers_every_input_in_order_with_an_id_of_the_version(client: TestClient) -> None:
    response = post(client, "predict", {"inputs": ["a", "bbb", "cc"]})

    assert response.status_code == 200
    assert response.json()["model"] == {"version": 3, "digest": "d" * 64}
    outputs = response.json()["outputs"]
    assert [output["length"] for output in outputs] == [1, 3, 2]
    assert len({output["id"] for output in outputs}) == 3
    assert all(output["id"].startswith(f"default.{PRODUCT}.3.") for output in outputs)


def test_explain_says_why(client: TestClient) -> None:
    response = post(client, "explain", {"inputs": ["a"]})

    assert response.json()["outputs"][0]["why"] == "long"


def test_while_the_database_is_locked_predictions_are_answered_and_feedback_is_refused_in_time(
    records: Records, predictor: EchoPredictor, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    hurried = Records(settings, wait_s=0.3)
    model = make_model(predictor, timeout_s=1.0)
    large = {"inputs": ["a" * 20_000]}

    def answer(client: TestClient, route: str, body: Any) -> tuple[Any, float]:
        started_s = time.monotonic()
        response = post(client, route, body)
        return response, time.monotonic() - started_s

    with make_client(hurried, model) as client, ThreadPoolExecutor(100) as pool:
        ids = [output["id"] for output in post(client, "predict", {"inputs": ["a"] * 90}).json()["outputs"]]
        with RecordDatabase(settings).writing("elsewhere"):
            said = [pool.submit(answer, client, "feedback", {"id": each, "rating": 5}) for each in ids]
            predictions = [answer(client, "predict", large) for _ in range(3)]
            refused = [each.result() for each in said]
        kept = post(client, "feedback", {"id": ids[0], "rating": 5})

    assert [response.status_code for response, _ in predictions] == [200] * 3
    assert max(seconds for _, seconds in predictions) < 1.0
    for response, seconds in refused:
        assert "again" in problem(response, 503)["detail"]
        assert response.headers["retry-after"] == "1"
        assert seconds < 3.0
    assert kept.status_code == 200
    assert ids[0] in {feedback.output_id for feedback in records.list_feedback(PRODUCT)}


@pytest.mark.parametrize("body", [b"", b'{"inputs": [', b'{"inputs": ["a"]} x', b"\xff\xfe", b'{"inputs": [NaN]}'])
def test_malformed_json_says_where_and_shows_a_right_body(client: TestClient, body: bytes) -> None:
    response = client.post(f"/{PRODUCT}/predict", content=body, headers={"content-type": "application/json"})

    assert '{"inputs": [...]}' in problem(response, 400)["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ("a", ""),
        ({}, "/inputs"),
        ({"inputs": "a"}, "/inputs"),
        ({"inputs": {}}, "/inputs"),
        ({"inputs": []}, "/inputs"),
        ({"inputs": ["a"], "input": 1}, "/input"),
    ],
)
def test_a_body_of_the_wrong_form_names_the_place(client: TestClient, body: Any, pointer: str) -> None:
    document = problem(post(client, "predict", body), 422)

    assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_wrong_types_are_refused_with_all_their_positions(client: TestClient) -> None:
    document = problem(post(client, "predict", {"inputs": ["a", 3, "b", None, ""]}), 422)

    assert [error["pointer"] for error in document["errors"]] == ["/inputs/1", "/inputs/3", "/inputs/4"]
    assert "inputs/1" in document["detail"]
    assert "And 2 more" in document["detail"]


def test_too_many_inputs_are_refused_with_the_limit(client: TestClient) -> None:
    assert "at most 5" in problem(post(client, "predict", {"inputs": ["a"] * 6}), 413)["detail"]


def test_a_body_that_declares_to_be_too_large_is_refused(client: TestClient) -> None:
    assert "1024 bytes" in problem(post(client, "predict", {"inputs": ["a" * 2000]}), 413)["detail"]


def test_a_body_of_undeclared_size_is_refused_when_it_passes_the_limit(client: TestClient) -> None:
    def stream() -> Iterator[bytes]:
        for _ in range(5):
            yield b" " * 500

    response = client.post(f"/{PRODUCT}/predict", content=stream(), headers={"content-type": "application/json"})

    problem(response, 413)


def test_a_body_that_is_not_declared_as_json_is_refused(client: TestClient) -> None:
    response = client.post(f"/{PRODUCT}/predict", content=b'{"inputs": ["a"]}', headers={"content-type": "text/plain"})

    assert "application/json" in problem(response, 415)["detail"]


def test_a_wrong_method_is_refused_with_those_that_are_right(client: TestClient) -> None:
    response = client.get(f"/{PRODUCT}/predict")

    problem(response, 405)
    assert response.headers["allow"] == "POST"


def test_an_unknown_route_is_refused(client: TestClient) -> None:
    assert "openapi.json" in problem(client.get(f"/{PRODUCT}/nope"), 404)["detail"]


def test_a_request_over_its_deadline_is_ended(records: Records, predictor: EchoPredictor) -> None:
    predictor.gate.clear()

    with make_client(records, make_model(predictor, timeout_s=0.05)) as client:
        response = post(client, "predict", {"inputs": ["a"]})
        predictor.gate.set()

    assert "serve.timeout_s" in problem(response, 504)["detail"]


def test_a_full_queue_turns_requests_away_and_says_when_to_come_back(
    records: Records, predictor: EchoPredictor
) -> None:
    predictor.gate.clear()

    with make_client(records, make_model(predictor, waiting=1)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, "predict", {"inputs": ["a"] * 4})
        assert predictor.started.wait(timeout=10)
        # Two of the first request's inputs are being computed, two wait: there is no room for another.
        refused = post(client, "predict", {"inputs": ["b"]})
        predictor.gate.set()
        answered = first.result()

    assert answered.status_code == 200
    problem(refused, 429)
    assert int(refused.headers["retry-after"]) >= 1


def give_feedback(client: TestClient, **said: Any) -> Any:
    output = post(client, "predict", {"inputs": ["a"]}).json()["outputs"][0]
    return post(client, "feedback", {"id": output["id"], **said})


def test_feedback_is_in_the_records_when_it_is_answered(client: TestClient, records: Records) -> None:
    response = give_feedback(client, label="positive", rating=5, comment="good")

    assert response.status_code == 200
    kept = records.list_feedback(PRODUCT)
    assert [(said.version, said.label, said.rating, said.comment) for said in kept] == [(3, "positive", 5.0, "good")]


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({}, ""),
        ({"rating": 0}, "/rating"),
        ({"rating": 6}, "/rating"),
        ({"rating": 2.5}, "/rating"),
        ({"rating": "5"}, "/rating"),
        ({"label": 1}, "/label"),
        ({"label": "sarcastic"}, "/label"),
        ({"comment": ""}, "/comment"),
        ({"comment": "x" * 2001}, "/comment"),
        ({"comment": "nothing\x00at all"}, "/comment"),
        ({"label": "positive\x00"}, "/label"),
        ({"stars": 5}, "/stars"),
        ({"correction": "better"}, "/correction"),
    ],
)
def test_feedback_of_the_wrong_form_names_the_place(client: TestClient, said: dict[str, Any], pointer: str) -> None:
    document = problem(give_feedback(client, **said), 422)

    assert [error["pointer"] for error in document["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("correction", "pointer"),
    [
        ({"items": ["b", "a"]}, None),
        ({"items": []}, "/correction/items"),
        ({"items": ["a", 3]}, "/correction/items/1"),
        ({"item": ["a"]}, "/correction/items"),
        (["a"], "/correction"),
    ],
)
def test_a_correction_is_kept_in_the_form_that_the_kind_takes(
    predictor: EchoPredictor, records: Records, correction: Any, pointer: str | None
) -> None:
    model = replace(make_model(predictor), feedback=ItemFeedback(()))

    with make_client(records, model) as client:
        response = give_feedback(client, correction=correction)
        document = client.get(f"/{PRODUCT}/openapi.json").json()

    schemas = document["components"]["schemas"]
    assert schemas["Feedback"]["properties"]["correction"]["properties"]["items"]["maxItems"] == 100
    if pointer is None:
        assert response.status_code == 200
        assert [said.correction for said in records.list_feedback(PRODUCT)] == [{"items": ["b", "a"]}]
    else:
        assert problem(response, 422)["errors"][0]["pointer"] == pointer
        assert records.list_feedback(PRODUCT) == []


def test_feedback_with_an_unknown_label_names_the_known_ones(client: TestClient) -> None:
    assert "negative, positive" in problem(give_feedback(client, label="sarcastic"), 422)["detail"]


@pytest.mark.parametrize(
    ("version", "label", "status"),
    [(3, "positive", 200), (3, "good", 422), (2, "good", 200), (2, "positive", 422), (1, "anything", 200)],
)
def test_a_label_is_one_of_the_version_that_answered_not_of_the_one_that_serves_now(
    client: TestClient, version: int, label: str, status: int
) -> None:
    output_id = IdentitySigner(KEY, namespace="default", product=PRODUCT).sign(version)

    response = post(client, "feedback", {"id": output_id, "label": label})

    assert response.status_code == status
    if status == 422:
        assert f"none of the labels of version {version}" in problem(response, 422)["detail"]


def test_one_answer_takes_any_number_of_changes_and_keeps_a_bounded_number_of_them(
    client: TestClient, records: Records, tmp_path: Path
) -> None:
    output_id = IdentitySigner(KEY, namespace="default", product=PRODUCT).sign(3)

    for number in range(2 * MAX_PIECES):
        assert post(client, "feedback", {"id": output_id, "label": LABELS[number % 2]}).status_code == 200

    (said,) = records.list_feedback(PRODUCT)
    assert said.label == LABELS[1]
    with RecordDatabase(Settings(home=tmp_path)).reading() as connection:
        assert len(connection.execute(select(FEEDBACK.c.number)).all()) == MAX_PIECES


def forge(output_id: str) -> str:
    return output_id[:-4] + ("AAAA" if output_id[-4:] != "AAAA" else "BBBB")


@pytest.mark.parametrize(
    "output_id",
    [
        forge(IdentitySigner(KEY, namespace="default", product=PRODUCT).sign(3)),
        IdentitySigner(b"x" * 32, namespace="default", product=PRODUCT).sign(3),
        IdentitySigner(KEY, namespace="default", product="other").sign(3),
        IdentitySigner(KEY, namespace="other", product=PRODUCT).sign(3),
        "not-an-id",
    ],
    ids=["altered", "signed with another key", "of another product", "of another namespace", "malformed"],
)
def test_feedback_on_what_this_product_never_answered_is_refused(
    client: TestClient, records: Records, output_id: str
) -> None:
    problem(post(client, "feedback", {"id": output_id, "rating": 5}), 403)

    assert records.count_feedback(PRODUCT) == 0


def test_ready_says_which_version_answers(client: TestClient) -> None:
    response = client.get(f"/{PRODUCT}/ready")

    assert response.json() == {
        "ready": True,
        "model": {"version": 3, "digest": "d" * 64},
        "refused": None,
        "state": "answering",
        "swap": "load-beside",
    }


def test_without_a_model_every_route_says_why(records: Records) -> None:
    def refuse(_: Release) -> ServedModel:
        raise BundleError("model/model.safetensors was altered. Make the bundle again.")

    signer = IdentitySigner(KEY, namespace="default", product=PRODUCT)
    app = ProductEndpoint(PRODUCT, Follower(lambda: RELEASE, refuse), signer, records, load_rules).build_app()

    with TestClient(app, root_path=f"/{PRODUCT}", raise_server_exceptions=False) as client:
        for response in (client.get(f"/{PRODUCT}/ready"), post(client, "predict", {"inputs": ["a"]})):
            document = problem(response, 503)
            assert "model/model.safetensors was altered" in document["detail"]
            assert response.headers["retry-after"] == "1"


class BrokenPredictor(EchoPredictor):
    def predict(self, rows: Sequence[Row]) -> list[Output]:
        raise ZeroDivisionError(f"secret of {len(rows)} rows")


class PickyPredictor(EchoPredictor):
    def predict(self, rows: Sequence[Row]) -> list[Output]:
        if any(row["text"] == "boom" for row in rows):
            raise ZeroDivisionError("secret")
        return super().predict(rows)


@pytest.mark.parametrize("route", ["predict", "explain"])
def test_of_a_batch_only_the_request_with_the_row_that_fails_is_refused_and_told_which_row(
    records: Records, route: str
) -> None:
    predictor = PickyPredictor()
    with make_client(records, make_model(predictor)) as client, ThreadPoolExecutor(4) as pool:
        predictor.gate.clear()
        first = pool.submit(post, client, route, {"inputs": ["a"]})
        assert predictor.started.wait(timeout=10)
        others = [pool.submit(post, client, route, {"inputs": inputs}) for inputs in (["b", "boom"], ["c"])]
        predictor.gate.set()
        failed, answered = (other.result() for other in others)

    document = problem(failed, 500)
    assert document["errors"][0]["pointer"] == "/inputs/1"
    assert "secret" not in failed.text
    assert [first.result().status_code, answered.status_code] == [200, 200]


def test_a_fault_in_the_model_is_answered_without_its_inside(records: Records) -> None:
    with make_client(records, make_model(BrokenPredictor())) as client:
        response = post(client, "predict", {"inputs": ["a"]})

    problem(response, 500)
    assert "secret" not in response.text


def test_schema_and_openapi_describe_the_kinds_own_inputs_and_outputs(client: TestClient) -> None:
    schema = client.get(f"/{PRODUCT}/schema").json()
    openapi = client.get(f"/{PRODUCT}/openapi.json").json()

    assert schema["input"]["properties"].keys() == {"text"}
    assert schema["output"]["properties"].keys() == {"label", "length"}
    assert schema["examples"] == [{"text": "Say it again."}]
    components = openapi["components"]["schemas"]
    assert components["Input"] == schema["input"]
    assert components["Inputs"]["properties"]["inputs"]["maxItems"] == 5
    assert openapi["servers"] == [{"url": f"/{PRODUCT}"}]
    references = {part.split('"')[0] for part in json.dumps(openapi).split('"$ref": "#/components/schemas/')[1:]}
    assert references <= components.keys()


def test_the_playground_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get(f"/{PRODUCT}/")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    (digest,) = re.findall(r"script-src '(sha256-[^']+)'", policy)
    script = response.text.partition("<script>")[2].partition("</script>")[0]
    assert digest == "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def test_a_page_without_script_and_style_may_run_none() -> None:
    assert "script-src 'none'; style-src 'none'" in describe_policy("<!doctype html><p>Hello</p>")


def test_the_products_address_without_a_slash_leads_to_its_page(client: TestClient) -> None:
    response = client.get(f"/{PRODUCT}", follow_redirects=False)

    assert response.status_code == 307
    assert response.headers["location"].endswith(f"/{PRODUCT}/")


def test_dots_in_an_advice_stay_as_they_are(client: TestClient) -> None:
    document = problem(post(client, "predict", {"input": ["a"]}), 422)

    assert document["detail"].endswith('Send {"inputs": [...]}.')
    assert ".." not in document["detail"].replace("[...]", "")


def test_an_answer_lists_the_first_wrong_places_and_counts_the_others(
    records: Records, predictor: EchoPredictor
) -> None:
    with make_client(records, make_model(predictor, max_inputs=1000)) as client:
        keys = problem(post(client, "predict", {"inputs": ["a"]} | dict.fromkeys(map(str, range(99)))), 422)
        inputs = problem(post(client, "predict", {"inputs": [0] * 1000}), 422)

    assert len(keys["errors"]) == 99
    assert "And 98 more." in keys["detail"]
    assert len(inputs["errors"]) == MAX_LISTED
    assert inputs["errors"][-1]["pointer"] == f"/inputs/{MAX_LISTED - 1}"
    assert "And 999 more." in inputs["detail"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"inputs": [' + b"[" * 2000 + b"]" * 2000 + b"]}", 413, "levels"),
        (b"{" + b",".join(b'"%d":0' % key for key in range(2000)) + b"}", 413, "more than 100 keys"),
        (b'{"inputs": [' + b"1" * 3000 + b"]}", 400, "more than 400 digits"),
        (b'{"inputs": ["' + b"a" * 3000 + b'", }', 400, "expected ',' or ']' at byte 3016"),
        (b'{"inputs": ["' + b"a" * 3000 + b'", tru]}', 400, "inputs/1: not valid JSON"),
        (b'{"inputs": ["' + b"a" * 3000, 400, "does not end"),
        (b"[" + b"1," * 1500 + b"1]", 422, "valid dictionary"),
        (b'{"inputs": {"a": "' + b"a" * 3000 + b'"}}', 422, "valid list"),
        (b'{"inputs": [' + b"1," * 1500 + b"1]}", 413, "at most 1000"),
    ],
)
def test_large_bodies_are_refused_in_the_words_of_small_ones(
    records: Records, predictor: EchoPredictor, body: bytes, status: int, words: str
) -> None:
    with make_client(records, make_model(predictor, max_inputs=1000)) as client:
        response = client.post(f"/{PRODUCT}/predict", content=body, headers={"content-type": "application/json"})

    assert words in problem(response, status)["detail"]


def test_a_large_body_with_many_outputs_is_answered_as_a_small_one_is(
    records: Records, predictor: EchoPredictor
) -> None:
    with make_client(records, make_model(predictor, waiting=1000)) as client:
        outputs = post(client, "predict", {"inputs": ["é" * number for number in range(1, 101)]}).json()["outputs"]

    assert [output["length"] for output in outputs] == list(range(1, 101))
    assert len({output["id"] for output in outputs}) == 100


def test_large_bodies_that_wait_hold_a_bounded_number_of_bytes(records: Records, predictor: EchoPredictor) -> None:
    predictor.gate.clear()
    # Of 16 times 20,000 bytes, 16 of these bodies leave 240.
    body = {"inputs": ["a" * 19_970]}
    with (
        make_client(records, make_model(predictor, max_body_bytes=20_000)) as client,
        ThreadPoolExecutor(HELD_BODIES + 2) as senders,
    ):
        large = [senders.submit(post, client, "predict", body) for _ in range(HELD_BODIES + 1)]
        done, waiting = wait(large, timeout=10, return_when=FIRST_COMPLETED)
        small = senders.submit(post, client, "predict", {"inputs": ["a"]})
        predictor.gate.set()

    (refused,) = (response.result() for response in done)
    assert problem(refused, 429)["detail"].startswith("body: too many large bodies")
    assert refused.headers["retry-after"] == "1"
    assert [response.result().status_code for response in [*waiting, small]] == [200] * (HELD_BODIES + 1)


def test_a_large_body_is_read_no_further_when_nobody_waits_for_it_any_longer(predictor: EchoPredictor) -> None:
    with pytest.raises(TimeoutError):
        parse_rows(json.dumps({"inputs": ["a"]}).encode(), predictor, 5, deadline=time.monotonic() - 1)
