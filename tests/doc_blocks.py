"""The fenced blocks of the documents that people read, so that tests can run what the documents promise."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUIDES = tuple(
    ROOT / f"{name}.md"
    for name in (
        "docs/guides/first-product",
        "docs/guides/data-and-sources",
        "docs/guides/training-and-tuning",
        "docs/guides/gates-and-report",
        "docs/guides/serving-and-feedback",
        "docs/guides/batch-prediction",
        "docs/guides/roll-out-and-back",
        "platform/launchyard/kinds/text_classification/guide",
        "platform/launchyard/kinds/recommendation/guide",
        "docs/guides/features",
        "docs/guides/adding-a-kind",
    )
)
"""In the order in which they tell one story: each goes on with what the guides before it left."""

READMES = (ROOT / "README.md", ROOT / "README.zh.md")
FILE = re.compile(r"^# file: (\S+)\n")
"""First line of a block that a reader writes to a file."""
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


MAKE_ELSEWHERE = ("make demo", "make docs", "make test")
"""Commands of the documents that tests of their own run: `test_demo.py` the first, `test_make.py` the others."""


def list_make_words(task: str) -> list[str]:
    """Return the command that does a task of the Makefile in the environment that runs the tests, which is installed.

    Raises:
        ValueError: the task is none of those that no document's reader runs.
    """
    if f"make {task}" not in MAKE_ELSEWHERE:
        raise ValueError(f"make {task}: the documents are run with it. Leave it to test_docs.py.")
    stamp = f"--assume-old={sys.prefix}/.installed"
    return ["make", "--no-print-directory", f"VENV={sys.prefix}", stamp, task]


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file, below the reader's folder, whose content the block is; None for one that is run or looked at."""
        match = FILE.match(self.text)
        return None if match is None else match[1]

    @property
    def place(self) -> str:
        """Where it stands, for messages and test ids."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def read_blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(path, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2])
        for match in FENCE.finditer(text)
    ]
