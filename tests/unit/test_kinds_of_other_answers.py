"""Kinds from elsewhere that stream, or take files, released as any other: the endpoint and batches answer with them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from launchyard.bundle.manifest import write_manifest
from launchyard.bundle.self_test import EXAMPLES_NAME, Example, Examples
from launchyard.cli.main import build_app
from launchyard.contract.predictor import Device
from launchyard.errors import SpecError
from launchyard.files.atomic import write_text
from launchyard.kinds import get_kind
from launchyard.prediction.media import spell_media
from launchyard.settings import Settings
from launchyard.spec.load import load_spec
from launchyard_serving.replica.build import build_replica
from media_samples import JPEG, PNG, WAV, turn
from report_samples import make_dataset, make_evaluation
from serving_samples import LABELS, deploy_bundle
from spec_samples import write_spec
from untrained_kind import installed

PRODUCT = "other-answers"
MODULE = '''
"""A kind whose answers are of another sort."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from launchyard.kinds.text_classification import KIND as TEXTS
from launchyard.kinds.text_classification.spec import TextClassification
from launchyard.spec.blocks import {serve} as OwnServe
{imports}

class Other(TextClassification):
    kind: Literal["acme-notes"] = Field(description="What sort of product it is.")
    serve: OwnServe = Field(OwnServe(), description="How the endpoint answers.")

    def iter_ineffective(self):
        yield from ()


