"""Three kinds of a distribution that no line of the platform knows, each used as a person uses a product.

One streams and trains nothing, one fits numbers of which less error is better, one turns pictures into pictures.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import requests

from doc_blocks import ROOT
from launchyard.settings import Settings
from launchyard_serving.session.session import find_free_port
from server_process import Server, running_server, wait_until
from third_party import ESTIMATE, REPLIES, RESTORE, SOURCE, OutsideProduct, install_kinds

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

COMMAND = Path(sys.executable).with_name("launchyard")
COMMAND_TIMEOUT_S = 300
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Workplace:
    """A folder with the three products, an environment with their kinds, and the commands a person types there."""

    folder: Path
    server: Server

    def call(self, *arguments: str | Path, code: int = 0) -> str:
        """Return what a command says."""
        result = call(self.folder, *arguments)
        assert result.returncode == code, f"{arguments}\n{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    def read(self, *arguments: str | Path) -> Any:
        """Return the document that a command prints."""
        result = call(self.folder, *arguments, "--json")
        assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
        return json.loads(result.stdout)

    def url(self, product: OutsideProduct, route: str = "") -> str:
        """Return the address of a product's route."""
        return f"{self.server.url}/{product.name}/{route}"

    def ask(self, product: OutsideProduct, route: str, **body: Any) -> Any:
        """Return the answer of a route."""
        response = requests.post(self.url(product, route), json=body, timeout=60)
        assert response.ok, response.text
        return response.json()

    def version(self, product: OutsideProduct) -> int:
        """Return the version that the endpoint answers with."""
        response = requests.get(self.url(product, "ready"), timeout=10)
        return int(response.json()["model"]["version"]) if response.ok else 0


