"""Talking to a served product from Python.

>>> client = Client("http://127.0.0.1:8000", "review-sentiment")
>>> answers = client.predict(["A warm, funny film."])  # doctest: +SKIP
>>> client.give_feedback(answers.outputs[0]["id"], label="positive")  # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from launchyard.errors import RequestError, ServerError, TooLargeError

PASSING_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What a later try may find gone: a full queue, a server that is starting."""

DEFAULT_RETRY_S = 0.5
PRODUCT_HINT = "GET / lists the products that are served there."


@dataclass(frozen=True)
class Answers:
    """What a model answered, one output per input, in order; each output has an ``id`` for feedback."""

    version: int
    digest: str
    outputs: tuple[Mapping[str, Any], ...]


class Client:
    """One product at one server; keeps its connection, so use one per thread.

    Args:
        url: Where the server answers, such as ``http://127.0.0.1:8000``.
        product: Name of the product.
        timeout_s: Longest wait for one answer.
        retry_s: How long to go on trying while the server is starting or its queue is full; 0: one try.
    """

    def __init__(self, url: str, product: str, *, timeout_s: float = 30.0, retry_s: float = 10.0) -> None:
        self._url = f"{url.rstrip('/')}/{product}"
        self._product = product
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._http = open_http(url)

    def __enter__(self) -> Self:
        """Return the client, whose connection closes when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._http.close()

    def predict(self, inputs: Sequence[Any]) -> Answers:
        """Return one output per input.

        Raises:
            RequestError: an input is wrong; the message says which and why.
            ServerError: the server cannot be reached or failed.
        """
        return self._ask("predict", inputs)

    def explain(self, inputs: Sequence[Any]) -> Answers:
        """Return one output per input, with what in the input speaks for it.

        Raises:
            RequestError: an input is wrong; the message says which and why.
            ServerError: the server cannot be reached or failed.
        """
        return self._ask("explain", inputs)

    def give_feedback(
        self,
        output_id: str,
        *,
        label: str | None = None,
        rating: int | None = None,
        comment: str | None = None,
        correction: Any = None,
    ) -> None:
        """Say what was right about an output, how good it was (1 to 5), or anything else; durable on return.

        What was right is a label, or a correction in the form that the product's ``openapi.json`` shows.

        Raises:
            RequestError: the id is of no output of this product, or what is said does not fit.
            ServerError: the server cannot be reached or failed.
        """
        said = {"id": output_id, "label": label, "rating": rating, "comment": comment, "correction": correction}
        self._send("POST", "feedback", {name: value for name, value in said.items() if value is not None})

    def send_events(self, events: Sequence[Any]) -> dict[str, int]:
        """Send what users did; durable on return, and known to the next answers. Sent again it changes nothing.

        Returns:
            How many events are ``stored`` now, and how many are ``duplicates`` of what was there.

        Raises:
            RequestError: an event is wrong, or the product takes none; the message says which and why.
            ServerError: the server cannot be reached or failed.
        """
        return self._send("POST", "events", {"events": list(events)})

    def ready(self) -> dict[str, Any]:
        """Return which model answers, and why a newer one was refused, if one was.

        Raises:
            ServerError: no model answers, or the server cannot be reached.
        """
        return self._send("GET", "ready")

    def schema(self) -> dict[str, Any]:
        """Return the JSON schemas of an input and an output.

        Raises:
            ServerError: the server cannot be reached or failed.
        """
        return self._send("GET", "schema")

    def _ask(self, route: str, inputs: Sequence[Any]) -> Answers:
        if isinstance(inputs, str):
            raise RequestError("inputs: must be a sequence of inputs, got one text. Put it into a list.")
        answer = self._send("POST", route, {"inputs": list(inputs)})
        return Answers(answer["model"]["version"], answer["model"]["digest"], tuple(answer["outputs"]))

    def _send(self, method: str, route: str, body: object = None) -> dict[str, Any]:
        deadline = time.monotonic() + self._retry_s
        while True:
            response = self._try(method, route, body)
            if response.ok:
                return self._read(response)
            wait_s = _read_retry_after(response)
            # No wait is begun that cannot end in another try.
            if response.status_code not in PASSING_STATUSES or time.monotonic() + wait_s > deadline:
                raise self._explain(response)
            time.sleep(wait_s)

    def _try(self, method: str, route: str, body: object) -> requests.Response:
        try:
            return self._http.request(method, f"{self._url}/{route}", json=body, timeout=self._timeout_s)
        except requests.Timeout as err:
            raise ServerError(
                f"{self._url}: no answer within {self._timeout_s:g} s. Send less, or wait longer."
            ) from err
        except requests.RequestException as err:
            raise ServerError(
                f"{self._url}: cannot be reached: {_innermost(err)}. Start it with 'launchyard serve {self._product}'."
            ) from err

    def _read(self, response: requests.Response) -> dict[str, Any]:
        try:
            content = response.json()
        except requests.JSONDecodeError as err:
            raise ServerError(f"{response.url}: answered no JSON. Is this a Launchyard server?") from err
        if not isinstance(content, dict):
            raise ServerError(f"{response.url}: answered no JSON object. Is this a Launchyard server?")
        return content

    def _explain(self, response: requests.Response) -> RequestError | ServerError:
        """Return the error that an answer stands for, with the server's own words where it gave any."""
        # Only our own answers are problem documents: the error page of a proxy has no detail.
        is_problem = response.headers.get("content-type", "").startswith("application/problem+json")
        detail = response.json()["detail"] if is_problem else f"{response.reason}. {PRODUCT_HINT}"
        message = f"{response.url}: {response.status_code}: {detail}"
        # 429 is in the range of a caller's mistakes, but it is the server that has no room.
        is_callers = response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLargeError(message)
        return (
            RequestError(message)
            if is_callers and response.status_code not in PASSING_STATUSES
            else ServerError(message)
        )


def open_http(url: str) -> requests.Session:
    """Return a session for ``url``; this machine itself is never asked through a proxy of the environment."""
    session = requests.Session()
    session.trust_env = not _is_loopback(urlsplit(url).hostname or "")
    return session


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_retry_after(response: requests.Response) -> float:
    """Return the seconds that the server asks to wait; it never sends a date."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.replace(".", "", 1).isdigit() else DEFAULT_RETRY_S


def _innermost(error: BaseException) -> BaseException:
    """Return what began a chain of wrapped network errors: it says most in the fewest words."""
    while (cause := getattr(error, "reason", None) or (error.args[0] if error.args else None)) and isinstance(
        cause, BaseException
    ):
        error = cause
    return error
