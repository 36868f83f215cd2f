"""Servers that the serving benchmarks measure, each in a process of its own.

    python benchmarks/serving_servers.py launchyard|pipeline|bundle PRODUCT PORT

``launchyard`` serves the product as ``launchyard serve`` does, and beside it ``/empty``: a POST of the same body that
computes nothing, behind the same proxy with the same settings. ``pipeline`` is FastAPI around a transformers pipeline,
``bundle`` is FastAPI around our own predictor; both as one would write them, on uvicorn, with as many threads for the
model as the product's endpoint has.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from launchyard.bundle.manifest import read_spec
from launchyard.bundle.store import BundleStore
from launchyard.contract.predictor import Predictor
from launchyard.kinds import get_kind
from launchyard.records.records import Records
from launchyard.settings import Settings, load_settings
from launchyard.spec.blocks import Product
from launchyard.threads import count_serving_threads, find_serving_device
from launchyard_serving.session.session import LOOPBACK, find_free_port, open_session

START_TIMEOUT_S = 240
TEXT = "A warm, funny and well acted film that takes its time, and then goes straight to the heart of its story."


class Body(BaseModel):
    """The body of each server's predict."""

    inputs: list[str]


def find_champion(settings: Settings, product: str) -> tuple[Path, Product]:
    """Return folder and spec of the bundle that serves ``product``."""
    rollout = Records(settings).find_rollout(product)
    if rollout is None or rollout.champion is None:
        sys.exit(f"{product}: was never deployed. Run 'launchyard run examples/{product}' first.")
    folder = BundleStore(settings).find_path(rollout.champion.bundle_uri)
    return folder, read_spec(folder)


def load_predictor(settings: Settings, product: str) -> Predictor:
    """Return the product's predictor with the threads that its endpoint has."""
    folder, spec = find_champion(settings, product)
    return get_kind(spec.kind).load_predictor(folder, find_serving_device(spec))


@contextmanager
def run_server(kind: str, product: str, path: str) -> Iterator[str]:
    """Yield the URL of a running server; ``path`` answers 200 once it is there (``/ready`` to a GET)."""
    port = find_free_port()
    process = subprocess.Popen([sys.executable, __file__, kind, product, str(port)])
    url = f"http://{LOOPBACK}:{port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(f"{url}{path}"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{kind}: the server did not start")
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        if url.endswith("/ready"):
            return requests.get(url, timeout=10).ok
        return requests.post(url, json={"inputs": [TEXT]}, timeout=10).ok
    except requests.RequestException:
        return False


def build_empty() -> Starlette:
    """Return an application that reads a body and answers at once."""

    async def answer(request: Request) -> JSONResponse:
        await request.body()
        return JSONResponse({"outputs": []})

    return Starlette(routes=[Route("/predict", answer, methods=["POST"])])


def serve_launchyard(settings: Settings, product: str, port: int) -> None:
    """Serve the product and ``/empty`` until interrupted."""
    _, spec = find_champion(settings, product)
    with open_session(LOOPBACK, port) as session:
        from ray.serve import RunTarget  # noqa: PLC0415 - each process loads the server that it runs

        from launchyard_serving.deployment import bind_application, plan_applications  # noqa: PLC0415 - each process loads the server that it runs
        from launchyard_serving.session.cluster import serve_applications  # noqa: PLC0415 - each process loads the server that it runs

        targets = plan_applications(settings, {product: spec})
        targets.append(RunTarget(bind_application(build_empty, "empty"), name="empty", route_prefix="/empty"))
        with serve_applications(session, targets):
            signal.pause()


def build_pipeline(settings: Settings, product: str) -> FastAPI:
    """Return FastAPI around a transformers pipeline on the product's weights."""
    import torch  # noqa: PLC0415 - each process loads the server that it runs
    from transformers import pipeline  # noqa: PLC0415 - each process loads the server that it runs

    folder, spec = find_champion(settings, product)
    torch.set_num_threads(count_serving_threads(spec))
    classify = pipeline("text-classification", model=str(folder / "model"), top_k=None, device="cpu")
    app = FastAPI()

    @app.post("/predict")
    def predict(body: Body) -> dict[str, Any]:
        return {"outputs": classify(body.inputs)}

    return app


def build_bundle(settings: Settings, product: str) -> FastAPI:
    """Return FastAPI around the product's own predictor."""
    predictor = load_predictor(settings, product)
    app = FastAPI()

    @app.post("/predict")
    def predict(body: Body) -> dict[str, Any]:
        return {"outputs": predictor.predict([predictor.parse(text) for text in body.inputs])}

    return app


def main() -> None:
    """Run the server that the command line names."""
    kind, product, port = sys.argv[1:]
    settings = load_settings()
    if kind == "launchyard":
        with suppress(KeyboardInterrupt):
            serve_launchyard(settings, product, int(port))
    else:
        build = {"pipeline": build_pipeline, "bundle": build_bundle}[kind]
        uvicorn.run(build(settings, product), host=LOOPBACK, port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