def call(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, "LAUNCHYARD_HOME": str(folder / "home"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """The kinds installed, each product run once, and one server for all of them."""
    folder = tmp_path_factory.mktemp("workplace")
    install_kinds(folder / "site")
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
        # An empty path would be the folder that a program is started in.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        for product in (REPLIES, ESTIMATE, RESTORE):
            product.write(folder)
            result = call(folder, "run", product.name, "--json")
            assert result.returncode == 0, result.stdout + result.stderr
        settings = Settings(home=folder / "home", port=find_free_port())
        with running_server(settings, folder / "server.txt") as server:
            yield Workplace(folder, server)


def test_no_line_of_the_platform_knows_them() -> None:
    roots = [ROOT / name for name in ("platform", "pipelines", "serving")]
    names = ("acme_kinds", REPLIES.kind, ESTIMATE.kind, RESTORE.kind)

    found = [
        path.name
        for root in roots
        for path in root.rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in names)
    ]

    assert found == []
    assert sorted(path.name for path in SOURCE.glob("acme_kinds/*/")) == ["estimate", "replies", "restore"]


def test_a_kind_that_streams_and_trains_nothing(workplace: Workplace) -> None:
    product = REPLIES
    assert "nothing: the model is served as it is" in workplace.call("validate", product.name)
    refused = workplace.call("validate", product.name, "--set", "serve.max_batch_size=8", code=2)
    assert "answers are streamed, each by itself" in refused
    record = read_run(workplace, product)
    assert record["steps"] == ["prepare", "evaluate", "register", "deploy"]
    assert record["metrics"]["test"]["word_f1"] > 0.5
    report = read_report(record)
    for words in ("Words in common", "Same reply", "Worst replies", "up to 4 words"):
        assert words in report

    question = {"question": "How do I set train.batch_size?", "customer": "c7"}
    (output,) = workplace.ask(product, "predict", inputs=[question])["outputs"]
    streamed = requests.post(
        workplace.url(product, "predict"),
        json={"inputs": [question]},
        headers={"accept": "text/event-stream"},
        stream=True,
        timeout=60,
    )
    pieces = [line for line in streamed.iter_lines(decode_unicode=True) if line]
    completed = workplace.ask(product, "v1/complete", prompt=question["question"])
    assert "Rows per optimiser step" in output["reply"]
    assert len(pieces) > 5
    assert completed["text"] == output["reply"]
    assert requests.get(workplace.url(product), timeout=10).text.count("Ask the help desk") == 2
    refuses_to_explain(workplace, product, question)
    assert {"/predict", "/v1/complete"} <= read_openapi(workplace, product)["paths"].keys()

    correction = "Set train.batch_size to the rows of one step."
    workplace.ask(product, "feedback", id=output["id"], correction=correction)
    wrong = requests.post(workplace.url(product, "feedback"), json={"id": output["id"], "label": "good"}, timeout=10)
    assert (wrong.status_code, "a reply has none" in wrong.text) == (422, True)
    assert [found["correction"] for found in list_feedback(workplace, product)] == [correction]

    write_csv(workplace.folder / "asked.csv", {"question": ["What is data.redact?", "", "zzz"], "customer": ["c1"] * 3})
    workplace.call("batch", product.name, "-i", "asked.csv", "-o", "answers.jsonl", "--max-errors", "0.5")
    rows = [json.loads(line) for line in (workplace.folder / "answers.jsonl").read_text().splitlines()]
    assert "Personal data to mask" in rows[0]["reply"]
    assert "is empty" in rows[1]["error"]
    assert rows[2]["reply"] == ""

    forgets(workplace, product, "c7", num_feedback=1)
    promotes(workplace, product, "model.min_similarity=0.2", forgotten="c7")


def test_a_kind_that_fits_numbers_of_which_less_error_is_better(workplace: Workplace) -> None:
    product = ESTIMATE
    assert "in one computation" in workplace.call("validate", product.name)
    refused = workplace.call("validate", product.name, "--set", "train.seed=8", code=2)
    assert "draws nothing at random" in refused
    record = read_run(workplace, product)
    assert record["steps"] == ["prepare", "train", "evaluate", "register", "deploy"]
    assert record["num_rows"] == 462  # The 20 repeated ones, too.
    assert [gate["rule"].partition(" ")[0] for gate in record["gates"]] == ["<=", "<", "<="]
    assert record["metrics"]["test"]["mae"] < record["baseline"]["mae"]
    report = read_report(record)
    for words in ("Mean absolute error", "Estimates over the truth", "10 most similar rows"):
        assert words in report

    schema = read_openapi(workplace, product)["components"]["schemas"]["Input"]
    assert sorted(schema["required"]) == sorted(product.blocks["data"]["features"])
    patient = schema["examples"][0] | {"patient": "p3"}
    explained = workplace.ask(product, "explain", inputs=[patient])["outputs"][0]
    (output,) = workplace.ask(product, "predict", inputs=[patient])["outputs"]
    usual = output["estimate"] - sum(explained["contributions"].values())
    heavier = workplace.ask(product, "explain", inputs=[patient | {"bmi": patient["bmi"] + 10}])["outputs"][0]
    assert explained["estimate"] == output["estimate"]
    assert usual == pytest.approx(heavier["estimate"] - sum(heavier["contributions"].values()), abs=1e-6)
    assert heavier["estimate"] > output["estimate"] + 10
    assert "<title>Estimate</title>" in requests.get(workplace.url(product), timeout=10).text
    shown = workplace.call("predict", product.name, json.dumps(patient), "--explain", "--url", workplace.server.url)
    assert "contributions" in shown

    workplace.ask(product, "feedback", id=output["id"], correction=171.5)
    wrong = requests.post(
        workplace.url(product, "feedback"), json={"id": output["id"], "correction": "much"}, timeout=10
    )
    assert wrong.status_code == 422
    assert [found["correction"] for found in list_feedback(workplace, product)] == [171.5]

    workplace.call("batch", product.name, "-i", f"{product.name}/patients.csv", "-o", "estimates.parquet")
    estimates = pq.read_table(workplace.folder / "estimates.parquet")
    errors = [abs(row["estimate"] - float(row["target"])) for row in estimates.to_pylist()]
    assert (estimates.num_rows, sum(errors) / len(errors) < 50) == (462, True)

    forgets(workplace, product, "p3", num_feedback=1)
    promotes(workplace, product, "model.alpha=3", forgotten="p3")


def test_a_kind_of_pictures_in_and_a_picture_out(workplace: Workplace) -> None:
    product = RESTORE
    assert "linear map of 8 x 8 pixels" in workplace.call("validate", product.name)
    record = read_run(workplace, product)
    assert record["steps"] == ["prepare", "train", "evaluate", "register", "deploy"]
    assert record["num_rows"] == 400
    assert record["metrics"]["test"]["psnr"] > record["baseline"]["psnr"] + 1
    report = read_report(record)
    for words in ("Peak signal-to-noise ratio", "Worst pictures", "data:image/png;base64,", "1 files cannot be had"):
        assert words in report

    noisy = (workplace.folder / product.name / "pictures/7-noisy.png").read_bytes()
    image = base64.b64encode(noisy).decode()
    (output,) = workplace.ask(product, "predict", inputs=[{"image": image}])["outputs"]
    raw = requests.post(
        workplace.url(product, "predict"),
        data=noisy,
        headers={"content-type": "image/png", "accept": "image/png"},
        timeout=60,
    )
    form = requests.post(workplace.url(product, "predict"), files={"image": ("7.png", noisy)}, timeout=60)
    other = requests.post(workplace.url(product, "predict"), files={"image": ("7.png", b"GIF89a" * 9)}, timeout=60)
    assert raw.content == base64.b64decode(output["picture"])
    assert raw.content.startswith(PNG_HEAD)
    assert [answer["picture"] for answer in form.json()["outputs"]] == [output["picture"]]
    assert (other.status_code, "image/gif" in other.text) == (415, True)
    refuses_to_explain(workplace, product, {"image": image})
    page = requests.get(workplace.url(product), timeout=10)
    assert (page.status_code, "no page" in page.text) == (404, True)

    workplace.ask(product, "feedback", id=output["id"], correction={"stars": 4})
    wrong = requests.post(
        workplace.url(product, "feedback"), json={"id": output["id"], "correction": {"stars": 9}}, timeout=10
    )
    assert wrong.status_code == 422
    assert [found["correction"]["stars"] for found in list_feedback(workplace, product)] == [4]

    pictures = [f"{product.name}/pictures/{number}-noisy.png" for number in range(3)]
    write_csv(workplace.folder / "pictures.csv", {"image": [*pictures, "nowhere.png"], "number": ["0", "1", "2", "3"]})
    workplace.call("batch", product.name, "-i", "pictures.csv", "-o", "restored.parquet", "--max-errors", "0.5")
    restored = pq.read_table(workplace.folder / "restored.parquet").to_pylist()
    assert [row["picture"][:8] for row in restored[:3]] == [PNG_HEAD] * 3
    assert "nowhere.png" in restored[3]["error"]

    forgets(workplace, product, "s5", num_feedback=0)
    promotes(workplace, product, "train.turned_copies=3", forgotten="s5")


def read_run(workplace: Workplace, product: OutsideProduct) -> dict[str, Any]:
    """Return the record of the newest run, with what its bundle says of its rows and of the baseline."""
    runs = sorted((workplace.server.settings.runs_dir(product.name)).glob("2*/run.json"))
    record: dict[str, Any] = json.loads(runs[-1].read_text(encoding="utf-8"))
    bundle = Path(record["bundle"])
    dataset = json.loads((bundle / "dataset.json").read_text(encoding="utf-8"))
    evaluation = json.loads((bundle / "evaluation.json").read_text(encoding="utf-8"))
    baseline = {name: measure["value"] for name, measure in evaluation["baseline"].items()}
    steps = [step["name"] for step in record["steps"]]
    return record | {"steps": steps, "num_rows": sum(dataset["num_rows"].values()), "baseline": baseline}


def read_report(record: dict[str, Any]) -> str:
    return Path(record["report"]).read_text(encoding="utf-8")


def read_openapi(workplace: Workplace, product: OutsideProduct) -> Any:
    return requests.get(workplace.url(product, "openapi.json"), timeout=10).json()


def refuses_to_explain(workplace: Workplace, product: OutsideProduct, raw: dict[str, Any]) -> None:
    """Check that there is no such route, and that the answer says why."""
    response = requests.post(workplace.url(product, "explain"), json={"inputs": [raw]}, timeout=10)

    assert (response.status_code, "explain" in response.json()["detail"]) == (404, True)
    assert "/explain" not in read_openapi(workplace, product)["paths"]


def list_feedback(workplace: Workplace, product: OutsideProduct) -> list[dict[str, Any]]:
    """Return what was said, newest first."""
    feedback: list[dict[str, Any]] = workplace.read("feedback", product.name)["feedback"]
    return feedback


def write_csv(path: Path, columns: dict[str, list[str]]) -> None:
    pyarrow.csv.write_csv(pa.table(columns), path)


def forgets(workplace: Workplace, product: OutsideProduct, person: str, *, num_feedback: int) -> None:
    """Check that what is kept of a person goes now, and what was learned from them is named."""
    found = workplace.read("forget", product.name, "--user", person, "--yes")

    assert (found["removed"], found["now"]["feedback"], found["learned"]) == (True, num_feedback, [1])
    assert found["now"]["training_rows"] > 0
    assert len(list_feedback(workplace, product)) == 1 - num_feedback


def promotes(workplace: Workplace, product: OutsideProduct, setting: str, *, forgotten: str) -> None:
    """Check that the next version is trained without the forgotten, is served, and makes way for the first again."""
    before = read_run(workplace, product)
    data = product.blocks["data"]
    subjects = pyarrow.csv.read_csv(workplace.folder / product.name / data["source"])[data["subject"]].to_pylist()
    workplace.call("run", product.name, "--set", setting, "--set", "evaluate.beat_champion=null")
    after = read_run(workplace, product)

    assert (after["version"], before["num_rows"] - after["num_rows"]) == (2, subjects.count(forgotten))
    wait_until(lambda: workplace.version(product) == 2, timeout_s=60, what="version 2")
    workplace.call("promote", product.name, "1")
    wait_until(lambda: workplace.version(product) == 1, timeout_s=60, what="version 1")
