"""A load generator in a process of its own: one connection per client, one request at a time on each.

    python benchmarks/http_load.py URL BODY --clients 32 --requests 5000
    python benchmarks/http_load.py URL @bodies.jsonl --clients 64 --requests 5000 --rate 400

With ``@file`` each line is a body, and requests take them in turn. With ``--rate`` the load is open: requests come so
many a second at random moments (Poisson), whether earlier ones are answered or not, and a request's time runs from its
moment, so that waiting for a free connection counts.

Requests are bytes made beforehand and answers are read no further than their length, so that it costs the machine
little beside what it measures. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True)
class Load:
    """What the clients of one run saw."""

    clients: int
    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def measure_load(url: str, body: str, *, clients: int, requests: int, rate: float | None = None) -> Load:
    """Return what ``clients`` see that send ``requests`` altogether, from a process of their own.

    Args:
        url: Where to send them.
        body: The body of each, or ``@`` and a file of bodies.
        clients: Connections.
        requests: How many are timed.
        rate: Requests a second in an open load; None: each client sends its next request when it has an answer.
    """
    command = [sys.executable, __file__, url, body, "--clients", str(clients), "--requests", str(requests)]
    if rate is not None:
        command += ["--rate", str(rate)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return Load(**json.loads(done.stdout))


async def send_requests(url: str, bodies: Sequence[str], clients: int, requests: int) -> Load:
    """Return what the clients see; a tenth of the requests goes before the clock starts."""
    callers = make_callers(url, bodies, clients)
    await asyncio.gather(*(caller.send(requests // clients // 10 + 1) for caller in callers))
    started = time.perf_counter()
    each = await asyncio.gather(*(caller.send(requests // clients) for caller in callers))
    return describe(callers, [seconds for part in each for seconds in part], time.perf_counter() - started)


async def send_at_rate(url: str, bodies: Sequence[str], clients: int, requests: int, rate: float) -> Load:
    """Return what requests see that come ``rate`` times a second, whatever became of those before."""
    callers = make_callers(url, bodies, clients)
    await asyncio.gather(*(caller.send(1) for caller in callers))
    free: asyncio.Queue[Caller] = asyncio.Queue()
    for caller in callers:
        free.put_nowait(caller)
    moments = np.cumsum(np.random.default_rng(0).exponential(1 / rate, requests))
    times: list[float] = []

    async def exchange(due: float) -> None:
        caller = await free.get()
        await caller.send(1)
        free.put_nowait(caller)
        times.append(time.perf_counter() - due)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for moment in moments.tolist():
            await asyncio.sleep(max(0.0, started + moment - time.perf_counter()))
            group.create_task(exchange(started + moment))
    return describe(callers, times, time.perf_counter() - started)


def make_callers(url: str, bodies: Sequence[str], clients: int) -> list[Caller]:
    """Return the clients, each beginning with another body."""
    address = urlsplit(url)
    requests = []
    for body in bodies:
        content = body.encode()
        head = (
            f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        requests.append(head.encode() + content)
    steps = max(1, len(requests) // clients)
    rotated = [
        requests[step * steps % len(requests) :] + requests[: step * steps % len(requests)] for step in range(clients)
    ]
    return [Caller(address.hostname or "", address.port or 80, own) for own in rotated]


def describe(callers: Sequence[Caller], times: Sequence[float], seconds: float) -> Load:
    """Return the figures of a run, and close its connections."""
    for caller in callers:
        caller.close()
    times_ms = 1000 * np.array(times)
    return Load(
        clients=len(callers),
        requests=len(times_ms),
        requests_per_second=len(times_ms) / seconds,
        p50_ms=float(np.quantile(times_ms, 0.5)),
        p99_ms=float(np.quantile(times_ms, 0.99)),
    )


class Caller:
    """One client with one connection, which it opens again when the server closed it between two requests."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes]) -> None:
        self._address = (host, port)
        self._requests = itertools.cycle(requests)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, count: int) -> list[float]:
        """Return the seconds that each of ``count`` requests took."""
        times = []
        for _ in range(count):
            request = next(self._requests)
            started = time.perf_counter()
            try:
                await self._exchange(request)
            except (asyncio.IncompleteReadError, ConnectionError):
                # The proxy hands over to its successor while applications come up; every HTTP client knows that case.
                self.close()
                await self._exchange(request)
            times.append(time.perf_counter() - started)
        return times

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _exchange(self, request: bytes) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{head.decode()}{answer.decode()}")


def main() -> None:
    """Run the clients that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("body")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rate", type=float)
    options = parser.parse_args()
    bodies = [options.body]
    if options.body.startswith("@"):
        bodies = Path(options.body[1:]).read_text(encoding="utf-8").splitlines()
    if options.rate is None:
        load = asyncio.run(send_requests(options.url, bodies, options.clients, options.requests))
    else:
        load = asyncio.run(send_at_rate(options.url, bodies, options.clients, options.requests, options.rate))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
