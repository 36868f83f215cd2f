"""Files in and out: as a whole body, in a form, as base64 in JSON, and by their bytes of the type that is taken."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from launchyard.bundle.feedback import LabelFeedback
from launchyard.bundle.manifest import GateRecord
from launchyard.bundle.self_test import EXAMPLES_NAME, Example, Examples, find_difference, self_test
from launchyard.media import sniff_media_type
from launchyard.prediction.media import spell_media
from launchyard.privacy.pseudonyms import IdentitySigner
from launchyard.records.records import Records
from launchyard.rollout.rules import Release
from launchyard.settings import Settings
from launchyard_serving.ingress import ProductEndpoint
from launchyard_serving.replica.batching import MicroBatcher
from launchyard_serving.replica.follow import Follower
from launchyard_serving.replica.model import ServedModel
from media_samples import JPEG, PNG, WAV, TurningPredictor, turn
from serving_samples import PRODUCT, make_spec

RELEASE = Release(
    version=3, digest="d" * 64, bundle_uri="bundles/d", gate=GateRecord(evaluation_sha256="0" * 64, gates=())
)
AS_PICTURE = {"accept": "image/png"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    predictor, records = TurningPredictor(), Records(Settings(home=tmp_path))
    executor = ThreadPoolExecutor(1)
    model = ServedModel(
        release=RELEASE,
        spec=make_spec(max_body_bytes=2048),
        feedback=LabelFeedback(()),
        predictor=predictor,
        predictions=MicroBatcher(predictor.predict, executor, max_batch_size=2, max_waiting_rows=10),
        explanations=None,
    )
    signer = IdentitySigner(b"k" * 32, namespace="default", product=PRODUCT)
    follower = Follower(lambda: RELEASE, lambda _: model)
    app = ProductEndpoint(PRODUCT, follower, signer, records, lambda _: LabelFeedback(())).build_app()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    records.close()


def spell(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("data", [PNG, JPEG], ids=["png", "jpeg"])
def test_a_picture_as_the_body_is_answered_with_a_picture_as_the_body(client: TestClient, data: bytes) -> None:
    headers = AS_PICTURE | {"content-type": str(sniff_media_type(data))}

    response = client.post("/predict", content=data, headers=headers)

    assert (response.status_code, response.content) == (200, turn(data))
    assert response.headers["content-type"] == "image/png"
    assert response.headers["launchyard-output-id"].startswith(f"default.{PRODUCT}.3.")


@pytest.mark.parametrize("data", [PNG, JPEG], ids=["png", "jpeg"])
def test_a_form_holds_a_file_beside_other_fields(client: TestClient, data: bytes) -> None:
    response = client.post("/predict", files={"image": ("a.txt", data)}, data={"shift": "5"})

    (output,) = response.json()["outputs"]
    assert base64.b64decode(output["picture"]) == turn(data)
    assert output["size_bytes"] == 5


def test_json_holds_files_as_base64_several_at_once(client: TestClient) -> None:
    inputs = [{"image": spell(PNG)}, {"image": f"data:image/jpeg;base64,{spell(JPEG)}", "shift": 2}]

    response = client.post("/predict", json={"inputs": inputs})

    assert [base64.b64decode(output["picture"]) for output in response.json()["outputs"]] == [turn(PNG), turn(JPEG)]


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"content": WAV, "headers": {"content-type": "image/png"}}, 415, "its content is audio/wav"),
        ({"content": b"text", "headers": {"content-type": "image/png"}}, 415, "of a type that is not known"),
        ({"content": WAV, "headers": {"content-type": "audio/wav"}}, 415, "multipart/form-data or image/png or image/"),
        ({"files": {"image": ("a.png", WAV)}}, 415, "image: must be image/png or image/jpeg, its content is audio"),
        ({"files": {"shift": ("a.png", PNG)}}, 422, "shift: is a file, and takes none"),
        ({"files": [("image", ("a", PNG)), ("image", ("b", PNG))]}, 422, "image: stands twice"),
        ({"files": {"image": ("a", PNG)}, "data": {"shift": "much"}}, 422, "valid integer"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 400, "not a valid form"),
        ({"content": PNG * 20, "headers": {"content-type": "image/png"}}, 413, "serve.max_body_bytes"),
        ({"json": {"inputs": [{"image": spell(WAV)}]}}, 422, "must be image/png or image/jpeg, is audio/wav"),
        ({"json": {"inputs": [{"image": "?"}]}}, 422, "as base64"),
        ({"json": {"inputs": [{"image": spell(PNG)}] * 2}, "headers": AS_PICTURE}, 422, "got 2 inputs"),
    ],
)
def test_what_is_no_such_file_is_refused_in_words(
    client: TestClient, request_: dict[str, Any], status: int, words: str
) -> None:
    response = client.post("/predict", **request_)

    assert response.status_code == status, response.text
    assert words in response.json()["detail"]


def test_the_description_lists_every_form_of_body_and_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    operation = document["paths"]["/predict"]["post"]
    assert list(operation["requestBody"]["content"]) == [
        *("application/json", "multipart/form-data", "image/png", "image/jpeg")
    ]
    assert list(operation["responses"]["200"]["content"]) == ["application/json", "image/png"]
    image = document["components"]["schemas"]["Input"]["properties"]["image"]
    assert image["anyOf"][0] == {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}


def test_the_self_test_of_a_model_of_pictures_is_kept_as_json_and_passes(tmp_path: Path) -> None:
    predictor = TurningPredictor()
    row = predictor.parse({"image": PNG})
    (output,) = predictor.predict([row])
    examples = Examples((Example(input=spell_media({"image": PNG}), expected=spell_media(output), tolerance=0),))
    (tmp_path / EXAMPLES_NAME).write_text(examples.model_dump_json(), encoding="utf-8")

    self_test(predictor, tmp_path, find_difference)
