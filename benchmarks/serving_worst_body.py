"""What the worst bodies that a replica accepts do to its event loop: how late it is, less how late it is when idle.

    launchyard run examples/review-sentiment
    launchyard run examples/movie-recommender
    python benchmarks/serving_worst_body.py review-sentiment movie-recommender

Each product's replica runs in a process of its own, as under Serve but without its proxy, beside a task that sleeps for
a millisecond and notes how much later it wakes up. A body is sent 20 times; of each time the latest wake-up counts, and
of the 20 the median. Exit code 1 when one of up to 256 KiB costs more than 20 ms, or one of up to the limit over 50.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import requests
import uvicorn
from serving_servers import find_champion
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from launchyard.settings import load_settings
from launchyard.spec.blocks import Product
from launchyard.threads import find_serving_device
from launchyard_serving.replica.build import build_replica
from launchyard_serving.requests.body import MAX_FEEDBACK_BYTES
from launchyard_serving.session.session import LOOPBACK, find_free_port

MOST_LAG_MS = {"256 KiB": 20.0, "the limit": 50.0}
MEDIUM_BYTES = 256 * 2**10
SLEEP_S = 0.001
START_TIMEOUT_S = 120
IDLE_S = 0.3

Make = Callable[[int], str]


class LagProbe:
    """Notes the latest wake-up of a task that sleeps for a millisecond."""

    def __init__(self) -> None:
        self._worst_s = 0.0

    async def run(self) -> None:
        """PrepareProgress the loop until cancelled."""
        while True:
            started = time.perf_counter()
            await asyncio.sleep(SLEEP_S)
            self._worst_s = max(self._worst_s, time.perf_counter() - started - SLEEP_S)

    async def answer(self, _request: Request) -> JSONResponse:
        """Return the worst lag since the last question, in milliseconds, and begin anew."""
        # What held the loop up until now is noticed by the task when it runs next.
        await asyncio.sleep(2 * SLEEP_S)
        worst_s, self._worst_s = self._worst_s, 0.0
        return JSONResponse({"lag_ms": 1000 * worst_s})


def serve(product: str, port: int) -> None:
    """Serve a replica of the product and ``/lag`` until killed."""
    settings = load_settings()
    _, spec = find_champion(settings, product)
    replica, probe = build_replica(settings, product, find_serving_device(spec)), LagProbe()

    app = Starlette(routes=[Route("/lag", probe.answer), Mount("/replica", replica)])
    config = uvicorn.Config(app, host=LOOPBACK, port=port, log_level="error", access_log=False, lifespan="off")

    async def run() -> None:
        async with replica.router.lifespan_context(replica):
            watching = asyncio.create_task(probe.run())
            await uvicorn.Server(config).serve()
            watching.cancel()

    asyncio.run(run())


@contextmanager
def run_replica(product: str) -> Iterator[str]:
    """Yield the URL of a running replica."""
    port = find_free_port()
    process = subprocess.Popen([sys.executable, __file__, "--serve", product, str(port)])
    url = f"http://{LOOPBACK}:{port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{product}: the replica did not start")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/replica/ready", timeout=10).ok
    except requests.RequestException:
        return False


def fill(unit: str, *, opening: str = '{"inputs": [', closing: str = "]}", joint: str = ",") -> Make:
    """Return what makes a body of about a size from copies of ``unit``."""

    def make(size_bytes: int) -> str:
        room = size_bytes - len(opening) - len(closing)
        count = (room + len(joint)) // len(unit.encode() + joint.encode())
        return opening + joint.join([unit] * count) + closing

    return make


def number(form: str, *, opening: str, closing: str) -> Make:
    """Return what makes a body of numbered copies of ``form``, such as different keys."""

    def make(size_bytes: int) -> str:
        room = size_bytes - len(opening) - len(closing)
        count = room // len(form.format(10**6) + ",")
        return opening + ",".join(form.format(place) for place in range(count)) + closing

    return make


def list_json_attacks(name: str) -> dict[str, Make]:
    """Return bodies that are hard to parse, and that no kind accepts."""
    opening = f'{{"{name}": ['
    return {
        "empty lists": fill("[]", opening=opening),
        "empty lists in one": fill("[]", opening=f"{opening}[", closing="]]}"),
        "nested lists": fill("[" * 14 + "]" * 14, opening=opening),
        "brackets": fill("[", opening=opening, closing="", joint=""),
        "numbers": fill("0", opening=opening),
        "long numbers": fill("1" * 400, opening=f"{opening}[", closing="]]}"),
        "digits": fill("1", opening=opening, joint=""),
        "small objects": fill('{"a":0}', opening=opening),
        "keys of the body": number('"{}":0', opening="{", closing="}"),
        "keys of an input": number('"{}":0', opening=f"{opening}{{", closing="}]}"),
        "keys of inputs": fill("{" + ",".join(f'"{key}":0' for key in range(900)) + "}", opening=opening),
        "small texts": number('"{}"', opening=f"{opening}[", closing="]]}"),
        "spaces": fill(" ", opening=opening, joint=""),
        "escapes": fill("\\u4e2d", opening=f'{opening}"', closing='"]}', joint=""),
        "backslashes": fill("\\\\", opening=f'{opening}"', closing='"]}', joint=""),
    }


def list_text_attacks(most_characters: int, max_inputs: int) -> dict[str, Make]:
    """Return bodies of texts that are accepted and hard to clean or cut into tokens."""
    units = {
        "marks": "\u0323\u0301",
        "digits and spaces": "4 ",
        "digit pairs": "01 ",
        "slashes": "0/",
        "phones": "212-555-2368 ",
        "letters": "a",
        "addresses": "a@b.",
        "words": "warm film ",
    }

    def make_texts(unit: str) -> Make:
        def make(size_bytes: int) -> str:
            num_characters = size_bytes * len(unit) // len(unit.encode())
            count = min(max_inputs, max(1, -(-num_characters // most_characters)))
            longest = min(most_characters, (num_characters - 4 * count - 20) // count)
            text = (unit * (longest // len(unit) + 1))[:longest]
            return json.dumps({"inputs": [text] * count}, ensure_ascii=False)

        return make

    def make_many(size_bytes: int) -> str:
        text = "warm film " * max(1, size_bytes // max_inputs // 10 - 1)
        return json.dumps({"inputs": [text] * max_inputs})

    return {name: make_texts(unit) for name, unit in units.items()} | {"as many texts as may be": make_many}


def list_recommender_attacks(max_inputs: int) -> dict[str, Make]:
    """Return bodies of sessions, filters and users that are accepted."""

    def make_sessions(num_events: int) -> Make:
        session = '{"events":[' + ",".join('{"item":"1"}' for _ in range(num_events)) + "]}"

        def make(size_bytes: int) -> str:
            return '{"inputs":[' + ",".join([session] * min(max_inputs, size_bytes // len(session) or 1)) + "]}"

        return make

    def make_users(size_bytes: int) -> str:
        return json.dumps({"inputs": [{"user": str(user)} for user in range(min(max_inputs, size_bytes // 20))]})

    excluded = ",".join(f'"{item}"' for item in range(10_000))

    def make_filters(size_bytes: int) -> str:
        row = f'{{"filters":{{"exclude":[{excluded}]}}}}'
        return '{"inputs":[' + ",".join([row] * (size_bytes // len(row))) + "]}"

    return {
        "sessions of 10": make_sessions(10),
        "sessions of 10,000": make_sessions(10_000),
        "users": make_users,
        "filters": make_filters,
        "moments": fill('{"time":"' + "1" * 1000 + '"}'),
    }


def list_attacks(spec: Product) -> Iterator[tuple[str, str, Make]]:
    """Yield route, name and maker of each body for a product."""
    serve = spec.serve
    accepted = (
        list_recommender_attacks(serve.max_inputs)
        if spec.kind == "recommendation"
        else list_text_attacks(getattr(spec.data, "max_characters", 100_000), serve.max_inputs)
    )
    for name, make in (list_json_attacks("inputs") | accepted).items():
        yield "predict", name, make
    for name in list(accepted)[:2]:
        yield "explain", name, accepted[name]
    if spec.kind == "recommendation":
        for name, make in list_json_attacks("events").items():
            yield "events", name, make


def make_feedback(_size_bytes: int) -> str:
    """Return a body of feedback, which has a limit of its own."""
    return number('"{}":0', opening="{", closing="}")(MAX_FEEDBACK_BYTES)


def measure_lag(url: str, route: str, body: bytes, times: int) -> tuple[float, set[int]]:
    """Return the median of the worst lags while a body is answered, less the idle one, and the statuses."""
    lags_ms, idle_ms, statuses = [], [], set()
    headers = {"content-type": "application/json"}
    for _ in range(times):
        requests.get(f"{url}/lag", timeout=60)
        started = time.perf_counter()
        statuses.add(requests.post(f"{url}/replica/{route}", data=body, headers=headers, timeout=60).status_code)
        seconds = time.perf_counter() - started
        lags_ms.append(requests.get(f"{url}/lag", timeout=60).json()["lag_ms"])
        time.sleep(min(seconds, IDLE_S))
        idle_ms.append(requests.get(f"{url}/lag", timeout=60).json()["lag_ms"])
    return float(np.median(lags_ms) - np.median(idle_ms)), statuses


def measure_product(product: str, times: int) -> bool:
    """Print a line for each body, and return whether all are within the limits."""
    _, spec = find_champion(load_settings(), product)
    is_good = True
    with run_replica(product) as url:
        for size, size_bytes in (("256 KiB", MEDIUM_BYTES), ("the limit", spec.serve.max_body_bytes)):
            attacks = list(list_attacks(spec))
            if size == "256 KiB":
                attacks.append(("feedback", "keys", make_feedback))
            for route, name, make in attacks:
                body = make(size_bytes).encode()
                assert len(body) <= size_bytes, (name, len(body))
                lag_ms, statuses = measure_lag(url, route, body, times)
                is_good = is_good and lag_ms <= MOST_LAG_MS[size]
                line = {"product": product, "route": route, "body": name, "up_to": size, "bytes": len(body)}
                print(json.dumps(line | {"statuses": sorted(statuses), "lag_ms": round(lag_ms, 1)}), flush=True)
    return is_good


def main() -> None:
    """Measure the products of the command line, or serve one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("products", nargs="*", default=["review-sentiment", "movie-recommender"])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--serve", nargs=2, metavar=("PRODUCT", "PORT"))
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]))
        return
    results = [measure_product(product, options.times) for product in options.products]
    print(json.dumps({"at_most_ms": MOST_LAG_MS, "within": all(results)}))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
