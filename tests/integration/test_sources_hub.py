"""Hub sources through the hub's own libraries, against a stand-in of the hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch
from web_server import Page, WebServer, serve_web

pytestmark = pytest.mark.integration

COMMIT = "c" * 40
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"a pickle",
    "onnx/model.onnx": b"graph",
    "README.md": b"# Tiny",
}
ROWS = b'{"text": "fine", "stars": 1}\n{"text": "poor", "stars": null}\n'

FETCH = """
import json, sys
from pathlib import Path
from launchyard.errors import SourceError
from launchyard.settings import Settings
from launchyard.sources.resolve import fetch
from launchyard.sources.forms.tables import iter_tables
home, uri = Path(sys.argv[1]), sys.argv[2]
try:
    fetched = fetch(uri, Settings(home=home, timeout_s=5), base_dir=home)
except SourceError as err:
    print(json.dumps({"error": str(err)}))
else:
    files = [fetched.path] if fetched.path.is_file() else [p for p in fetched.path.rglob("*") if p.is_file()]
    rows = [r for t in iter_tables(fetched, None) for r in t.to_pylist()] if fetched.path.suffix == ".parquet" else []
    print(json.dumps({"record": fetched.record.model_dump(), "files": sorted(p.name for p in files), "rows": rows}))
"""


@pytest.fixture
def hub() -> Iterator[WebServer]:
    with serve_web() as server:
        add_repository(server, "model", "org/tiny", FILES)
        add_repository(server, "model", "org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"a pickle"})
        add_repository(server, "dataset", "org/reviews", {"train.jsonl": ROWS, "test.jsonl": ROWS})
        yield server


def add_repository(server: WebServer, kind: str, name: str, files: dict[str, bytes]) -> None:
    info = {
        "id": name,
        "sha": COMMIT,
        "private": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "cardData": {"license": "apache-2.0"},
        "siblings": [{"rfilename": path, "size": len(content)} for path, content in files.items()],
    }
    tree = [
        {"type": "file", "path": path, "size": len(content), "oid": f"{number:040d}"}
        for number, (path, content) in enumerate(files.items())
    ]
    api = f"/api/{kind}s/{name}"
    document = Page(json.dumps(info).encode(), headers={"Content-Type": "application/json"})
    for path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
        server.pages[path] = document
    listing = Page(json.dumps(tree).encode(), headers={"Content-Type": "application/json"})
    for path in (f"{api}/tree/{COMMIT}", f"{api}/paths-info/{COMMIT}"):
        server.pages[path] = listing
    prefix = f"/{name}" if kind == "model" else f"/datasets/{name}"
    absent = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
    settings = ("README.md", ".huggingface.yaml", "dataset_infos.json", f"{name.partition('/')[2]}.py")
    for path in (f"{api}/tree/{COMMIT}/data", *(f"{prefix}/resolve/{COMMIT}/{found}" for found in settings)):
        server.pages[path] = Page(b"", 404, headers=absent, has_etag=False)
    for path, content in files.items():
        server.pages[f"{prefix}/resolve/{COMMIT}/{path}"] = Page(content, headers={"X-Repo-Commit": COMMIT})


def fetch_from(hub: WebServer, home: Path, uri: str, **variables: str) -> dict[str, object]:
    """Fetch in a process of its own, as the hub's libraries read their settings when they are imported."""
    environ = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", **variables}
    command = [sys.executable, "-c", FETCH, str(home), uri]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_model_comes_without_weights_that_run_code(hub: WebServer, tmp_path: Path) -> None:
    found = fetch_from(hub, tmp_path, "hf://org/tiny")
    asked = len(hub.requests)
    again = fetch_from(hub, tmp_path, "hf://org/tiny")

    assert found["files"] == ["README.md", "config.json", "model.onnx", "model.safetensors"]
    assert again == found
    assert isinstance(found["record"], dict)
    assert found["record"]["licence"] == "apache-2.0"
    assert len(hub.requests) == asked + 1


def test_one_file_of_a_model(hub: WebServer, tmp_path: Path) -> None:
    assert fetch_from(hub, tmp_path, f"hf://org/tiny@{COMMIT}/config.json")["files"] == ["config.json"]


def test_a_data_set_becomes_a_table(hub: WebServer, tmp_path: Path) -> None:
    found = fetch_from(hub, tmp_path, "hf://datasets/org/reviews?split=train")

    assert found.get("rows") == [{"text": "fine", "stars": 1}, {"text": "poor", "stars": None}], (found, hub.requests)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://org/none", "no such model, or it is private. Check it, set HF_TOKEN, or write hf://datasets/org/none"),
        ("hf://org/tiny@v9", "no revision 'v9'"),
        ("hf://org/tiny/config.jsn", "no file 'config.jsn'. Did you mean 'config.json'?"),
        ("hf://org/pickled", "no safetensors or GGUF weights"),
        ("hf://datasets/org/reviews", "it has more than one split. Add ?split=<name>. There are: "),
        ("hf://datasets/org/reviews?split=dev", "no split 'dev'"),
    ],
)
def test_what_the_hub_does_not_have_is_explained(hub: WebServer, tmp_path: Path, uri: str, expected: str) -> None:
    missing = {"X-Error-Code": "RepoNotFound"}
    hub.pages["/api/models/org/none"] = Page(b"{}", 404, headers=missing, has_etag=False)
    wrong = {"X-Error-Code": "RevisionNotFound"}
    hub.pages["/api/models/org/tiny/revision/v9"] = Page(b"{}", 404, headers=wrong, has_etag=False)

    found = fetch_from(hub, tmp_path, uri)

    assert expected in str(found.get("error")), found


def test_a_missing_network_is_told_at_once(hub: WebServer, tmp_path: Path) -> None:
    started = time.monotonic()

    found = fetch_from(hub, tmp_path, "hf://datasets/org/reviews?split=train", HF_ENDPOINT="http://127.0.0.1:9")

    assert "the hub cannot be reached" in str(found["error"])
    assert time.monotonic() - started < 20


def test_offline_mode_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        fetch("hf://org/tiny", Settings(home=tmp_path), base_dir=tmp_path)
