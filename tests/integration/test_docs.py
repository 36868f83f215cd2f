"""Every command in the README and the guides is run, in order, as one reader would: a week with one product.

The products are those that `launchyard init` writes, with small rows and a tiny model put in place of the public ones;
nothing else is changed. The few commands that are not run here have tests of their own: see ``MAKE_ELSEWHERE``.
"""

from __future__ import annotations

import csv
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from doc_blocks import GUIDES, MAKE_ELSEWHERE, READMES, ROOT, Block, read_blocks
from launchyard.spec.document import read_document
from tiny_base import write_base
from tiny_candidate import BAD, GOOD, PLAIN
from tiny_interactions import TASTES, list_events

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

BIN = Path(sys.executable).parent
DOCUMENTED_PORT = "8000"
BLOCK_TIMEOUT_S = 600
READY_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60
INIT = re.compile(r"^launchyard init (\S+) (\S+)$", re.MULTILINE)


def make_small_classifier(product: Path) -> None:
    """Put small rows and a tiny base model in place of the public ones."""
    write_base(product / "base")
    generator = random.Random(0)
    rows = []
    for number in range(600):
        words = [*generator.choices(PLAIN, k=12), generator.choice(GOOD if number % 2 else BAD)]
        rows.append([" ".join(words), "positive" if number % 2 else "negative"])
    write_table(product / "rows.csv", ["text", "label"], rows)
    (product / "reviews.csv").write_bytes((product / "rows.csv").read_bytes())
    change_spec(
        product,
        data={"source": "rows.csv", "split": {"train": 320, "validation": 80, "test": 80}},
        model={"base": "base", "max_length": 32},
        train={"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"},
        serve={"timeout_s": 60.0},
    )


def make_small_recommender(product: Path) -> None:
    """Put a small log, in the columns of the public one, and a model in closed form in place of what takes minutes."""
    numbers = {item: number for number, item in enumerate((item for found in TASTES.values() for item in found), 1)}
    events = [[event["who"], numbers[event["what"]], event["when"]] for event in list_events()]
    write_table(product / "events.csv", ["user_id:token", "item_id:token", "timestamp:float"], events)
    films = [
        [numbers[item], f"{taste.title()} {place}", f"{taste} film", 1990 + place]
        for taste, found in TASTES.items()
        for place, item in enumerate(found)
    ]
    names = ["item_id:token", "movie_title:token_seq", "class:token_seq", "release_year:token"]
    write_table(product / "items.csv", names, films)
    data = read_document(product / "product.yaml")["data"]
    change_spec(
        product,
        data=data | {"source": "events.csv", "items": data["items"] | {"source": "items.csv"}},
        model={"architecture": "ease"},
        train={},
        serve={"timeout_s": 60.0},
    )


def change_spec(product: Path, **blocks: Any) -> None:
    """Replace whole blocks of a product's spec."""
    path = product / "product.yaml"
    path.write_text(yaml.safe_dump(read_document(path) | blocks), encoding="utf-8")


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as csv, below a line of names."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])


MAKE_SMALL: dict[str, Callable[[Path], None]] = {
    "text-classification": make_small_classifier,
    "recommendation": make_small_recommender,
}
"""Kind -> what makes a new product of it small."""


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
            # What is installed is for this reader alone. The false means to pip: no environment of the build's own.
            "PIP_TARGET": str(folder / "site"),
            "PIP_NO_DEPS": "true",
            "PIP_NO_BUILD_ISOLATION": "false",
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        (folder / ".venv").symlink_to(BIN.parent)
        (folder / "Makefile").symlink_to(ROOT / "Makefile")

    def follow(self, path: Path) -> None:
        """Do all that one document says; a server that it starts ends with it."""
        server: subprocess.Popen[str] | None = None
        try:
            for block in read_blocks(path):
                if block.file is not None:
                    (self.folder / block.file).parent.mkdir(parents=True, exist_ok=True)
                    (self.folder / block.file).write_text(block.text, encoding="utf-8")
                elif block.text.startswith("launchyard serve"):
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
        assert find_promise(block) in result.stdout, f"{block.place}: printed {result.stdout}"
        for kind, product in INIT.findall(block.text):
            if kind in MAKE_SMALL:
                MAKE_SMALL[kind](self.folder / product)

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


def find_promise(block: Block) -> str:
    """Return what its document says right below a block that it prints; the empty text when it says nothing."""
    text = block.path.read_text(encoding="utf-8")
    return text.partition(f"{block.text}```\n\nIt prints `")[2].partition("`")[0]


def _leave_out_covered(text: str) -> str:
    """Return the lines of a block that are run here."""
    return "\n".join(line for line in text.splitlines() if line.partition("#")[0].strip() not in MAKE_ELSEWHERE)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_every_command_of_a_guide_works(reader: Reader, path: Path) -> None:
    reader.follow(path)


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_every_command_of_the_readme_works(tmp_path: Path, path: Path) -> None:
    Reader(tmp_path).follow(path)