KIND = replace(TEXTS, name="acme-notes", spec=Other, answers="{answers}", predictor="{predictor}"{more})
'''
STREAMS = MODULE.format(
    serve="StreamServe",
    imports="",
    answers="streamed",
    predictor="stream_samples:SayingPredictor",
    more=', routes="stream_samples:list_routes"',
)
PICTURES = MODULE.format(
    serve="Serve", imports="", answers="singly", predictor="media_samples:TurningPredictor", more=""
)


@dataclass
class Served:
    """A released product of the kind."""

    settings: Settings
    client: TestClient


def release(folder: Path, inputs: list[Any], **serve: Any) -> Settings:
    """Make a bundle of the installed kind, its self-test of ``inputs`` included, and let it serve."""
    spec = load_spec(write_spec(folder, product=PRODUCT, kind="acme-notes", serve=serve))
    bundle, settings = folder / "bundle", Settings(home=folder / "home")
    bundle.mkdir()
    dataset = make_dataset(LABELS).model_copy(update={"product": PRODUCT})
    write_text(bundle / "dataset.json", dataset.model_dump_json())
    evaluation = make_evaluation(LABELS)
    passed = tuple(gate.model_copy(update={"passed": True}) for gate in evaluation.gates)
    write_text(bundle / "evaluation.json", evaluation.model_copy(update={"gates": passed}).model_dump_json())
    predictor = get_kind("acme-notes").load_predictor(bundle, Device(1))
    outputs = predictor.predict([predictor.parse(raw) for raw in inputs])
    examples = [
        Example(input=spell_media(raw), expected=spell_media(output), tolerance=0)
        for raw, output in zip(inputs, outputs, strict=True)
    ]
    write_text(bundle / EXAMPLES_NAME, Examples(tuple(examples)).model_dump_json())
    manifest = write_manifest(bundle, spec, namespace="default", run_id="run", code_version="0.1.0", base_model=None)
    deploy_bundle(settings, bundle, manifest)
    return settings


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    tmp_path = tmp_path_factory.mktemp("streaming")
    with installed(tmp_path / "site", STREAMS):
        settings = release(tmp_path, ["so it is"], max_streams=3, max_body_bytes=4096)
        with TestClient(build_replica(settings, PRODUCT, Device(1))) as client:
            yield Served(settings, client)


@pytest.fixture
def drawing(tmp_path: Path) -> Iterator[Served]:
    with installed(tmp_path / "site", PICTURES):
        settings = release(tmp_path, [{"image": PNG}])
        with TestClient(build_replica(settings, PRODUCT, Device(1))) as client:
            yield Served(settings, client)


def run_batch(served: Served, *arguments: object) -> Result:
    words = ["batch", PRODUCT, *map(str, arguments)]
    environment = {"LAUNCHYARD_HOME": str(served.settings.home), "COLUMNS": "200"}
    return CliRunner().invoke(build_app(), words, env=environment, catch_exceptions=False)


def test_a_kind_that_streams_is_served_with_events_and_answers_batches(streaming: Served, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,text\n1,one two\n2,fail\n3,three\n", encoding="utf-8")

    events = streaming.client.post(
        "/predict", json={"inputs": ["a word"]}, headers={"accept": "text/event-stream"}
    ).text
    run_batch(streaming, "--input", tmp_path / "rows.csv", "--output", tmp_path / "a.parquet", "--max-errors", 0.5)

    assert events.startswith('data: {"word":"a"}\n\ndata: {"word":"word"}\n\nevent: answer\ndata: {"model":')
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["id"], row["num_words"], row["error"] is None) for row in rows] == [
        *(("1", 2, True), ("2", None, False), ("3", 1, True))
    ]


def test_a_kind_without_a_page_says_so(streaming: Served) -> None:
    response = streaming.client.get("/")

    assert response.status_code == 404
    assert response.json()["detail"].startswith(f"{PRODUCT}: acme-notes has no page. Use the method and path")


def test_routes_of_a_kind_s_own_answer_streams_and_errors_in_its_protocol(streaming: Served) -> None:
    def say(**body: Any) -> Any:
        return streaming.client.post("/v1/say", json=body)

    whole, streamed = say(prompt="one two"), say(prompt="one two", stream=True)
    broken = say(prompt="one fail", stream=True)

    assert whole.json().pop("id").startswith(f"default.{PRODUCT}.1.")
    assert (whole.json()["said"], streaming.client.get("/v1/models").json()) == ("one two", {"models": [PRODUCT]})
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert streamed.text == 'data: {"word":"one"}\n\ndata: {"word":"two"}\n\ndata: [DONE]\n\n'
    assert broken.text.startswith('data: {"word":"one"}\n\ndata: {"error":{"code":500,"message":"inputs/0: the model')


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"json": {"prompt": "fail", "stream": True}}, 500, "the model failed on this input"),
        ({"json": {"prompt": "fail"}}, 500, "the model failed on this input"),
        ({"json": {"prompt": ""}}, 422, "text: must be a text"),
        ({"json": {"prompt": 3}}, 422, "prompt: Input should be a valid string"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not valid JSON"),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "must be application/json"),
        ({"json": {"prompt": "x" * 5000}}, 413, "serve.max_body_bytes"),
    ],
)
def test_what_is_wrong_with_a_request_to_a_kind_s_own_route_is_said_in_its_protocol(
    streaming: Served, request_: dict[str, Any], status: int, words: str
) -> None:
    response = streaming.client.post("/v1/say", **request_)

    assert (response.status_code, response.json()["error"]["code"]) == (status, status), response.text
    assert words in response.json()["error"]["message"]


def test_routes_of_a_kind_s_own_are_described_and_all_others_are_refused_as_ever(streaming: Served) -> None:
    document = streaming.client.get("/openapi.json").json()
    refused = {
        path: streaming.client.request(method, path)
        for method, path in (("GET", "/v1/say"), ("POST", "/v1/nothing"), ("GET", "/predict"))
    }

    operation = document["paths"]["/v1/say"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Route0Body"
    }
    assert document["components"]["schemas"]["Route0Body"]["required"] == ["prompt"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert list(document["paths"]["/v1/models"]) == ["get"]
    assert {path: response.status_code for path, response in refused.items()} == {
        "/v1/say": 405,
        "/v1/nothing": 404,
        "/predict": 405,
    }
    assert all(response.headers["content-type"] == "application/problem+json" for response in refused.values())


def test_what_only_batches_read_has_no_effect_on_a_kind_that_streams(tmp_path: Path) -> None:
    with installed(tmp_path / "site", STREAMS):
        path = write_spec(tmp_path, kind="acme-notes", serve={"max_batch_size": 8})

        with pytest.raises(SpecError, match=r"serve\.max_batch_size: has no effect: acme-notes computes no batches"):
            load_spec(path)


def test_a_kind_of_pictures_is_served_and_answers_batches_of_bytes_and_of_paths(
    drawing: Served, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(JPEG)
    (folder / "sound.png").write_bytes(WAV)
    paths = ["one.jpg", "sound.png", "none.png"]
    pq.write_table(pa.table({"image": paths}), folder / "paths.parquet")
    pq.write_table(pa.table({"id": ["a", "b"], "image": [PNG, JPEG]}), folder / "bytes.parquet")

    answer = drawing.client.post("/predict", content=PNG, headers={"content-type": "image/png"}).json()
    run_batch(drawing, "--input", folder / "bytes.parquet", "--output", tmp_path / "a.parquet")
    run_batch(drawing, "--input", folder / "paths.parquet", "--output", tmp_path / "b.parquet", "--max-errors", 0.7)

    assert base64.b64decode(answer["outputs"][0]["picture"]) == turn(PNG)
    assert pq.read_table(tmp_path / "a.parquet")["picture"].to_pylist() == [turn(PNG), turn(JPEG)]
    table = pq.read_table(tmp_path / "b.parquet")
    assert table["picture"].to_pylist() == [turn(JPEG), None, None]
    assert "must be image/png or image/jpeg, is audio/wav" in table["error"][1].as_py()
    assert "image: cannot be read: none.png: no such file" in table["error"][2].as_py()
