"""The real server: the command, Ray Serve, HAProxy, replicas that follow the rollout record."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import requests
from playwright.sync_api import expect

from browser_checks import open_page, start_chromium
from launchyard.bundle.store import BundleStore
from launchyard.client import Client
from launchyard.contract.predictor import Device
from launchyard.errors import RequestError, ServerError
from launchyard.kinds import get_kind
from launchyard.records.records import Records
from launchyard.settings import Settings
from launchyard_serving.session.session import find_free_port
from server_process import COMMAND, Server, running_server, wait_until
from serving_samples import PRODUCT, deploy_bundle, make_spec, write_bundle

pytestmark = pytest.mark.integration

DAMAGED = "damaged-product"
JSON = {"content-type": "application/json"}
NUM_CLIENTS = 8


def deploy(settings: Settings, folder: Path, *, seed: int, product: str = PRODUCT) -> int:
    spec = make_spec(product, max_inputs=100, max_body_bytes=65536)
    return deploy_bundle(settings, folder, write_bundle(folder, spec, seed=seed))


def champion_folder(settings: Settings, product: str) -> Path:
    records = Records(settings)
    rollout = records.find_rollout(product)
    records.close()
    assert rollout is not None
    assert rollout.champion is not None
    return BundleStore(settings).find_path(rollout.champion.bundle_uri)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a sound product and one whose champion was damaged after its release; stop as Ctrl-C does."""
    folder = tmp_path_factory.mktemp("serve")
    settings = Settings(home=folder / "home", port=find_free_port())
    deploy(settings, folder / "first", seed=0)
    deploy(settings, folder / "damaged", seed=1, product=DAMAGED)
    flip_byte(champion_folder(settings, DAMAGED) / "model" / "model.safetensors")
    with running_server(settings, folder / "output.txt") as server:
        yield server


def test_answers_over_http_equal_those_in_process(server: Server) -> None:
    texts = ["a warm and funny film", "the plot was dull", "awful"]
    folder = champion_folder(server.settings, PRODUCT)
    predictor = get_kind("text-classification").load_predictor(folder, Device(1))

    answers = server.client(PRODUCT).predict(texts)

    expected = predictor.predict([predictor.parse(text) for text in texts])
    for answer, wanted in zip(answers.outputs, expected, strict=True):
        assert answer["label"] == wanted["label"]
        assert answer["scores"] == pytest.approx(wanted["scores"], abs=1e-5)


def test_explanations_name_the_words(server: Server) -> None:
    output = server.client(PRODUCT).explain(["a warm film"]).outputs[0]

    assert [word["word"] for word in output["explanation"]["words"]] == ["a", "warm", "film"]


def test_the_index_and_the_routes_of_a_product_answer(server: Server) -> None:
    index = requests.get(server.url, timeout=10).json()
    openapi = requests.get(f"{server.url}/{PRODUCT}/openapi.json", timeout=10).json()

    assert {product["name"] for product in index["products"]} == {PRODUCT, DAMAGED}
    assert "/predict" in openapi["paths"]
    assert server.client(PRODUCT).schema()["kind"] == "text-classification"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"inputs": ["a"', 400),
        (b'{"inputs": [3]}', 422),
        (b'{"inputs": [""]}', 422),
        (json.dumps({"inputs": ["a"] * 10_000}).encode(), 413),
        (json.dumps({"inputs": ["a" * 1_000_000]}).encode(), 413),
    ],
    ids=["malformed JSON", "a wrong type", "an empty text", "10,000 inputs", "a text of 1 MB"],
)
def test_bad_input_gets_a_problem_document(server: Server, body: bytes, status: int) -> None:
    response = requests.post(f"{server.url}/{PRODUCT}/predict", data=body, headers=JSON, timeout=30)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


def test_a_body_of_undeclared_size_is_refused_while_it_streams(server: Server) -> None:
    head = (
        f"POST /{PRODUCT}/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked"
    )
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.settings.port), timeout=30) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        num_sent = 0
        # The body has no end; what ends the loop is the answer.
        while not select.select([connection], [], [], 0)[0]:
            connection.sendall(chunk)
            num_sent += 1
            assert num_sent < 10_000
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"serve.max_body_bytes" in answer


def test_an_unknown_product_is_refused_with_the_known_ones(server: Server) -> None:
    with pytest.raises(RequestError, match=PRODUCT):
        server.client("reviews").predict(["a"])


def test_a_damaged_champion_at_the_start_is_named_and_served_once_it_is_mended(server: Server) -> None:
    weights = champion_folder(server.settings, DAMAGED) / "model" / "model.safetensors"
    with pytest.raises(ServerError, match=r"model/model\.safetensors was altered"):
        Client(server.url, DAMAGED, retry_s=0).ready()

    flip_byte(weights)

    wait_until(lambda: server.is_ready(DAMAGED), timeout_s=60, what="the mended champion")


