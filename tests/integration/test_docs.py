"""Every command in the README and the guides is run, in order, as one reader would: a week with one product.

The product is the one that `launchyard init` writes, with small rows and a tiny base model put in place of the public
ones; nothing else is changed. A command that cannot be run here is listed with what covers it.
"""

from __future__ import annotations

import csv
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from doc_blocks import GUIDES, READMES, ROOT, Block, read_blocks
from launchyard.spec.document import read_document
from tiny_base import write_base
from tiny_candidate import BAD, GOOD, PLAIN

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

COVERED_ELSEWHERE = {
    "make demo": "tests/integration/test_demo.py",
    "make test": ".ci/run",
    "make docs": "tests/unit/test_spec_reference.py",
}
"""Command of a document -> the file that runs it, and that names it."""

BIN = Path(sys.executable).parent
DOCUMENTED_PORT = "8000"
BLOCK_TIMEOUT_S = 400
READY_TIMEOUT_S = 180
STOP_TIMEOUT_S = 60
SMALL = {
    "data": {"source": "rows.csv", "split": {"train": 320, "validation": 80, "test": 80}},
    "model": {"base": "base", "max_length": 32},
    "train": {"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"},
    "serve": {"timeout_s": 60.0},
}
"""What stands in for the public rows and model of a new product."""


class Reader:
    """Somebody who types what the documents say, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self._environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LAUNCHYARD_PORT": self.port,
            "HF_HUB_OFFLINE": "1",
        }
        (folder / ".venv").symlink_to(BIN.parent)
        (folder / "Makefile").symlink_to(ROOT / "Makefile")

    def follow(self, path: Path) -> None:
        """Do all that one document says; a server that it starts ends with it."""
        server: subprocess.Popen[str] | None = None
        try:
            for block in read_blocks(path):
                if block.text.startswith("launchyard serve"):
                    server = self._serve(block)
                elif block.language == "bash":
                    self._run(block, ["bash", "-euo", "pipefail", "-c", _leave_out_covered(block.text)])
                elif block.language == "python":
                    self._run(block, [sys.executable, "-c", block.text])
        finally:
            if server is not None:
                server.send_signal(signal.SIGINT)
                server.communicate(timeout=STOP_TIMEOUT_S)

    def _run(self, block: Block, command: list[str]) -> None:
        """Run one block; fail with its words when it fails."""
        result = subprocess.run(
            [word.replace(f":{DOCUMENTED_PORT}", f":{self.port}") for word in command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=BLOCK_TIMEOUT_S,
            check=False,
        )
        assert result.returncode == 0, f"{block.place}: {block.text}\n{result.stdout}\n{result.stderr}"
        if "launchyard init" in block.text:
            self._make_small()

    def _serve(self, block: Block) -> subprocess.Popen[str]:
        """Start a server and return it once it says that it is ready."""
        server = subprocess.Popen(
            shlex.split(block.text),
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert server.stdout is not None
        alarm = threading.Timer(READY_TIMEOUT_S, server.kill)
        alarm.start()
        said: list[str] = []
        for line in server.stdout:
            said.append(line)
            if line.startswith("Ready"):
                alarm.cancel()
                return server
        alarm.cancel()
        raise AssertionError(f"{block.place}: the server ended or was not ready in time:\n{''.join(said)}")

    def _make_small(self) -> None:
        """Put small rows and a tiny base model in place of the public ones."""
        product = self.folder / "my-product"
        spec = read_document(product / "product.yaml") | SMALL
        (product / "product.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        write_base(product / "base")
        generator = random.Random(0)
        with (product / "rows.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            for number in range(600):
                words = [*generator.choices(PLAIN, k=12), generator.choice(GOOD if number % 2 else BAD)]
                rows.writerow([" ".join(words), "positive" if number % 2 else "negative"])
        (product / "reviews.csv").write_bytes((product / "rows.csv").read_bytes())


def _leave_out_covered(text: str) -> str:
    """Return the lines of a block that are run here."""
    return "\n".join(line for line in text.splitlines() if line.partition("#")[0].strip() not in COVERED_ELSEWHERE)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_every_command_of_a_guide_works(reader: Reader, path: Path) -> None:
    reader.follow(path)


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_every_command_of_the_readme_works(tmp_path: Path, path: Path) -> None:
    Reader(tmp_path).follow(path)


@pytest.mark.parametrize(("command", "name"), COVERED_ELSEWHERE.items())
def test_what_is_not_run_here_is_run_there(command: str, name: str) -> None:
    assert command in (ROOT / name).read_text(encoding="utf-8")
