"""A load generator in a process of its own: one connection per client, one request at a time on each.

    python benchmarks/http_load.py URL BODY --clients 32 --requests 5000

Requests are bytes made beforehand and answers are read no further than their length, so that it costs the machine
little beside what it measures. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
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


def measure_load(url: str, body: str, *, clients: int, requests: int) -> Load:
    """Return what ``clients`` see that send ``requests`` altogether, from a process of their own."""
    command = [sys.executable, __file__, url, body, "--clients", str(clients), "--requests", str(requests)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return Load(**json.loads(done.stdout))


async def send_requests(url: str, body: str, clients: int, requests: int) -> Load:
    """Return what the clients see; a tenth of the requests goes before the clock starts."""
    address = urlsplit(url)
    content = body.encode()
    head = (
        f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    request = head.encode() + content
    callers = [Caller(address.hostname or "", address.port or 80, request) for _ in range(clients)]
    await asyncio.gather(*(caller.send(requests // clients // 10 + 1) for caller in callers))
    started = time.perf_counter()
    each = await asyncio.gather(*(caller.send(requests // clients) for caller in callers))
    seconds = time.perf_counter() - started
    for caller in callers:
        caller.close()
    times_ms = 1000 * np.concatenate(each)
    return Load(
        clients=clients,
        requests=len(times_ms),
        requests_per_second=len(times_ms) / seconds,
        p50_ms=float(np.quantile(times_ms, 0.5)),
        p99_ms=float(np.quantile(times_ms, 0.99)),
    )


class Caller:
    """One client with one connection, which it opens again when the server closed it between two requests."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._address = (host, port)
        self._request = request
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, count: int) -> list[float]:
        """Return the seconds that each of ``count`` requests took."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            try:
                await self._exchange()
            except (asyncio.IncompleteReadError, ConnectionError):
                # The proxy hands over to its successor while applications come up; every HTTP client knows that case.
                self.close()
                await self._exchange()
            times.append(time.perf_counter() - started)
        return times

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _exchange(self) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(self._request)
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
    options = parser.parse_args()
    load = asyncio.run(send_requests(options.url, options.body, options.clients, options.requests))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