def test_a_new_champion_takes_over_under_load_without_a_failed_request(server: Server, tmp_path: Path) -> None:
    before = server.client(PRODUCT).ready()["model"]["version"]
    stop = Event()

    def ask() -> list[int]:
        versions = []
        with Client(server.url, PRODUCT, retry_s=0) as client:
            while not stop.is_set():
                versions.append(client.predict(["a warm film"]).version)
        return versions

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        clients = [pool.submit(ask) for _ in range(NUM_CLIENTS)]
        try:
            after = deploy(server.settings, tmp_path / "next", seed=2)
            wait_until(
                lambda: server.client(PRODUCT).ready()["model"]["version"] == after,
                timeout_s=60,
                what="the new champion",
            )
        finally:
            stop.set()
        seen = [client.result() for client in clients]

    assert after == before + 1
    for versions in seen:
        assert versions == sorted(versions)
        assert set(versions) <= {before, after}
    assert {versions[0] for versions in seen} == {before}


def test_a_damaged_new_champion_is_refused_and_the_old_one_answers(server: Server, tmp_path: Path) -> None:
    before = server.client(PRODUCT).ready()["model"]
    spec = make_spec(PRODUCT, max_inputs=100, max_body_bytes=65536)
    records, store = Records(server.settings), BundleStore(server.settings)
    manifest = write_bundle(tmp_path / "bad", spec, seed=3)
    added = records.add_version(manifest, store.add(tmp_path / "bad"))
    flip_byte(store.find_path(added.bundle_uri) / "model" / "model.safetensors")
    rollout = records.find_rollout(PRODUCT)
    assert rollout is not None
    decision = rollout.decision
    assert decision is not None
    revision = rollout.revision + 1
    moved = decision.model_copy(update={"revision": revision, "after": added.release})
    bad = rollout.model_copy(update={"revision": revision, "champion": added.release, "decision": moved})
    assert records.write_rollout(bad, rollout.revision)

    refused = wait_until(lambda: server.client(PRODUCT).ready()["refused"], timeout_s=30, what="the refusal")

    assert "model/model.safetensors was altered" in refused
    assert server.client(PRODUCT).predict(["a"]).version == before["version"]
    back = moved.model_copy(update={"revision": revision + 1, "after": rollout.champion})
    record = rollout.model_copy(update={"revision": revision + 1, "decision": back})
    assert records.write_rollout(record, revision)
    records.close()
    wait_until(lambda: server.client(PRODUCT).ready()["refused"] is None, timeout_s=30, what="the way back")


def test_feedback_survives_a_replica_that_is_killed_after_the_answer(server: Server) -> None:
    client = server.client(PRODUCT)
    output = client.predict(["a warm film"]).outputs[0]
    replicas = server.find_replicas(PRODUCT)

    client.give_feedback(output["id"], label="positive", rating=5)
    for number in replicas:
        os.kill(number, signal.SIGKILL)

    assert len(replicas) == 1
    records = Records(server.settings)
    kept = [said for said in records.list_feedback(PRODUCT) if said.output_id == output["id"]]
    records.close()
    assert [(said.label, said.rating) for said in kept] == [("positive", 5.0)]
    wait_until(lambda: server.is_ready(PRODUCT), timeout_s=120, what="the next replica")


def test_an_other_ray_on_the_machine_is_not_disturbed(server: Server) -> None:
    program = (
        "import ray; ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False);"
        "print(ray.get(ray.remote(lambda: 42).remote()), len(ray.nodes()))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout.split()[-2:] == ["42", "1"]
    assert server.client(PRODUCT).predict(["a"]).outputs


@pytest.mark.browser
def test_the_playground_answers_explains_and_takes_feedback_on_the_real_server(server: Server) -> None:
    records = Records(server.settings)
    before = records.count_feedback(PRODUCT)
    with start_chromium() as browser, open_page(browser, f"{server.url}/{PRODUCT}/") as visit:
        visit.page.fill("#text", "a warm film")
        visit.page.click("#send")
        expect(visit.page.locator("#label")).to_have_text("negative", timeout=30_000)
        expect(visit.page.locator("#words")).to_contain_text("warm", timeout=30_000)
        visit.page.click("#right")
        expect(visit.page.locator("#thanks")).to_be_visible(timeout=30_000)

        assert visit.complaints == []
        assert all(url.startswith(server.url) for url in visit.requests)

    assert records.count_feedback(PRODUCT) == before + 1
    records.close()


def test_predict_shows_a_table_of_the_answers(server: Server) -> None:
    done = run_command("predict", PRODUCT, "a warm film", "--url", server.url)

    assert done.returncode == 0
    assert "a warm film" in done.stdout
    assert "negative" in done.stdout


def test_predict_reads_rows_from_standard_input_and_writes_json(server: Server) -> None:
    done = run_command(
        "predict", PRODUCT, "--file", "-", "--json", "--url", server.url, text='{"text": "good"}\n\nbad film\n'
    )

    assert len(json.loads(done.stdout)["outputs"]) == 2


def test_a_second_server_on_the_same_port_is_refused(server: Server) -> None:
    done = run_command("serve", home=server.settings.home, port=server.settings.port)

    assert done.returncode == 1
    assert f"127.0.0.1:{server.settings.port}: cannot listen there" in done.stderr


def test_a_product_that_was_never_deployed_names_the_command_that_deploys_it(server: Server) -> None:
    done = run_command("serve", "reviews", home=server.settings.home)

    assert done.returncode == 1
    assert "launchyard run" in done.stderr
    assert PRODUCT in done.stderr


def run_command(*arguments: str, text: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {f"LAUNCHYARD_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [COMMAND, *arguments], env=environment, input=text, capture_output=True, text=True, timeout=120, check=False
    )
