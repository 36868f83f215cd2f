"""A web server on this machine that behaves as badly as a test asks for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Page:
    """What a path answers."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    has_etag: bool = True
    supports_range: bool = True
    cuts: list[int] = field(default_factory=list)
    """Each of the next answers ends after so many bytes, though more were announced."""
    is_endless: bool = False
    """The body is repeated, without a length, until the client has had enough."""
    hang: threading.Event | None = None
    """Nothing is answered until this is set."""

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


@dataclass
class WebServer:
    """The running server."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path with query, Range header."""
    bodies: list[bytes] = field(default_factory=list)
    """What was posted."""


@contextmanager
def serve_web() -> Iterator[WebServer]:
    """Yield a server on a free port of the loopback address."""
    site = WebServer("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, site)

        def do_HEAD(self) -> None:
            _answer(self, site)

        def do_POST(self) -> None:
            site.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            _answer(self, site)

        def end_headers(self) -> None:
            # Said aloud, or a client sends its next request into a connection that is just being closed.
            self.send_header("Connection", "close")
            super().end_headers()

        def log_message(self, *arguments: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield site
        finally:
            for page in site.pages.values():
                if page.hang is not None:
                    page.hang.set()
            server.shutdown()
            thread.join()


def _answer(handler: BaseHTTPRequestHandler, site: WebServer) -> None:
    site.requests.append((handler.command, handler.path, handler.headers.get("Range")))
    handler.close_connection = True
    page = site.pages.get(handler.path) or site.pages.get(urlsplit(handler.path).path)
    if page is None:
        page = Page(b"nothing here", 404, has_etag=False)
    if page.hang is not None:
        page.hang.wait()
    if _is_known(handler, page):
        handler.send_response(304)
        handler.end_headers()
        return
    start = _find_start(handler, page)
    if start and start >= len(page.body):
        handler.send_response(416)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    _send(handler, page, start)


def _is_known(handler: BaseHTTPRequestHandler, page: Page) -> bool:
    if page.has_etag:
        return handler.headers.get("If-None-Match") == page.etag
    changed = page.headers.get("Last-Modified")
    return changed is not None and handler.headers.get("If-Modified-Since") == changed


def _find_start(handler: BaseHTTPRequestHandler, page: Page) -> int:
    wanted = handler.headers.get("Range")
    if wanted is None or not page.supports_range or handler.headers.get("If-Range") not in (None, page.etag):
        return 0
    return int(wanted.removeprefix("bytes=").partition("-")[0])


def _send(handler: BaseHTTPRequestHandler, page: Page, start: int) -> None:
    handler.send_response(206 if start else page.status)
    if page.has_etag:
        handler.send_header("ETag", page.etag)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(page.body) - 1}/{len(page.body)}")
    if not page.is_endless:
        handler.send_header("Content-Length", str(len(page.body) - start))
    for name, value in page.headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command == "HEAD":
        return
    body = page.body[start:]
    if page.cuts:
        body = body[: page.cuts.pop(0)]
    try:
        handler.wfile.write(body)
        while page.is_endless:
            handler.wfile.write(page.body)
    except ConnectionError:
        return  # The client has had enough.
