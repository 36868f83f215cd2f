"""What ``launchyard serve`` shows while it runs: the addresses, and each change of what answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import requests

from launchyard.cli.console import PlainConsole

STARTING_POLL_S = 0.1
RUNNING_POLL_S = 1.0
"""How soon a server notices that a replica cannot start; each look costs a request."""
REQUEST_TIMEOUT_S = 5.0


class Foreground:
    """Watches the products' ``ready`` routes and says what changes, until Ctrl-C.

    Args:
        url: Where the server answers.
        products: Names of the products.
    """

    def __init__(self, url: str, products: Sequence[str]) -> None:
        self._url = url
        self._states: dict[str, str | None] = dict.fromkeys(products)
        self._console = PlainConsole(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self._http = requests.Session()
        # The server is on this machine, on whatever address: a proxy could not reach it, or would reach another.
        self._http.trust_env = False
        self._started = time.monotonic()

    def announce(self) -> None:
        """Say what is being started."""
        self._console.print(f"Starting {', '.join(self._states)} ...")

    def run(self, check: Callable[[], None]) -> None:
        """Show what changes until Ctrl-C or SIGTERM (as KeyboardInterrupt), which are the ways to end a server.

        Args:
            check: Raises when the server cannot come up any more.
        """
        try:
            while not self._is_complete():
                check()
                self._look()
                time.sleep(STARTING_POLL_S)
            seconds = time.monotonic() - self._started
            self._console.print(f"Ready after {seconds:.1f} s on {self._url}/ Stop with Ctrl-C.")
            while True:
                time.sleep(RUNNING_POLL_S)
                self._look()
        except KeyboardInterrupt:
            self._console.print("Stopping: requests that have begun are answered first.")

    def _is_complete(self) -> bool:
        """Whether every product and the index answer: from then on the proxy keeps its connections."""
        if None in self._states.values():
            return False
        try:
            return self._http.get(f"{self._url}/", timeout=REQUEST_TIMEOUT_S).ok
        except requests.RequestException:
            return False

    def _look(self) -> None:
        for product, before in self._states.items():
            state = self._describe(product)
            if state is not None and state != before:
                self._console.print(f"{product}: {state}")
                self._states[product] = state

    def _describe(self, product: str) -> str | None:
        """Return what the product's endpoint says of itself, or None while there is none yet."""
        try:
            response = self._http.get(f"{self._url}/{product}/ready", timeout=REQUEST_TIMEOUT_S)
        except requests.RequestException:
            return None
        if response.status_code == requests.codes.ok:
            return self._describe_model(product, response.json())
        is_problem = response.headers.get("content-type") == "application/problem+json"
        detail = response.json()["detail"] if is_problem else ""
        return detail if "no model answers" in detail else None

    def _describe_model(self, product: str, ready: dict[str, Any]) -> str:
        model = ready["model"]
        live = f"version {model['version']} ({model['digest'][:12]}) answers on {self._url}/{product}/"
        return f"{live}; {ready['refused']}" if ready["refused"] else live
