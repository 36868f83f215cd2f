"""The whole loop on this machine: real rows and a real model in, answers over HTTP out, then everything is stopped.

Every line that starts with ``$`` is the command that a person would type.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
SPEC = Path("examples/review-sentiment/product.yaml")
PRODUCT = "review-sentiment"
COMMAND = Path(sys.executable).with_name("launchyard")
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
PRAISE = "A quiet, beautifully acted film that stays with you for days."
COMPLAINT = "Two hours of noise, and not one scene that I would watch again."


def say(text: str) -> None:
    """Print one line of the story."""
    print(text, flush=True)  # noqa: T201 - a demo talks


def launchyard(*arguments: str) -> None:
    """Run one ``launchyard`` command as a person would; ends the demo when it fails."""
    say(f"\n$ launchyard {shlex.join(arguments)}")
    code = subprocess.run([COMMAND, *arguments], check=False).returncode
    if code:
        sys.exit(f"The demo ends here: the command above ended with exit code {code} and says why.")


def find_free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when the endpoint is ready; ends the demo when the server ends or the time is up."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{url}/{PRODUCT}/ready", timeout=5).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        try:
            server.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        sys.exit(f"The server ended with exit code {server.returncode}; its words are above.")
    sys.exit(f"The server was not ready within {READY_TIMEOUT_S:.0f} s.")


@contextmanager
def running_server(port: int) -> Iterator[str]:
    """Run ``launchyard serve`` for the block; yields the endpoint's URL."""
    say(f"\n$ launchyard serve {PRODUCT} --port {port}")
    server = subprocess.Popen([COMMAND, "serve", PRODUCT, "--port", str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def send_feedback(url: str) -> None:
    """Ask for one answer and tell the endpoint what it should have been."""
    answer = requests.post(f"{url}/{PRODUCT}/predict", json={"inputs": [PRAISE]}, timeout=30)
    answer.raise_for_status()
    output = answer.json()["outputs"][0]
    feedback = {"id": output["id"], "label": "positive", "comment": "agreed"}
    say(f'\n$ curl -X POST {url}/{PRODUCT}/feedback -d \'{{"id": "{output["id"][:16]}...", "label": "positive"}}\'')
    kept = requests.post(f"{url}/{PRODUCT}/feedback", json=feedback, timeout=30)
    kept.raise_for_status()
    say(f"HTTP {kept.status_code}: kept, and it would survive a power cut")


def main() -> None:
    """Run the demo."""
    os.chdir(ROOT)
    started = time.monotonic()
    launchyard("run", str(SPEC))
    with running_server(find_free_port()) as url:
        launchyard("predict", PRODUCT, PRAISE, COMPLAINT, "--url", url)
        launchyard("predict", PRODUCT, COMPLAINT, "--explain", "--url", url)
        send_feedback(url)
        launchyard("status", PRODUCT)
    say(f"\nDone in {time.monotonic() - started:.0f} s; the server is stopped. Try next:")
    for line in (f"serve {PRODUCT}", f'predict {PRODUCT} "your own words"', f"run {SPEC} --set train.epochs=1"):
        say(f"  {COMMAND.relative_to(ROOT) if COMMAND.is_relative_to(ROOT) else COMMAND} {line}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    except requests.RequestException as err:
        sys.exit(f"The endpoint did not answer: {err}")
